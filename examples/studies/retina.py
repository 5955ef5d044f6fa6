"""Pre-process retinal OCT scans: flatten them along their brightest band.

The result is a function of the scan alone, without labels and without other scans. The
lengths here are in pixels of scans of 144 rows, about 2 mm of depth, and 256 columns.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, map_coordinates

__all__ = ["align_retina", "find_layers"]

ABOVE, BELOW = 60, 20
"""Rows above and below the band that are used, up to vitreous and choroid."""

NOISE = 0.1
"""Largest standard deviation of speckle, as a share of the brightness of the band."""


def align_retina(
    scan: ArrayLike,
    rows: tuple[int, int] = (-24, 8),
    pooling: tuple[int, int] = (2, 4),
) -> np.ndarray:
    """Flatten a scan along its brightest band, and standardise contrast and noise.

    A smooth curve through the band (the retinal pigment epithelium, RPE) becomes a
    straight line. Bumps of the band are kept. The grey level of the vitreous is
    subtracted, speckle above `NOISE` is smoothed, and the result is standardised.

    Parameters
    ----------
    scan : array-like of shape (H, W)
        Grey levels with the vitreous at the top.
    rows : (int, int), default=(-24, 8)
        First row to keep and the row after the last, counted from the curve. The
        default is from the photoreceptors to the choroid. (-60, 20) are the limits.
    pooling : (int, int), default=(2, 4)
        Rows and columns that are averaged at the end.

    Returns
    -------
    aligned : ndarray of shape (n_rows // pooling[0], W // pooling[1]), float32
        Standardised pixels, clipped to -4 and 5.

    Raises
    ------
    ValueError
        If the scan is not an image of grey levels of 64 x 64 pixels or more, or `rows`
        exceed the limits.
    """
    grey = np.asarray(scan, float)
    if grey.ndim != 2 or min(grey.shape) < 64:
        raise ValueError(
            f"The scan has the shape {grey.shape}. Pass grey levels (H, W) of 64 x 64 "
            "pixels or more."
        )
    first, last = rows
    if not -ABOVE <= first < last <= BELOW:
        raise ValueError(
            f"rows={rows!r} is not a range within {(-ABOVE, BELOW)}. Pass a smaller "
            "one."
        )
    surface, band = find_layers(grey)
    width = grey.shape[1]
    at = np.arange(-ABOVE, BELOW)[:, None] + _smooth_curve(band)
    columns = np.broadcast_to(np.arange(width), at.shape)
    flat = map_coordinates(grey, [at, columns], order=1, mode="nearest")

    vitreous = np.median(
        np.concatenate(
            [grey[max(0, s - 30) : max(1, s - 4), j] for j, s in enumerate(surface)]
        )
    )
    bright = np.median(
        [grey[max(0, b - 3) : b + 1, j].mean() for j, b in enumerate(band)]
    )
    flat = np.clip((flat - vitreous) / max(bright - vitreous, 5.0), -0.3, 1.5)
    flat = _with_noise_of_at_most(flat, NOISE)
    retina = flat[ABOVE - 40 : ABOVE + 12]
    flat = (flat - retina.mean()) / max(retina.std(), 1e-6)
    down, across = pooling
    flat = flat[ABOVE + first : ABOVE + last]
    flat = flat[: len(flat) // down * down, : width // across * across]
    pooled = flat.reshape(len(flat) // down, down, -1, across).mean((1, 3))
    return np.clip(pooled, -4.0, 5.0).astype(np.float32)


def find_layers(scan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the surface of the retina and the lower edge of its brightest band.

    Each is the path from left to right with the most contrast, by dynamic programming.

    Parameters
    ----------
    scan : ndarray of shape (H, W)

    Returns
    -------
    surface : ndarray of shape (W,), int
        First row of the retina in each column.
    band : ndarray of shape (W,), int
        Last row of the retinal pigment epithelium in each column.
    """
    rough = gaussian_filter(scan, (1, 3))
    low, high = np.percentile(rough, [10, 99])
    smooth = gaussian_filter((scan - low) / max(high - low, 1.0), (1, 2.5))
    # The surface is bright below, dark above, and dark far above. Edges inside of the
    # retina are not dark far above.
    edge = (
        _mean_of_rows(smooth, 0, 4)
        - _mean_of_rows(smooth, -8, 0)
        - 1.5 * _mean_of_rows(smooth, -40, 0)
    )
    surface = _best_path(edge, jump=2, cost=0.01)
    ridge = (
        1.5 * _mean_of_rows(smooth, 0, 3)
        - _mean_of_rows(smooth, 4, 14)
        - 0.5 * _mean_of_rows(smooth, 14, 40)
    )
    rows = np.arange(len(scan))[:, None]
    ridge = np.where(rows >= surface + 12, ridge, -5.0)
    band = _best_path(ridge, jump=1, cost=0.05) + 1
    return surface, np.minimum(band, len(scan) - 1)


def _mean_of_rows(image: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Compute the mean of rows i + start to i + stop - 1, for each row i."""
    height = len(image)
    sums = np.concatenate([np.zeros_like(image[:1]), image.cumsum(0)])
    rows = np.arange(height)
    first = np.clip(rows + start, 0, height - 1)
    last = np.maximum(np.clip(rows + stop, 1, height), first + 1)
    return (sums[last] - sums[first]) / (last - first)[:, None]


def _best_path(gain: np.ndarray, jump: int, cost: float) -> np.ndarray:
    """Find the path with the largest gain. A jump costs its square."""
    height, width = gain.shape
    steps = np.arange(-jump, jump + 1)
    came_from = np.arange(height)[:, None] + steps
    outside = (came_from < 0) | (came_from >= height)
    came_from = came_from.clip(0, height - 1)
    penalty = np.where(outside, np.inf, cost * steps**2)
    best, back = gain[:, 0], np.empty((height, width), int)
    for column in range(1, width):
        reached = best[came_from] - penalty
        choice = reached.argmax(1)
        back[:, column] = came_from[np.arange(height), choice]
        best = reached.max(1) + gain[:, column]
    path = np.empty(width, int)
    path[-1] = best.argmax()
    for column in range(width - 1, 0, -1):
        path[column - 1] = back[path[column], column]
    return path


def _smooth_curve(band: np.ndarray) -> np.ndarray:
    """Fit a cubic along the band that is robust to bumps, above all upward ones.

    A more flexible curve also follows drusen: on the development scans the AUROC for
    AMD was .810 with a cubic and .777 with a local mean.
    """
    t = np.linspace(-1, 1, len(band))
    powers = np.polynomial.legendre.legvander(t, 3)
    weights = np.ones(len(band))
    for _ in range(20):
        coefficients = np.linalg.lstsq(
            powers * weights[:, None], band * weights, rcond=None
        )[0]
        residual = band - powers @ coefficients
        scale = 2 * max(np.median(np.abs(residual)), 0.5)
        weights = np.sqrt(
            np.where(residual < 0, 0.5, 1.0) / (1 + (residual / scale) ** 2)
        )
    return powers @ coefficients


def _with_noise_of_at_most(flat: np.ndarray, most: float) -> np.ndarray:
    """Smooth along the layers until the noise is at most `most`.

    A scan is the mean of some exposures, and their number differs between the classes:
    the noise alone has an AUROC of .78 for DME and .33 for AMD on the development
    scans.
    """
    if _noise(flat) <= most:
        return flat
    low, high = 0.2, 3.0
    for _ in range(8):
        middle = (low + high) / 2
        if _noise(gaussian_filter(flat, (middle / 2.5, middle))) > most:
            low = middle
        else:
            high = middle
    return gaussian_filter(flat, (high / 2.5, high))


def _noise(flat: np.ndarray) -> float:
    """Standard deviation of details of a few pixels in the vitreous."""
    fine = flat - gaussian_filter(flat, (2, 4))
    return 1.48 * float(np.median(np.abs(fine[:12])))

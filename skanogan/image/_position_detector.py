"""`PositionDetector`: score and map images by a detector of features of positions."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skanogan._data.image_files import FileReader
from skanogan._data.images import (
    Masks,
    check_channels,
    mask_at,
    mask_of,
    n_channels_of,
    read_image,
)
from skanogan._data.labels import labels_of_normal
from skanogan._runtime.compatibility import HasMethods, Interval, StrOptions
from skanogan._training.progress import with_bar
from skanogan.detectors._one_fit import of_one_fit
from skanogan.detectors._whole_images import WholeImageDetector
from skanogan.detectors._wrapping import scores_of

__all__ = ["PositionDetector"]

FINENESS = 4
"""Maps are smoothed at so many points for each position, on each axis."""

BATCH = 16
"""Images whose features are held at once."""

BATCH_PIXELS = 2**22
"""Most pixels of images that are held at once: four of 1,024 x 1,024."""


class PositionDetector(WholeImageDetector):
    """A detector of images, around a detector of the features of their positions.

    A transformer computes features of each image on a grid of positions, such as those
    of a network that was trained on photographs (`skanogan.features.NetworkFeatures`).
    The features of one position are one row. The detector learns rows of normal images.
    The score of an image is pooled from the scores of its positions. The map of an
    image shows the score of each position.

    Parameters
    ----------
    estimator : object
        A detector of tables with `score_samples` or `decision_function`, in which lower
        is more anomalous. It is cloned.
    features : transformer
        Turns images into features (n, rows, columns, n_features), such as
        ``NetworkFeatures(network, layers, pooling=None, image_size=256)``. It is cloned
        and fitted. One that is fitted is passed as
        ``sklearn.frozen.FrozenEstimator(features)``.
    subtract_mean : bool, default=False
        Whether the mean of the normal images at each position is subtracted. Set it if
        every image shows the same thing at the same place. All images then need the
        same grid.
    max_positions : int, default=10000
        Number of positions, drawn at random from all normal images, that the detector
        is fitted on.
    smoothing : float or "auto", default="auto"
        Standard deviation of the Gaussian that smooths maps, in pixels. "auto" is the
        distance between positions. 0 does not smooth.
    min_coverage : float, default=0.5
        With masks, the share of a position's pixels that must be inside. If no position
        of an image has this share, those with the largest share are used.
    pooling, pooling_size, validation_fraction, contamination : object
        As in `PatchDetector`, for positions in place of patches. By default the score
        of an image is the mean of the hundredth of its positions that is most
        anomalous.
    random_state : int, RandomState instance or None, default=None
        Seed of the held-out images and of the positions. The estimator has its own.
    unreadable : {"raise", "skip"}, default="raise"
        What `fit` does with files that cannot be read, as in `PatchDetector`.
    verbose : int, default=0
        A value above 0 shows progress bars over images.

    Attributes
    ----------
    estimator_ : object
        The detector, fitted on positions.
    features_ : transformer
        The fitted transformer.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    mean_ : ndarray of shape (rows, columns, n_features) or None
        What is subtracted from features, with `subtract_mean`.
    n_positions_ : int
        Number of positions that the detector was fitted on.
    masks_ : callable or None
        The function that `fit` got as `masks`.

    See Also
    --------
    PatchDetector : Learns from the pixels of patches, without another network.
    skanogan.features.NetworkFeatures : Features of positions.

    Notes
    -----
    Images and masks are those of `PatchDetector`. Images may differ in size. They are
    read a few at a time, and of their features only the drawn positions stay in memory.

    The detector has no `save`, because its file would need the code of the network. Use
    pickle or joblib.

    References
    ----------
    A Gaussian of features at each position: T. Defard et al., "PaDiM", ICPR 2020
    Workshops, :doi:`10.1007/978-3-030-68799-1_35`. The nearest of the features of all
    positions: K. Roth et al., "Towards total recall in industrial anomaly detection"
    (PatchCore), CVPR 2022, :doi:`10.1109/CVPR52688.2022.01392`.

    Examples
    --------
    Normal images have stripes. One image has a spot without stripes. The network has
    random weights here, which is only a baseline.

    >>> import numpy as np
    >>> from torch import nn
    >>> from skanogan.baselines import MahalanobisDistance
    >>> from skanogan.features import NetworkFeatures
    >>> from skanogan.image import PositionDetector
    >>> rng = np.random.RandomState(0)
    >>> stripes = np.sin(np.arange(48))[:, None] + rng.normal(0, 0.1, (86, 48, 60))
    >>> network = nn.Sequential(nn.Conv2d(1, 64, 5, 2), nn.ReLU())
    >>> features = NetworkFeatures(
    ...     network, pooling=None, mean=0.5, std=0.5, value_range=(-1.5, 1.5)
    ... )
    >>> detector = PositionDetector(MahalanobisDistance(), features, random_state=0)
    >>> detector = detector.fit(stripes[:80])
    >>> spotted = stripes[80:].copy()
    >>> spotted[0, 20:28, 40:48] = 1
    >>> int(detector.score_samples(spotted).argmin())
    0
    >>> found = detector.anomaly_map(spotted[0])
    >>> found.shape, bool(found[20:28, 40:48].mean() > found.mean() + found.std())
    ((48, 60), True)
    """

    _advice: ClassVar[str] = (
        "Fewer positions (grid_size) or a smaller image_size take less time. verbose=1 "
        "shows a progress bar."
    )

    features_: Any
    mean_: np.ndarray | None
    n_positions_: int

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **WholeImageDetector._parameter_constraints,
        "features": [HasMethods(["fit", "transform"])],
        "subtract_mean": ["boolean"],
        "max_positions": [Interval(Integral, 2, None, closed="left")],
        "smoothing": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any,
        features: Any,
        *,
        subtract_mean: bool = False,
        max_positions: int = 10_000,
        smoothing: "float | str" = "auto",
        min_coverage: float = 0.5,
        pooling: str = "top",
        pooling_size: "int | float" = 0.01,
        validation_fraction: "float | str" = "auto",
        contamination: "float | str" = "auto",
        random_state: Any = None,
        unreadable: str = "raise",
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.features = features
        self.subtract_mean = subtract_mean
        self.max_positions = max_positions
        self.smoothing = smoothing
        self.min_coverage = min_coverage
        self.pooling = pooling
        self.pooling_size = pooling_size
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.random_state = random_state
        self.unreadable = unreadable
        self.verbose = verbose

    # Fit ----------------------------------------------------------------------

    def _learn(
        self,
        images: Sequence[Any],
        y: Any,
        masks: Masks,
        kept: np.ndarray,
        seed: int,
        reader: FileReader,
    ) -> None:
        first = read_image(images[kept[0]], f"images[{kept[0]}]", reader)
        self._n_channels = n_channels_of(first)
        self.features_, self.mean_ = clone(self.features).fit([first], None), None
        rng = np.random.RandomState(seed)
        each = -(-self.max_positions // len(kept))
        total: Any = 0.0
        places, rows = [], []
        shown = with_bar(kept, len(kept), "Computing features", self.verbose)
        for i, grid, inside in self._grids(images, masks, shown, reader):
            if self.subtract_mean:
                if np.shape(total) not in ((), grid.shape):
                    raise self._other_grid(grid, np.shape(total), f"images[{i}]")
                total = total + grid.astype(np.float64)
            drawn = rng.permutation(np.flatnonzero(inside))[:each]
            places.append(drawn)
            rows.append(grid.reshape(-1, grid.shape[2])[drawn])
        table = np.concatenate(rows)
        if self.subtract_mean:
            self.mean_ = np.asarray(total / len(kept), np.float32)
            table -= self.mean_.reshape(-1, table.shape[1])[np.concatenate(places)]
        if len(table) > self.max_positions:
            table = table[np.sort(rng.permutation(len(table))[: self.max_positions])]
        self.n_positions_ = len(table)
        known = labels_of_normal(y, len(table))
        self.estimator_ = clone(self.estimator).fit(table, known)

    # Scores and maps ----------------------------------------------------------

    @of_one_fit
    def anomaly_map(self, image: Any, mask: Any = None) -> np.ndarray:
        """Map how anomalous each pixel of one image is.

        Parameters
        ----------
        image : array-like of shape (H, W) or (H, W, C), or path of a file
            An image like those of `fit`.
        mask : array-like of shape (H, W) or callable, default=None
            The part to map. None is the function that `fit` got, or the whole image if
            it got none.

        Returns
        -------
        map : ndarray of shape (H, W), float64
            Anomaly scores of positions, interpolated and smoothed. Positions that are
            not inside the mask, and pixels outside, have the lowest value inside.
        """
        check_is_fitted(self)
        mask = self.masks_ if mask is None else mask
        return self._map(image, mask, "image", FileReader())

    def anomaly_maps(
        self, images: Iterable[Any], masks: Masks = None
    ) -> Iterator[np.ndarray]:
        """Map one image after the other.

        Parameters
        ----------
        images : iterable of arrays or paths, or path of a folder
            A generator is allowed.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            As in `score_samples`.

        Returns
        -------
        maps : iterator of ndarray of shape (H, W)
            Each map is computed when it is asked for.
        """
        return self._maps(images, masks)

    @of_one_fit
    def reconstruct(self, image: Any) -> np.ndarray:
        """Find the closest normal features at each position of an image.

        Parameters
        ----------
        image : array-like of shape (H, W) or (H, W, C), or path of a file
            An image like those of `fit`.

        Returns
        -------
        features : ndarray of shape (rows, columns, n_features)
            What `reconstruct` of the detector gives for each position.

        Raises
        ------
        AttributeError
            If the detector has no `reconstruct`.
        """
        check_is_fitted(self)
        if not hasattr(self.estimator_, "reconstruct"):
            raise AttributeError(
                f"{type(self.estimator_).__name__} has no method reconstruct. Use a "
                "detector of this package that has one, such as AnoGANDetector."
            )
        read = read_image(image, "image", FileReader())
        check_channels(read, self._n_channels, "image")
        (grid,) = self._computed([read], ["image"])
        closest = np.asarray(self.estimator_.reconstruct(self._as_rows(grid)))
        closest = closest.reshape(grid.shape)
        return closest if self.mean_ is None else closest + self.mean_

    def _place_scores(
        self, images: Sequence[Any], masks: Masks, which: np.ndarray, reader: FileReader
    ) -> Iterator[np.ndarray]:
        for _, grid, inside in self._grids(images, masks, which, reader):
            yield self._grid_scores(grid)[inside]

    def _map(
        self, source: Any, mask: Any, name: str, reader: FileReader, stride: Any = None
    ) -> np.ndarray:
        image = read_image(source, name, reader)
        check_channels(image, self._n_channels, name)
        inside = mask_of(image, mask, name, reader)
        (grid,) = self._computed([image], [name])
        found, size = -self._grid_scores(grid), image.shape[:2]
        if inside is not None:
            # Values of positions outside of the mask would be smoothed into it.
            counts = self._inside(inside, *found.shape)
            found[~counts] = found[counts].min()
        # A Gaussian as wide as a position takes seconds on an image of 3 megapixels.
        fine = [min(a, FINENESS * n) for a, n in zip(size, found.shape, strict=True)]
        if self.smoothing == "auto":
            widths = [a / n for a, n in zip(fine, found.shape, strict=True)]
        else:
            widths = [self.smoothing * a / b for a, b in zip(fine, size, strict=True)]
        smooth = gaussian_filter(_interpolated(found, fine), widths, mode="nearest")
        smooth = _interpolated(smooth, size)
        if inside is not None:
            smooth[~inside] = smooth[inside].min()
        return smooth

    # Positions ----------------------------------------------------------------

    def _grids(
        self,
        images: Sequence[Any],
        masks: Masks,
        which: Iterable[int],
        reader: FileReader,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield each image's position, its features, and which of them are inside."""
        shape: tuple[int, ...] | None = None
        batch: list[tuple[int, np.ndarray]] = []
        for i in which:
            image = read_image(images[i], f"images[{i}]", reader)
            check_channels(image, self._n_channels, f"images[{i}]")
            is_full = len(batch) * image.shape[0] * image.shape[1] >= BATCH_PIXELS
            if batch and (is_full or len(batch) == BATCH or image.shape != shape):
                yield from self._with_insides(batch, masks, reader)
                batch = []
            batch.append((i, image))
            shape = image.shape
        yield from self._with_insides(batch, masks, reader)

    def _with_insides(
        self, batch: list[tuple[int, np.ndarray]], masks: Masks, reader: FileReader
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        names = [f"images[{i}]" for i, _ in batch]
        grids = self._computed([image for _, image in batch], names)
        for (i, image), name, grid in zip(batch, names, grids, strict=True):
            mask = mask_of(image, mask_at(masks, i), name, reader)
            yield i, grid, self._inside(mask, *grid.shape[:2])

    def _computed(
        self, images: Sequence[np.ndarray], names: Sequence[str]
    ) -> np.ndarray:
        """Compute the features of images of one size, (n, rows, columns, features)."""
        grids = np.asarray(self.features_.transform(list(images)))
        if grids.ndim != 4:
            raise ValueError(
                f"features.transform returned an array of shape {grids.shape}, not "
                "(n, rows, columns, n_features). Set pooling=None in NetworkFeatures."
            )
        if self.mean_ is not None and grids.shape[1:] != self.mean_.shape:
            raise self._other_grid(grids[0], self.mean_.shape, names[0])
        return grids

    @staticmethod
    def _other_grid(grid: np.ndarray, shape: tuple[int, ...], name: str) -> ValueError:
        return ValueError(
            f"{name} has features of shape {grid.shape}, but others have {shape}. "
            "subtract_mean=True needs one grid for all images. Set image_size or "
            "grid_size in NetworkFeatures."
        )

    def _inside(
        self, mask: np.ndarray | None, n_rows: int, n_columns: int
    ) -> np.ndarray:
        """Which positions, (rows, columns), have enough pixels inside the mask."""
        if mask is None:
            return np.ones((n_rows, n_columns), bool)
        pixels = torch.from_numpy(mask[None, None].astype(np.float64))
        shares = nn.functional.adaptive_avg_pool2d(pixels, (n_rows, n_columns))
        share = shares[0, 0].numpy()
        # A position without a pixel inside never counts.
        least = max(min(self.min_coverage - 1e-9, share.max()), 1e-12)
        return np.asarray(share >= least)

    def _grid_scores(self, grid: np.ndarray) -> np.ndarray:
        """Score all positions of an image, (rows, columns)."""
        scores = scores_of(self.estimator_, self._as_rows(grid))
        return scores.astype(float).reshape(grid.shape[:2])

    def _as_rows(self, grid: np.ndarray) -> np.ndarray:
        centred = grid if self.mean_ is None else grid - self.mean_
        return np.ascontiguousarray(centred.reshape(-1, grid.shape[2]))


def _interpolated(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Interpolate a map to a size, (rows, columns)."""
    maps = torch.from_numpy(values)[None, None]
    found = nn.functional.interpolate(maps, tuple(size), mode="bilinear")
    return np.asarray(found[0, 0].numpy())

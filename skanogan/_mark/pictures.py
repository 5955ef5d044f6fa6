"""Marked pictures: an image, and beside it the image with its unusual pixels marked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

__all__ = ["LONGEST_SIDE", "Scale", "marked_picture", "pixel_range"]

LONGEST_SIDE = 768
"""Pictures of photographs are reduced to at most this many pixels per side."""

SHORT_SIDE = 256
"""Smaller images are enlarged, or outlines would cover much of them."""

HEAT = np.array([214, 39, 40])
LINE = np.array([255, 176, 0])


@dataclass
class Scale:
    """What is usual in maps and pixels of normal images.

    Maps may be negative, so a level alone is no scale: the median of the maps of normal
    images has the heat 0, and the level has the heat 1.
    """

    median: float
    level: float
    dtype: np.dtype[Any]
    pixels: tuple[float, float]

    def heat(self, found: np.ndarray) -> np.ndarray:
        """Bring a map to this scale."""
        span = self.level - self.median
        return (found - self.median) / max(span, 1e-12)


def pixel_range(image: np.ndarray) -> tuple[float, float]:
    """Return the pixel values between which nearly all of an image lies."""
    low, high = np.quantile(image[::4, ::4].astype(float), [0.005, 0.995])
    return float(low), float(high)


def marked_picture(image: np.ndarray, found: np.ndarray, scale: Scale) -> Any:
    """Draw an image of shape (H, W) or (H, W, C) beside its marks, with its map."""
    from PIL import Image

    pixels = image[..., None] if image.ndim == 2 else image
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    heat = scale.heat(found)[..., None]
    n_blocks = -(-max(found.shape) // LONGEST_SIDE)
    if n_blocks > 1:
        # The maximum, because a mean would hide a thin scratch.
        pixels, heat = _blocks(pixels, n_blocks, "mean"), _blocks(heat, n_blocks, "max")
    plain = _as_rgb(pixels, image.dtype, scale.pixels)
    n_times = -(-SHORT_SIDE // max(found.shape))
    plain, heat = (_enlarged(array, n_times) for array in (plain, heat))

    # From half of the level on, pixels turn red. Above the level they are outlined.
    strength = np.clip(heat - 0.5, 0, 1) * 0.5
    marked = plain * (1 - strength) + HEAT * strength
    above = heat[..., 0] > 1
    width = max(1, round(max(above.shape) / 250))
    outline = binary_dilation(above, iterations=width) & ~above
    # A dark edge shows the outline on bright and on orange images.
    edge = binary_dilation(outline, iterations=max(1, width // 2)) & ~above & ~outline
    marked[edge] = marked[edge] * 0.4
    marked[outline] = LINE

    # A transparent gap has the colour of the page.
    gap = np.zeros((len(plain), max(4, plain.shape[1] // 50), 4))
    both = [np.insert(half, 3, 255, axis=2) for half in (plain, marked)]
    row = np.concatenate([both[0], gap, both[1]], 1)
    return Image.fromarray(row.round().astype(np.uint8))


def _as_rgb(
    pixels: np.ndarray, dtype: np.dtype[Any], ends: tuple[float, float]
) -> np.ndarray:
    """Bring pixels of any dtype to (H, W, 3) between 0 and 255."""
    values = pixels.astype(float)
    if dtype != np.uint8:
        # Cameras use a part of 16 bits. The part is that of the normal images, so that
        # an image that is too dark looks dark.
        low, high = ends
        values = (values - low) / max(high - low, 1e-12) * 255
    return np.broadcast_to(values.clip(0, 255), (*values.shape[:2], 3))


def _blocks(array: np.ndarray, n: int, kind: str) -> np.ndarray:
    """Reduce blocks of n x n pixels to their mean or their maximum."""
    rows, columns = (-length % n for length in array.shape[:2])
    padded = np.pad(array, ((0, rows), (0, columns), (0, 0)), mode="edge")
    blocks = padded.reshape(
        len(padded) // n, n, padded.shape[1] // n, n, padded.shape[2]
    )
    return np.asarray(blocks.mean((1, 3)) if kind == "mean" else blocks.max((1, 3)))


def _enlarged(array: np.ndarray, n: int) -> np.ndarray:
    return array.repeat(n, 0).repeat(n, 1) if n > 1 else array

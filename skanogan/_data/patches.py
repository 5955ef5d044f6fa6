"""Cut images into patches.

scikit-learn's `PatchExtractor` is not used. It takes images of one size, returns
patches in float64 (eight times the memory of uint8), and has no masks and no grid with
a stride. NumPy's sliding windows are a view, which any patches can be read from.
"""

import math
import mmap
import zlib
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.utils.random import sample_without_replacement

from skanogan._data.rows import shared_mapping

__all__ = [
    "Patched",
    "covered",
    "draw_patches",
    "grid",
    "sides",
    "steps",
]

CHUNK_BYTES = 8 * 2**20
"""Memory of the patches that are held at once, as float64: 256 of 64 x 64 pixels."""

FINGERPRINT = 64
"""Largest number of rows and columns of an image that seed its random numbers."""


class Patched:
    """The patches of one image.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
    inside : ndarray of bool of shape (H, W) or None
        The mask. None is the whole image.
    size : (int, int)
        Height and width of a patch.
    name : str
        The name of the image in errors.

    Raises
    ------
    ValueError
        If the image is smaller than a patch.
    """

    def __init__(
        self,
        image: np.ndarray,
        inside: "np.ndarray | None",
        size: tuple[int, int],
        name: str,
    ) -> None:
        if image.shape[0] < size[0] or image.shape[1] < size[1]:
            raise ValueError(
                f"{name} has shape {image.shape}, which is smaller than a patch of "
                f"{size}. Lower patch_size, or pad the image."
            )
        self.image = image
        self.inside = inside
        self._size = size
        self._name = name
        self._mapping = shared_mapping(image)
        self._counts = None if inside is None else covered(inside, size)

    @property
    def n_places(self) -> int:
        """Number of positions of a patch in the image, with or without a mask."""
        sides = zip(self.image.shape, self._size, strict=False)
        return math.prod(length - side + 1 for length, side in sides)

    def random(self, n: int, share: float, seed: int) -> np.ndarray:
        """Draw at most `n` random patches (n, height, width[, C]) without replacement.

        They depend on the seed, the image and its mask, not on other images. `share` is
        that of `on_grid`.
        """
        down, across = (
            length - side + 1
            for length, side in zip(self.image.shape, self._size, strict=False)
        )
        choice = None
        if self._counts is not None:
            choice = np.flatnonzero(self._enough(self._counts, share))
        population = down * across if choice is None else len(choice)
        sparse = tuple(
            slice(None, None, -(-length // FINGERPRINT))
            for length in self.image.shape[:2]
        )
        fingerprint = zlib.crc32(np.ascontiguousarray(self.image[sparse]).tobytes())
        rng = np.random.RandomState([seed, fingerprint])
        at = sample_without_replacement(
            population, min(n, population), random_state=rng
        )
        if choice is not None:
            at = choice[at]
        return self._at(np.stack(np.divmod(at, across), -1))

    def on_grid(
        self, stride: tuple[int, int], share: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield corners (n, 2) and patches (n, height, width[, C]) that cover the
        image.

        They come row by row, a few megabytes at a time. The last row and column of
        patches end at the border. `share` of a patch's pixels must be inside the mask;
        0 asks for one pixel. If no patch has this share, those with the largest share
        are used.
        """
        corners = grid(self.image.shape, self._size, stride)
        if self._counts is not None:
            counts = self._counts[corners[:, 0], corners[:, 1]]
            corners = corners[self._enough(counts, share)]
        floats = math.prod((*self._size, *self.image.shape[2:]))
        length = max(1, CHUNK_BYTES // (8 * floats))
        for start in range(0, len(corners), length):
            some = corners[start : start + length]
            yield some, self._at(some)

    def _enough(self, counts: np.ndarray, share: float) -> np.ndarray:
        # 0.3 * 10 pixels are 3. Rounding errors must not make them 4.
        needed = math.ceil(share * self._size[0] * self._size[1] - 1e-9)
        return np.asarray(counts >= min(max(needed, 1), counts.max()))

    def _at(self, corners: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(self.image, self._size, axis=(0, 1))
        patches = windows[corners[:, 0], corners[:, 1]]
        if patches.ndim == 4:
            patches = np.moveaxis(patches, 1, -1)
        if self._mapping is not None:
            # Pages that were read would stay resident: 1.1 GB after 64 patches and a
            # grid were read from each of 256 images of 4 MB.
            self._mapping.madvise(mmap.MADV_DONTNEED)
        if patches.dtype.kind == "f" and not np.isfinite(patches).all():
            raise ValueError(
                f"{self._name} has pixels that are NaN or infinite. Replace them, for "
                "instance with numpy.nan_to_num."
            )
        return patches


def draw_patches(
    images: Iterable[Patched], n_images: int, n: int, share: float, seed: int
) -> np.ndarray:
    """Draw `n` random patches of each of many images into one array.

    The images are read one at a time. The dtype is that of the first image.
    """
    patches, filled = np.empty(0), 0
    for patched in images:
        found = patched.random(n, share, seed)
        if not filled:
            # Most images have one size, so that the first one tells the number.
            length = n_images * min(n, patched.n_places)
            patches = np.empty((length, *found.shape[1:]), patched.image.dtype)
        if filled + len(found) > len(patches):
            n_more = max(len(found), len(patches) // 2)
            more = np.empty((n_more, *found.shape[1:]), patches.dtype)
            patches = np.concatenate([patches[:filled], more])
        patches[filled : filled + len(found)] = found
        filled += len(found)
    return patches[:filled]


def sides(value: Any, name: str) -> tuple[int, int]:
    """Return (height, width) from a pair, or from one number for both."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(side, Integral) and int(side) > 0 for side in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(
            f"{name}={value!r} is not allowed. Give a positive integer, or "
            "(height, width) in positive integers."
        )
    return int(pair[0]), int(pair[1])


def steps(stride: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Return the pixels from one patch to the next, down and across. "auto" is half."""
    if isinstance(stride, str) and stride == "auto":
        return max(1, size[0] // 2), max(1, size[1] // 2)
    down, across = sides(stride, "stride")
    if down > size[0] or across > size[1]:
        raise ValueError(
            f"stride={stride!r} is larger than patches of {size}, so pixels between "
            "patches would be left out. Use at most the size of a patch."
        )
    return down, across


def grid(
    shape: tuple[int, ...], size: tuple[int, int], stride: tuple[int, int]
) -> np.ndarray:
    """Compute the corners (n, 2) of patches that cover an image, row by row."""
    rows, columns = (
        _starts(length, side, step)
        for length, side, step in zip(shape[:2], size, stride, strict=True)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def covered(inside: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Count the pixels inside a mask for each possible patch, by its upper left
    corner.
    """
    height, width = size
    sums = np.zeros((inside.shape[0] + 1, inside.shape[1] + 1), np.int64)
    sums[1:, 1:] = inside
    np.cumsum(sums, 0, out=sums)
    np.cumsum(sums, 1, out=sums)
    across = sums[:, width:] - sums[:, :-width]
    return np.asarray(across[height:] - across[:-height])


def _starts(length: int, side: int, step: int) -> np.ndarray:
    last = length - side
    starts = np.arange(0, last + 1, step)
    return starts if starts[-1] == last else np.append(starts, last)

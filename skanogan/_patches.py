"""The patches of an image, and their scores and maps back into one.

scikit-learn's `PatchExtractor` is not used: it wants images of one size, writes their
patches as float64 (eight times the memory of uint8), and has neither masks nor a grid
with a stride. NumPy's sliding windows are a view, from which any patches are taken.
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

from skanogan._inputs import shared_mapping

__all__ = ["Patched", "blend", "pool"]

CHUNK_BYTES = 8 * 2**20
"""Patches that are held at once, counted in float64: 256 of 64 x 64 pixels."""

FINGERPRINT = 64
"""Most rows and columns of an image that its own random numbers are made from."""


class Patched:
    """An image, the part of it that counts, and its patches.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
    inside : ndarray of bool of shape (H, W) or None
        The part; None for all.
    size : (int, int)
        Height and width of a patch, no larger than the image.
    name : str
        What to call the image in errors.
    """

    def __init__(
        self,
        image: np.ndarray,
        inside: "np.ndarray | None",
        size: tuple[int, int],
        name: str,
    ) -> None:
        self.image = image
        self.inside = inside
        self._size = size
        self._name = name
        self._mapping = shared_mapping(image)
        self._counts = None if inside is None else covered(inside, size)

    @property
    def n_places(self) -> int:
        """Places that a patch can have, whatever the mask."""
        sides = zip(self.image.shape, self._size, strict=False)
        return math.prod(length - side + 1 for length, side in sides)

    def random(self, n: int, share: float, seed: int) -> np.ndarray:
        """Random patches, each at most once.

        They depend on the seed, the image and its mask; other images and their order
        have no part in it.

        Parameters
        ----------
        n : int
            Patches; fewer where there are not so many.
        share : float
            Of a patch that must lie inside, as in `on_grid`.
        seed : int

        Returns
        -------
        patches : ndarray of shape (<= n, height, width[, C])
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
        """Patches that cover the image, row by row, a few megabytes at a time.

        The last row and column of patches lie against the border, closer to their
        neighbours where the stride does not fit.

        Parameters
        ----------
        stride : (int, int)
        share : float
            Of a patch's pixels that must lie inside; 0 for one pixel. Where no patch
            has so much, those that have the most.

        Yields
        ------
        corners : ndarray of int of shape (n, 2)
            Upper left pixels.
        patches : ndarray of shape (n, height, width[, C])
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
        # Of 0.3 x 10 pixels, 3 are enough, and rounding must not ask for a fourth.
        needed = math.ceil(share * self._size[0] * self._size[1] - 1e-9)
        return np.asarray(counts >= min(max(needed, 1), counts.max()))

    def _at(self, corners: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(self.image, self._size, axis=(0, 1))
        patches = windows[corners[:, 0], corners[:, 1]]
        if patches.ndim == 4:
            patches = np.moveaxis(patches, 1, -1)
        if self._mapping is not None:
            # Pages that were read stay resident otherwise: 256 images of 4 MB, of which
            # 64 patches each were taken and a grid was scored, left all 1.1 GB behind.
            self._mapping.madvise(mmap.MADV_DONTNEED)
        if patches.dtype.kind == "f" and not np.isfinite(patches).all():
            raise ValueError(
                f"{self._name} has pixels that are NaN or infinite. Fill them, for "
                "instance by numpy.nan_to_num."
            )
        return patches


def grid(
    shape: tuple[int, ...], size: tuple[int, int], stride: tuple[int, int]
) -> np.ndarray:
    """Corners of patches that cover an image, row by row.

    Parameters
    ----------
    shape : tuple of int
        (H, W, ...).
    size, stride : (int, int)

    Returns
    -------
    corners : ndarray of int of shape (n, 2)
    """
    rows, columns = (
        _starts(length, side, step)
        for length, side, step in zip(shape[:2], size, stride, strict=True)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def covered(inside: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How many pixels of each possible patch lie inside a mask.

    Parameters
    ----------
    inside : ndarray of bool of shape (H, W)
    size : (int, int)

    Returns
    -------
    counts : ndarray of int of shape (H - height + 1, W - width + 1)
        By the patch's corner.
    """
    height, width = size
    sums = np.zeros((inside.shape[0] + 1, inside.shape[1] + 1), np.int64)
    sums[1:, 1:] = inside
    np.cumsum(sums, 0, out=sums)
    np.cumsum(sums, 1, out=sums)
    across = sums[:, width:] - sums[:, :-width]
    return np.asarray(across[height:] - across[:-height])


def pool(scores: np.ndarray, pooling: str, size: "int | float") -> float:
    """One score of an image from those of its patches; lower is more abnormal.

    Parameters
    ----------
    scores : ndarray of shape (n,)
    pooling : {"top", "max", "quantile", "mean"}
    size : int or float
        For "top", how many or what share of the most abnormal patches; for
        "quantile", the share of patches that are more abnormal than the score.
    """
    if pooling == "max":
        return float(scores.min())
    if pooling == "mean":
        return float(scores.mean())
    if pooling == "quantile":
        return float(np.quantile(scores, size))
    if not isinstance(size, Integral):
        size = math.ceil(size * len(scores) - 1e-9)
    return float(np.sort(scores)[:size].mean())


def blend(
    parts: Iterable[tuple[Any, np.ndarray]],
    shape: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Overlapping maps of patches as one map, without seams.

    Each pixel is the mean of the maps that hold it, weighted by a raised cosine of its
    place in the patch: a patch enters with a weight near 0 (6e-4 of its largest for 64
    pixels) and leaves so.

    Parameters
    ----------
    parts : iterable of ((int, int), ndarray of shape `size`)
        Corners, in rising order of rows, and maps.
    shape : (int, int)
        Of the whole.
    size : (int, int)
        Of a patch.

    Returns
    -------
    blended : ndarray of shape (H, W), float64
        0 where no patch was.
    """
    height, width = size
    window = np.outer(_raised_cosine(height), _raised_cosine(width))
    blended = np.zeros(shape)
    # Only the rows that the next patches can reach still need their weights.
    weights = np.zeros((height, shape[1]))
    top = 0
    for (y, x), part in parts:
        done = min(y - top, height)
        if done:
            weights[: height - done] = weights[done:]
            weights[height - done :] = 0
            top = y
        weight = weights[:, x : x + width]
        weight += window
        # A running mean, so that equal values stay what they are to the last bit.
        mean = blended[y : y + height, x : x + width]
        mean += window / weight * (part - mean)
    return blended


def _starts(length: int, side: int, step: int) -> np.ndarray:
    last = length - side
    starts = np.arange(0, last + 1, step)
    return starts if starts[-1] == last else np.append(starts, last)


def _raised_cosine(length: int) -> np.ndarray:
    """A Hann window sampled between its zeros, so that no weight is 0."""
    return np.asarray(np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2)

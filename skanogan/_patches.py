"""Images in, patches out, and the maps of patches back into one.

scikit-learn's `PatchExtractor` is not used: it wants images of one size, writes their
patches as float64 (eight times the memory of uint8), and has neither masks nor a grid
with a stride. NumPy's sliding windows are a view that any positions are taken from.
"""

import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.utils.random import sample_without_replacement

__all__ = [
    "as_images",
    "as_mask",
    "blend",
    "chunks",
    "coverage",
    "draw",
    "grid",
    "patches_at",
    "pool",
    "read_image",
    "sides",
]

CHUNK_BYTES = 8 * 2**20
"""Patches that are scored at once, counted in float64: 256 of 64 x 64 pixels."""

FINGERPRINT = 64
"""Rows and columns of an image that its own random numbers are made from."""

# Sizes ------------------------------------------------------------------------


def sides(value: Any, name: str) -> tuple[int, int]:
    """(height, width) from a pair or one number for both.

    Raises
    ------
    ValueError
        If it is neither, or not of positive integers.
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(s, (int, np.integer)) and s > 0 for s in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(
            f"{name}={value!r}: a positive integer, or (height, width) in two of "
            "them, was expected."
        )
    return int(pair[0]), int(pair[1])


# Images in --------------------------------------------------------------------


def as_images(images: Any) -> Sequence[Any]:
    """Something with a length whose items are images or paths.

    Raises
    ------
    ValueError
        For one image, or one path, in place of several, and for none.
    """
    one = "put it in a list"
    if isinstance(images, (str, os.PathLike)):
        raise ValueError(f"images is one path, {str(images)!r}: {one}.")
    n_dim = getattr(images, "ndim", 1)
    if n_dim not in (1, 3, 4):
        raise ValueError(
            f"images has shape {tuple(images.shape)}; (n, H, W), (n, H, W, C), or a "
            f"list of images or paths was expected. If it is one image, {one}."
        )
    if n_dim == 1:
        images = list(images)
    if len(images) == 0:
        raise ValueError("images holds 0 images while a minimum of 1 is required.")
    return images


def read_image(source: Any, name: str) -> np.ndarray:
    """One image as (H, W) or (H, W, C), in its own dtype; files are mapped or read.

    Parameters
    ----------
    source : array-like or path
        A ``.npy`` file is mapped; others are opened by Pillow.
    name : str
        What to call it in errors.

    Raises
    ------
    ImportError
        Where a file needs Pillow, which is not there.
    ValueError
        For other dimensions and for what is not real numbers.
    """
    if isinstance(source, (str, os.PathLike)):
        name = f"{name} ({os.fspath(source)})"
        image = _read_file(Path(source))
    else:
        image = np.asarray(source)
    if image.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {image.dtype}; real numbers were expected.")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3):
        raise ValueError(
            f"{name} has shape {image.shape}; (H, W) or (H, W, C) was expected."
        )
    return image


def _read_file(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return stored
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs Pillow: pip install pillow. Files in NumPy's .npy "
            "format need nothing."
        ) from error
    with Image.open(path) as opened:
        frames = getattr(opened, "n_frames", 1)
        if frames > 1:
            raise ValueError(
                f"{path} holds {frames} images; one was expected. Split it into files."
            )
        # Neither the numbers of a palette nor bits are brightnesses.
        mode = {"P": "RGB", "PA": "RGBA", "1": "L"}.get(opened.mode)
        return np.array(opened.convert(mode) if mode else opened)


def as_mask(source: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A mask as booleans of the image's (H, W); what is not 0 is inside.

    Raises
    ------
    ValueError
        For another shape, and where nothing is inside.
    """
    mask = read_image(source, name)
    if mask.shape != shape[:2]:
        raise ValueError(
            f"{name} has shape {mask.shape} and its image {tuple(shape[:2])}: a mask "
            "is (H, W), as the image."
        )
    inside = np.asarray(mask != 0)
    if not inside.any():
        raise ValueError(
            f"{name} is empty: at least one pixel inside was expected. Leave the image "
            "out, or give None for the whole of it."
        )
    return inside


# Positions --------------------------------------------------------------------


def grid(
    shape: tuple[int, ...], size: tuple[int, int], stride: tuple[int, int]
) -> np.ndarray:
    """Corners of patches that cover an image, row by row.

    Parameters
    ----------
    shape : tuple of int
        (H, W, ...).
    size, stride : (int, int)
        Of the patches, and between them. The last row and column of patches lie
        against the border, closer to their neighbours where the stride does not fit.

    Returns
    -------
    corners : ndarray of int of shape (n, 2)
        Upper left pixels.
    """
    rows, columns = (
        _starts(length, side, step)
        for length, side, step in zip(shape[:2], size, stride, strict=True)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def _starts(length: int, side: int, step: int) -> np.ndarray:
    last = length - side
    starts = np.arange(0, last + 1, step)
    return starts if starts[-1] == last else np.append(starts, last)


def coverage(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How many pixels of each possible patch lie inside.

    Parameters
    ----------
    mask : ndarray of bool of shape (H, W)
    size : (int, int)

    Returns
    -------
    counts : ndarray of int of shape (H - height + 1, W - width + 1)
        By the patch's corner.
    """
    height, width = size
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask
    np.cumsum(sums, 0, out=sums)
    np.cumsum(sums, 1, out=sums)
    across = sums[:, width:] - sums[:, :-width]
    return np.asarray(across[height:] - across[:-height])


def enough(counts: np.ndarray, size: tuple[int, int], share: float) -> np.ndarray:
    """Which patches lie inside a mask: with this share of their pixels.

    Where none of them has so much, those that have the most.
    """
    needed = min(share * size[0] * size[1] - 1e-9, counts.max())
    return np.asarray(counts >= max(needed, 1))


def draw(
    image: np.ndarray,
    inside: "np.ndarray | None",
    size: tuple[int, int],
    n: int,
    seed: int,
) -> np.ndarray:
    """Corners of random patches, each at most once.

    They depend on the seed, the image and its mask; other images and their order have
    no part in it.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
    inside : ndarray of bool of shape (H - height + 1, W - width + 1) or None
        Corners to draw from; None for all.
    size : (int, int)
    n : int
        Patches; fewer where there are not so many.
    seed : int

    Returns
    -------
    corners : ndarray of int of shape (<= n, 2)
    """
    down, across = (
        length - side + 1 for length, side in zip(image.shape, size, strict=False)
    )
    choice = None if inside is None else np.flatnonzero(inside)
    population = down * across if choice is None else len(choice)
    steps = tuple(slice(None, None, -(-s // FINGERPRINT)) for s in image.shape[:2])
    fingerprint = zlib.crc32(np.ascontiguousarray(image[steps]).tobytes())
    rng = np.random.RandomState([seed, fingerprint])
    drawn = sample_without_replacement(population, min(n, population), random_state=rng)
    at = drawn if choice is None else choice[drawn]
    return np.stack(np.divmod(at, across), -1)


def chunks(corners: np.ndarray, floats_per_patch: int) -> Iterator[np.ndarray]:
    """Corners in parts whose patches are held at once."""
    length = max(1, CHUNK_BYTES // (8 * floats_per_patch))
    for start in range(0, len(corners), length):
        yield corners[start : start + length]


def patches_at(
    image: np.ndarray, corners: np.ndarray, size: tuple[int, int], name: str
) -> np.ndarray:
    """Patches of an image, copied, in its dtype.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
    corners : ndarray of int of shape (n, 2)
    size : (int, int)
    name : str
        What to call the image in errors.

    Returns
    -------
    patches : ndarray of shape (n, height, width) or (n, height, width, C)

    Raises
    ------
    ValueError
        For pixels that are not finite.
    """
    windows = sliding_window_view(image, size, axis=(0, 1))
    patches = windows[corners[:, 0], corners[:, 1]]
    if image.ndim == 3:
        patches = np.moveaxis(patches, 1, -1)
    if patches.dtype.kind == "f" and not np.isfinite(patches).all():
        raise ValueError(
            f"{name} has pixels that are NaN or infinite. Fill them, or leave them "
            "outside by masks."
        )
    return patches


# Patches back into one --------------------------------------------------------


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
    if isinstance(size, float):
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


def _raised_cosine(length: int) -> np.ndarray:
    """A Hann window sampled between its zeros, so that no weight is 0."""
    return np.asarray(np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2)

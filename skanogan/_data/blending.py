"""Combine the scores and maps of patches into those of an image."""

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

__all__ = ["blend", "pool"]


def pool(scores: np.ndarray, pooling: str, size: "int | float") -> float:
    """Pool the scores of patches (lower is more anomalous) into that of an image.

    `pooling` is "top", "max", "quantile" or "mean". For "top", `size` is the number or
    share of the most anomalous patches. For "quantile", it is the share of patches that
    are more anomalous than the score.
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
    """Blend overlapping maps of patches into one map (H, W) without seams.

    `parts` yields corners and maps, ordered by row. Each pixel is a weighted mean of
    the maps that contain it, and 0 outside of all patches. The weight is a raised
    cosine of the pixel's position in the patch. At the border of a patch of 64 pixels
    it is 6e-4 of the largest weight.
    """
    height, width = size
    window = np.outer(_raised_cosine(height), _raised_cosine(width))
    blended = np.zeros(shape)
    # The next patches can only reach these rows.
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
        # A running mean of equal values is equal to them to the bit.
        mean = blended[y : y + height, x : x + width]
        mean += window / weight * (part - mean)
    return blended


def _raised_cosine(length: int) -> np.ndarray:
    """Sample a Hann window between its zeros, so that no weight is 0."""
    return np.asarray(np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2)

"""The axis and the bars of scores, from one row to many thousands."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["bin_edges", "linear_stretch", "reaches_far"]

MOST_BINS = 60

HEAVY_TAIL = 10
"""Scores that reach so many times as far as nine tenths of the normal ones do are not
readable on a linear axis: the normal rows would be one bar of it."""


def reaches_far(scores: np.ndarray, normal: np.ndarray) -> bool:
    """Whether the scores ask for a logarithmic axis.

    Parameters
    ----------
    scores : ndarray of shape (n,)
    normal : ndarray of shape (m,)
        Those of the normal rows; if none, all are taken.
    """
    low, high = np.quantile(normal if len(normal) else scores, (0.05, 0.95))
    return bool(high > low and np.ptp(scores) > HEAVY_TAIL * (high - low))


def linear_stretch(scores: np.ndarray) -> float:
    """How far from zero a logarithmic axis is linear.

    Scores of one sign reach zero only by chance: up to the smallest hundredth of them.
    Those of both signs are about a threshold of zero: up to half of them.
    """
    both_signs = scores.min() < 0 < scores.max()
    size = float(np.quantile(np.abs(scores), 0.5 if both_signs else 0.01))
    return size if size > 0 else 1.0


def bin_edges(
    groups: Sequence[np.ndarray],
    threshold: float | None,
    n_bins: int | None,
    transform: Any,
) -> np.ndarray:
    """Edges of bars that are equally wide on the axis, one of them at the threshold.

    Parameters
    ----------
    groups : list of ndarray of shape (n_k,)
        Scores; at least one in all.
    threshold : float or None
    n_bins : int or None
        Over the range of the scores; one more may be needed for the edge at the
        threshold. None takes as many as the rows bear, at most 60.
    transform : matplotlib Transform
        From scores to the axis.

    Returns
    -------
    edges : ndarray
        Rising; no score is outside.
    """
    scores = np.concatenate(groups)
    at = transform.transform(scores)
    low, high = float(at.min()), float(at.max())
    anchor = low if threshold is None else float(transform.transform(threshold))
    # What is seen of the axis: scores that are all alike are one bar of a tenth of it.
    seen = max(high, anchor) - min(low, anchor) or max(abs(low), 1.0)
    if low == high:
        width = seen / 10
    elif n_bins is not None:
        width = (high - low) / n_bins
    else:
        # Bars for all rows, but not so narrow that those of a small group are a comb.
        own = [transform.transform(group) for group in groups if len(group) > 1]
        width = max([_width(at), *(_width(group) / 3 for group in own)])
    # Finer than a thousandth of the axis cannot be seen.
    width = max(width, seen / 1000)
    first = int(np.floor((low - anchor) / width))
    last = max(int(np.ceil((high - anchor) / width)), first + 1)
    steps = np.arange(first, last + 1)
    edges = transform.inverted().transform(anchor + steps * width)
    if threshold is not None:
        # Exactly: a score at the threshold is normal, and belongs to the right of it.
        edges[steps == 0] = threshold
    edges[0], edges[-1] = min(edges[0], scores.min()), max(edges[-1], scores.max())
    return np.asarray(edges)


def _width(values: np.ndarray) -> float:
    """Of numpy's "auto" bins, of which there are at most 60."""
    edges = np.histogram_bin_edges(values, "auto")
    return float(np.ptp(values)) / min(len(edges) - 1, MOST_BINS)

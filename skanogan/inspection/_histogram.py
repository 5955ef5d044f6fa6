"""The axis and the bars of a histogram of scores, for any number of rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["bin_edges", "linear_stretch", "reaches_far"]

MOST_BINS = 60

HEAVY_TAIL = 10
"""If the range of the scores is more than this times the range of nine tenths of the
normal scores, the axis is logarithmic. On a linear axis the normal rows would be one
bar."""


def reaches_far(scores: np.ndarray, normal: np.ndarray) -> bool:
    """Whether the scores need a logarithmic axis, beside those of normal rows."""
    low, high = np.quantile(normal if len(normal) else scores, (0.05, 0.95))
    return bool(high > low and np.ptp(scores) > HEAVY_TAIL * (high - low))


def linear_stretch(scores: np.ndarray) -> float:
    """Compute the distance from zero up to which a logarithmic axis is linear.

    If all scores have one sign, it is their 1 % quantile. If both signs occur, zero is
    the threshold, and it is the median of their absolute values.
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
    """Compute edges of bars of equal width on the axis, with one at the threshold.

    The edges enclose the scores of all groups. The edge at the threshold may add one to
    `n_bins` bars. `transform` is matplotlib's, from scores to the axis.
    """
    scores = np.concatenate(groups)
    at = transform.transform(scores)
    low, high = float(at.min()), float(at.max())
    anchor = low if threshold is None else float(transform.transform(threshold))
    # The visible part of the axis. Equal scores are one bar of a tenth of it.
    seen = max(high, anchor) - min(low, anchor) or max(abs(low), 1.0)
    if low == high:
        width = seen / 10
    elif n_bins is not None:
        width = (high - low) / n_bins
    else:
        # Bars chosen for all rows can be too narrow for a small group, and leave gaps.
        own = [transform.transform(group) for group in groups if len(group) > 1]
        width = max([_width(at), *(_width(group) / 3 for group in own)])
    # Less than a thousandth of the axis cannot be seen.
    width = max(width, seen / 1000)
    first = int(np.floor((low - anchor) / width))
    last = max(int(np.ceil((high - anchor) / width)), first + 1)
    steps = np.arange(first, last + 1)
    edges = transform.inverted().transform(anchor + steps * width)
    if threshold is not None:
        # Without rounding, because a score equal to the threshold is normal.
        edges[steps == 0] = threshold
    edges[0], edges[-1] = min(edges[0], scores.min()), max(edges[-1], scores.max())
    return np.asarray(edges)


def _width(values: np.ndarray) -> float:
    """Compute the width of NumPy's "auto" bins, limited to 60 bins."""
    edges = np.histogram_bin_edges(values, "auto")
    return float(np.ptp(values)) / min(len(edges) - 1, MOST_BINS)

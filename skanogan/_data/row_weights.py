"""Repetition of rows by their weights."""

from dataclasses import replace
from typing import Any

import numpy as np

from skanogan._data.array_api import as_numpy
from skanogan._data.split import Split
from skanogan._runtime.compatibility import _check_sample_weight

__all__ = ["check_weights", "repeated", "weighted"]

MOST_COPIES = 10
"""Repetition makes at most this many times as many rows. Only positions are stored."""


def check_weights(sample_weight: Any, values: np.ndarray) -> "np.ndarray | None":
    """Return weights in float64, (n,), or None if there are none.

    Raise ValueError if weights are negative or not finite, if all are zero, or if their
    number is not that of the rows.
    """
    if sample_weight is None:
        return None
    given = as_numpy(sample_weight)
    weights: np.ndarray = _check_sample_weight(
        given, values, dtype=np.float64, ensure_non_negative=True
    )
    return weights


def repeated(rows: np.ndarray, weights: "np.ndarray | None") -> np.ndarray:
    """Repeat positions of rows in proportion to their weights.

    The lightest row occurs once. The other numbers of repetitions are rounded down or
    up, so that their sums are right. If that made more than `MOST_COPIES` times as many
    rows, all numbers are smaller, and those of light rows may be zero. Equal weights
    change nothing.
    """
    if weights is None:
        return rows
    of_rows = weights[rows]
    of_rows = of_rows / of_rows.max()
    # Rounding may make 1.0000000000000002 of a whole number.
    wanted, most = of_rows.sum() / of_rows.min(), MOST_COPIES * len(rows)
    size = min(round(wanted), most)
    ends = np.floor(np.cumsum(of_rows) * (size / of_rows.sum()) + 0.5).astype(int)
    copies = np.diff(ends, prepend=0)
    return np.repeat(rows, copies if wanted > most else np.maximum(copies, 1))


def weighted(parts: Split, weights: "np.ndarray | None") -> Split:
    """Repeat rows after the split, so that none is both trained on and held out."""
    return replace(
        parts,
        kept=repeated(parts.kept, weights),
        held_out=repeated(parts.held_out, weights),
    )

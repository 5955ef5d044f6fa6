"""Labels of rows, where they must say which are normal: 1, or -1 for an anomaly."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

__all__ = ["check_labels"]


def check_labels(y: Any, X: Any = None, *, both: bool = True) -> np.ndarray:
    """Labels as an array of 1 and -1, or an error that says how to get there.

    Parameters
    ----------
    y : array-like of shape (n,)
    X : array-like of shape (n, ...), default=None
        What they are the labels of.
    both : bool, default=True
        Whether there must be an anomaly beside the normal rows.

    Returns
    -------
    labels : ndarray of shape (n,)

    Raises
    ------
    ValueError
        For other labels, other lengths, or where one of the two is missing.
    """
    if y is None:
        raise ValueError("y is None; labels were expected, 1 normal and -1 anomaly.")
    labels = column_or_1d(y)
    if X is not None:
        check_consistent_length(X, labels)
    values = np.unique(labels).tolist()
    if not set(values) <= {-1, 1}:
        raise ValueError(
            f"y holds {values[:5]}; 1 for normal rows and -1 for anomalies was "
            "expected. Convert with np.where(is_anomaly, -1, 1)."
        )
    if 1 not in values:
        raise ValueError("y holds no 1: a normal row was expected.")
    if both and -1 not in values:
        raise ValueError(
            "y holds no -1: an anomaly was expected, to measure what is found."
        )
    return labels.astype(np.int64)

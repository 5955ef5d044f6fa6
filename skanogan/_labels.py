"""Labels of rows, where they must say which are normal: 1, or -1 for an anomaly."""

import warnings
from typing import Any

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_consistent_length, column_or_1d

__all__ = ["LabelsHeededMixin", "check_labels", "normal_rows"]


class LabelsHeededMixin(OutlierMixin):
    """scikit-learn's mixin of detectors, whose `fit_predict` would drop `y`."""

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, and label the same rows.

        Parameters
        ----------
        X, y : array-like
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            1 or -1.
        """
        return np.asarray(self.fit(X, y).predict(X))


def check_labels(
    y: Any,
    X: Any = None,
    *,
    needed: tuple[int, ...] = (1, -1),
    numbered: bool | None = None,
) -> np.ndarray:
    """Labels as an array of 1 and -1, or an error that says how to get there.

    Parameters
    ----------
    y : array-like of shape (n,)
    X : array-like of shape (n, ...), default=None
        What they are the labels of.
    needed : tuple of int, default=(1, -1)
        Labels that must be there.
    numbered : bool, default=None
        Whether 0 and 1 are understood as well, as scikit-learn numbers the classes -1
        and 1. None, where it is not for the user to say.

    Returns
    -------
    labels : ndarray of shape (n,)

    Raises
    ------
    ValueError
        For other labels, other lengths, or where one that is needed is missing.
    """
    if y is None:
        raise ValueError("y is None; labels were expected, 1 normal and -1 anomaly.")
    labels = column_or_1d(y)
    if X is not None:
        check_consistent_length(X, labels)
    values = set(np.unique(labels).tolist())
    if numbered and values <= {0, 1}:
        labels, values = np.where(labels == 0, -1, 1), {2 * v - 1 for v in values}
    if not values <= {-1, 1}:
        ask = (
            " Inside of what numbers the classes, as ensembles of scikit-learn do, set "
            "anomaly_label=0."
        )
        raise ValueError(
            f"y holds {sorted(values)[:5]}; 1 for normal rows and -1 for anomalies was "
            "expected. Convert with np.where(is_anomaly, -1, 1)."
            f"{ask if numbered is False else ''}"
        )
    if 1 in needed and 1 not in values:
        raise ValueError("y holds no 1: a normal row was expected.")
    if -1 in needed and -1 not in values:
        raise ValueError(
            "y holds no -1: an anomaly was expected, to measure what is found."
        )
    return labels.astype(np.int64)


def normal_rows(y: Any, n_rows: int, stacklevel: int = 5) -> np.ndarray:
    """Positions of the rows to learn from.

    scikit-learn's detectors ignore `y` and its checks pass labels of any kind, so
    labels can mean something only where a -1 says that they are meant.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or None
        1 normal, -1 anomaly.
    n_rows : int
    stacklevel : int, default=5
        Of the warning: who called `fit`, from the `_fit` that it calls.

    Returns
    -------
    positions : ndarray of int

    Raises
    ------
    ValueError
        If the length is wrong, or there is a -1 beside labels other than 1.
    """
    if y is None:
        return np.arange(n_rows)
    labels = column_or_1d(y)
    if len(labels) != n_rows:
        raise ValueError(
            f"Found y with {len(labels)} labels for {n_rows} rows of X: one label a "
            "row was expected."
        )
    try:
        values = set(np.unique(labels).tolist())
    except TypeError as error:  # of kinds that have no order
        raise ValueError(
            f"y holds labels of several kinds, such as {list(labels[:5])}; 1 for "
            "normal rows and -1 for anomalies was expected."
        ) from error
    if -1 in values and values - {-1, 1}:
        raise ValueError(
            f"y holds {sorted(values)[:5]}; 1 for normal rows and -1 for anomalies was "
            "expected. Convert with np.where(is_anomaly, -1, 1)."
        )
    if not values <= {-1, 1}:
        warnings.warn(
            f"y is ignored: it holds {sorted(values)[:5]}, and only labels 1 (normal) "
            "and -1 (anomaly, left out of the fit) mean something here. Convert with "
            "np.where(is_anomaly, -1, 1).",
            UserWarning,
            stacklevel=stacklevel,
        )
        return np.arange(n_rows)
    return np.flatnonzero(labels == 1)

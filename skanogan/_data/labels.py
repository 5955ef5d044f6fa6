"""Labels of rows: 1 for normal, -1 for an anomaly."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import LabelWarning

__all__ = [
    "check_labels",
    "is_labelled",
    "labels_of_normal",
    "normal_rows",
    "warn_if_most_are_anomalies",
]


ALLOWED = "Labels must be 1 for normal rows and -1 for anomalies."
CONVERT = "Convert with np.where(is_anomaly, -1, 1)."


def check_labels(
    y: Any,
    X: Any = None,
    *,
    needed: tuple[int, ...] = (1, -1),
    numbered: bool | None = None,
) -> np.ndarray:
    """Return labels as an array of 1 and -1, or raise ValueError with the remedy.

    Labels in `needed` must occur. `numbered` says whether 0 and 1 are also understood,
    because some of scikit-learn's estimators encode the classes -1 and 1 so. It is None
    where the caller has no such parameter.
    """
    if y is None:
        raise ValueError(f"y is None. {ALLOWED}")
    labels = column_or_1d(y)
    if X is not None:
        check_consistent_length(X, labels)
    values = set(np.unique(labels).tolist())
    if numbered and values <= {0, 1}:
        labels, values = np.where(labels == 0, -1, 1), {2 * v - 1 for v in values}
    if not values <= {-1, 1}:
        ask = (
            " Inside an ensemble that encodes the classes as 0 and 1, set "
            "anomaly_label=0."
        )
        raise ValueError(
            f"y holds {sorted(values)[:5]}. {ALLOWED} {CONVERT}"
            f"{ask if numbered is False else ''}"
        )
    if 1 in needed and 1 not in values:
        raise ValueError("y holds no 1. At least one normal row is needed.")
    if -1 in needed and -1 not in values:
        raise ValueError(
            "y holds no -1. At least one anomaly is needed to measure what is found."
        )
    return labels.astype(np.int64)


def normal_rows(y: Any, n_rows: int) -> np.ndarray:
    """Find the positions of the rows to learn from, in rising order.

    scikit-learn's detectors ignore `y`, and its checks pass labels of any kind. Labels
    are therefore used only where there is a -1.
    """
    if y is None:
        return np.arange(n_rows)
    labels = column_or_1d(y)
    if len(labels) != n_rows:
        raise ValueError(
            f"Found y with {len(labels)} labels for {n_rows} rows of X. Pass one label "
            "per row."
        )
    try:
        values = set(np.unique(labels).tolist())
    except TypeError as error:  # labels of several kinds have no order
        raise ValueError(
            f"y holds labels of several kinds, such as {list(labels[:5])}. {ALLOWED}"
        ) from error
    if -1 in values and values - {-1, 1}:
        raise ValueError(f"y holds {sorted(values)[:5]}. {ALLOWED} {CONVERT}")
    if not values <= {-1, 1}:
        warn(
            f"y is ignored: it holds {sorted(values)[:5]}, so all rows are learned as "
            "normal. Only 1 (normal) and -1 (anomaly, left out of the fit) have a "
            f"meaning. {CONVERT}",
            LabelWarning,
        )
        return np.arange(n_rows)
    warn_if_most_are_anomalies(labels)
    return np.flatnonzero(labels == 1)


def warn_if_most_are_anomalies(labels: np.ndarray) -> None:
    """Warn if the labels to learn from are perhaps those of the other kind."""
    n_anomalies = int(np.sum(labels == -1))
    if len(labels) / 2 < n_anomalies < len(labels):
        warn(
            f"y marks {n_anomalies} of {len(labels)} rows as anomalies (-1). They are "
            f"left out, and {len(labels) - n_anomalies} rows are learned as normal (1)."
            " If the labels are swapped, pass -y.",
            LabelWarning,
        )


def is_labelled(y: Any) -> bool:
    """Whether `y` says of each row whether it is normal. `normal_rows` has read it."""
    return y is not None and set(np.unique(column_or_1d(y)).tolist()) <= {-1, 1}


def labels_of_normal(y: Any, n_rows: int) -> "np.ndarray | None":
    """Make labels that tell a detector that rows are normal, if `y` says so."""
    return np.ones(n_rows, np.int64) if is_labelled(y) else None

"""Metrics and scorers of anomaly detection.

They take labels 1 (normal) and -1 (anomaly), and scores as `decision_function` and
`score_samples` return them: lower is more abnormal. Other labels raise a ValueError.
Anomalies are the positive class. With scikit-learn's ``scoring="average_precision"``
and ``"f1"``, normal rows are. If all rows have the same label, as training rows do, the
result is nan and scikit-learn's `UndefinedMetricWarning` is issued.
"""

from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import (
    average_precision_score,
    make_scorer,
    roc_auc_score,
    roc_curve,
)
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skanogan._data.labels import check_labels
from skanogan._runtime.user_warnings import warn

__all__ = [
    "outlier_average_precision_score",
    "outlier_average_precision_scorer",
    "outlier_f1_score",
    "outlier_f1_scorer",
    "outlier_recall_score",
    "outlier_recall_scorer",
    "outlier_roc_auc_score",
    "outlier_roc_auc_scorer",
]


def outlier_average_precision_score(
    y_true: Any, y_score: Any, *, sample_weight: Any = None
) -> float:
    """Compute the average precision of the anomalies.

    Parameters
    ----------
    y_true, y_score : array-like of shape (n,)
        Labels, and values of `decision_function` or `score_samples`.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows; None gives all rows the same weight.

    Returns
    -------
    score : float
        From 0 to 1. Random scores have the share of the anomalies.

    Examples
    --------
    >>> from skanogan.metrics import outlier_average_precision_score
    >>> y_true, decision = [1, 1, 1, -1], [0.4, 0.3, -0.2, -0.1]
    >>> outlier_average_precision_score(y_true, decision)
    0.5
    """
    is_outlier, abnormality = _outliers(y_true, y_score)
    if _of_one_kind(is_outlier, sample_weight):
        return np.nan
    return float(
        average_precision_score(is_outlier, abnormality, sample_weight=sample_weight)
    )


def outlier_roc_auc_score(
    y_true: Any, y_score: Any, *, sample_weight: Any = None
) -> float:
    """Compute the area under the ROC curve of the anomalies.

    This is the probability that an anomaly has a lower score than a normal row; a tie
    counts one half. ``scoring="roc_auc"`` is the same, but one minus that for labels 0
    (normal) and 1 (anomaly).

    Parameters
    ----------
    y_true, y_score : array-like of shape (n,)
        Labels, and values of `decision_function` or `score_samples`.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows; None gives all rows the same weight.

    Returns
    -------
    score : float
        From 0 to 1. Random scores have 0.5.

    Examples
    --------
    >>> from skanogan.metrics import outlier_roc_auc_score
    >>> float(round(outlier_roc_auc_score([1, 1, 1, -1], [0.4, 0.3, -0.2, -0.1]), 3))
    0.667
    """
    is_outlier, abnormality = _outliers(y_true, y_score)
    if _of_one_kind(is_outlier, sample_weight):
        return np.nan
    return float(roc_auc_score(is_outlier, abnormality, sample_weight=sample_weight))


def outlier_recall_score(
    y_true: Any,
    y_score: Any,
    *,
    max_false_alarm_rate: float = 0.05,
    sample_weight: Any = None,
) -> float:
    """Compute the recall of the anomalies at a rate of false alarms.

    This is the highest true-positive rate of a threshold whose false-positive rate is
    at most `max_false_alarm_rate`. There is no interpolation, so this threshold exists.

    Parameters
    ----------
    y_true, y_score : array-like of shape (n,)
        Labels, and values of `decision_function` or `score_samples`.
    max_false_alarm_rate : float, default=0.05
        Share of the normal rows, from 0 to 1, that may fall below the threshold.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows; None gives all rows the same weight.

    Returns
    -------
    score : float
        From 0 to 1.

    Examples
    --------
    >>> from skanogan.metrics import outlier_recall_score
    >>> y_true, decision = [1, 1, 1, -1, -1], [0.4, 0.3, -0.2, -0.1, -0.5]
    >>> outlier_recall_score(y_true, decision)
    0.5
    >>> outlier_recall_score(y_true, decision, max_false_alarm_rate=0.4)
    1.0
    """
    if not 0 <= max_false_alarm_rate <= 1:
        raise ValueError(
            f"max_false_alarm_rate={max_false_alarm_rate!r} is not a share of the "
            "normal rows. Pass a number from 0 to 1."
        )
    is_outlier, abnormality = _outliers(y_true, y_score)
    if _of_one_kind(is_outlier, sample_weight):
        return np.nan
    false_alarms, found, _ = roc_curve(
        is_outlier, abnormality, sample_weight=sample_weight, drop_intermediate=False
    )
    return float(found[false_alarms <= max_false_alarm_rate].max())


def outlier_f1_score(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Compute the F1 score of the anomalies.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        Labels, and those that `predict` returns.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows; None gives all rows the same weight.

    Returns
    -------
    score : float
        From 0 to 1. It is 0 if no anomaly is found.

    Examples
    --------
    >>> from skanogan.metrics import outlier_f1_score
    >>> outlier_f1_score([1, 1, 1, -1, -1], [1, 1, -1, -1, 1])
    0.5
    """
    y_true, y_pred = check_labels(y_true, needed=()), column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    if not np.isin(y_pred, (-1, 1)).all():
        raise ValueError(
            f"y_pred holds {np.unique(y_pred)[:5].tolist()}. Only 1 and -1 are "
            "allowed. Pass the labels that predict returns."
        )
    if _of_one_kind(y_true == -1, sample_weight):
        return np.nan
    # f1_score takes ten times as long, and tuning a threshold calls this 1,000 times
    # per fold.
    anomalies, called, found = (
        np.average(rows, weights=sample_weight)
        for rows in (y_true == -1, y_pred == -1, (y_true == -1) & (y_pred == -1))
    )
    return float(2 * found / (anomalies + called)) if found else 0.0


def _outliers(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are anomalies, and how abnormal each row is."""
    y_true, y_score = check_labels(y_true, needed=()), column_or_1d(y_score)
    check_consistent_length(y_true, y_score)
    return y_true == -1, -y_score


def _of_one_kind(is_outlier: np.ndarray, weight: Any) -> bool:
    """Whether all rows with weight have the same label. Warn if they do."""
    if weight is not None:
        check_consistent_length(is_outlier, weight)
        is_outlier = is_outlier[np.asarray(weight) > 0]
    if is_outlier.any() and not is_outlier.all():
        return False
    warn(
        f"y_true holds no {1 if is_outlier.any() else -1}, so the result is nan. Pass "
        "normal rows and anomalies.",
        UndefinedMetricWarning,
    )
    return True


_decision_scorer = partial(make_scorer, response_method="decision_function")

outlier_average_precision_scorer = _decision_scorer(outlier_average_precision_score)
"""`outlier_average_precision_score` as a scorer."""

outlier_roc_auc_scorer = _decision_scorer(outlier_roc_auc_score)
"""`outlier_roc_auc_score` as a scorer."""

outlier_recall_scorer = _decision_scorer(outlier_recall_score)
"""`outlier_recall_score` at 5 % false alarms as a scorer."""

outlier_f1_scorer = make_scorer(outlier_f1_score)
"""`outlier_f1_score` as a scorer."""

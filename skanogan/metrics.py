"""How well anomalies are found: functions, and scorers with the right sign.

Everything takes what scikit-learn's detectors give: labels 1 (normal) and -1 (anomaly),
and scores that are *lower* for what is more abnormal, as `decision_function` and
`score_samples` are. Anomalies are the positive class throughout. scikit-learn's own
``scoring="average_precision"`` and ``"f1"`` measure how well the normal rows are found.

Where there are rows of one kind only, such as rows that were trained on, the result is
nan, with scikit-learn's `UndefinedMetricWarning`.
"""

import warnings
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

from skanogan._labels import check_labels

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
    """Average precision of the anomalies.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        1 normal, -1 anomaly.
    y_score : array-like of shape (n,)
        Of `decision_function` or `score_samples`: lower is more abnormal.
    sample_weight : array-like of shape (n,), default=None
        Of the rows; None for equal ones.

    Returns
    -------
    score : float
        From 0 to 1. Scores that say nothing have the share of the anomalies.

    Raises
    ------
    ValueError
        For other labels; the message says how to convert.

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
    """Probability that an anomaly's score is below a normal row's; a tie is a half.

    ``scoring="roc_auc"`` is the same for labels 1 and -1, and silently one minus it for
    labels 0 (normal) and 1 (anomaly), which are an error here.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        1 normal, -1 anomaly.
    y_score : array-like of shape (n,)
        Of `decision_function` or `score_samples`: lower is more abnormal.
    sample_weight : array-like of shape (n,), default=None
        Of the rows; None for equal ones.

    Returns
    -------
    score : float
        From 0 to 1; .5 for scores that say nothing.

    Raises
    ------
    ValueError
        For other labels; the message says how to convert.

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
    """Share of the anomalies found by the best threshold of few enough false alarms.

    The true-positive rate at a false-positive rate; nothing is interpolated, so a
    threshold with these two figures exists.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        1 normal, -1 anomaly.
    y_score : array-like of shape (n,)
        Of `decision_function` or `score_samples`: lower is more abnormal.
    max_false_alarm_rate : float, default=0.05
        Share of the normal rows, from 0 to 1, that may be called anomalies. For another
        one as a scorer, ``make_scorer(outlier_recall_score,
        response_method="decision_function", max_false_alarm_rate=0.01)``.
    sample_weight : array-like of shape (n,), default=None
        Of the rows; None for equal ones.

    Returns
    -------
    score : float
        From 0 to 1.

    Raises
    ------
    ValueError
        For other labels, and for rates outside 0 to 1.

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
            f"max_false_alarm_rate={max_false_alarm_rate!r}; a share of the normal "
            "rows, from 0 to 1, was expected."
        )
    is_outlier, abnormality = _outliers(y_true, y_score)
    if _of_one_kind(is_outlier, sample_weight):
        return np.nan
    false_alarms, found, _ = roc_curve(
        is_outlier, abnormality, sample_weight=sample_weight, drop_intermediate=False
    )
    return float(found[false_alarms <= max_false_alarm_rate].max())


def outlier_f1_score(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """F1 of the anomalies: the harmonic mean of their precision and recall.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        1 normal, -1 anomaly.
    y_pred : array-like of shape (n,)
        Of `predict`: 1 or -1.
    sample_weight : array-like of shape (n,), default=None
        Of the rows; None for equal ones.

    Returns
    -------
    score : float
        From 0 to 1; 0 where none is found.

    Raises
    ------
    ValueError
        For other labels; the message says how to convert.

    Examples
    --------
    >>> from skanogan.metrics import outlier_f1_score
    >>> outlier_f1_score([1, 1, 1, -1, -1], [1, 1, -1, -1, 1])
    0.5
    """
    y_true = check_labels(y_true, needed=())
    y_pred = column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    if not np.isin(y_pred, (-1, 1)).all():
        raise ValueError(
            f"y_pred holds {np.unique(y_pred)[:5].tolist()}; what predict gives, 1 or "
            "-1, was expected."
        )
    if _of_one_kind(y_true == -1, sample_weight):
        return np.nan
    # Not f1_score, which takes ten times as long: tuning a threshold asks a thousand
    # times a fold.
    weight = np.ones(len(y_true)) if sample_weight is None else sample_weight
    check_consistent_length(y_true, weight)
    anomalies, called, found = (
        np.average(rows, weights=weight)
        for rows in (y_true == -1, y_pred == -1, (y_true == -1) & (y_pred == -1))
    )
    return float(2 * found / (anomalies + called)) if found else 0.0


def _outliers(y_true: Any, y_score: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are anomalies, and how abnormal each is."""
    y_true, y_score = check_labels(y_true, needed=()), column_or_1d(y_score)
    check_consistent_length(y_true, y_score)
    return y_true == -1, -y_score


def _of_one_kind(is_outlier: np.ndarray, weight: Any = None) -> bool:
    """Whether there is nothing to tell apart, with a warning if so."""
    if weight is not None:
        check_consistent_length(is_outlier, weight)
        is_outlier = is_outlier[np.asarray(weight) > 0]
    one_kind = bool(is_outlier.all() or not is_outlier.any())
    if one_kind:
        warnings.warn(
            f"y_true holds no {1 if is_outlier.any() else -1}: normal rows and "
            "anomalies are needed to measure how they are told apart, and the result "
            "is nan.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
    return one_kind


outlier_average_precision_scorer = make_scorer(
    outlier_average_precision_score, response_method="decision_function"
)
"""`outlier_average_precision_score` for ``scoring=``."""

outlier_roc_auc_scorer = make_scorer(
    outlier_roc_auc_score, response_method="decision_function"
)
"""`outlier_roc_auc_score` for ``scoring=``."""

outlier_recall_scorer = make_scorer(
    outlier_recall_score, response_method="decision_function"
)
"""`outlier_recall_score` at 5 % of false alarms, for ``scoring=``."""

outlier_f1_scorer = make_scorer(outlier_f1_score)
"""`outlier_f1_score` for ``scoring=``."""

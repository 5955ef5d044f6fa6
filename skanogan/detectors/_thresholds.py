"""Thresholds: how they are calibrated, and what `predict` makes of them."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import OutlierMixin

from skanogan._runtime.documentation import DocumentedMixin
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import CalibrationWarning

__all__ = [
    "FALSE_ALARM_RATE",
    "ThresholdMixin",
    "score_at_false_alarm_rate",
    "threshold",
    "warn_of_few_scores",
]

FALSE_ALARM_RATE = 0.05
"""The rate on new normal rows and images that ``contamination="auto"`` aims at."""


FEWEST_SCORES = math.ceil(1 / FALSE_ALARM_RATE) - 1
"""With fewer scores, the rate lies outside of the scores that were seen."""


class ThresholdMixin(DocumentedMixin, OutlierMixin):
    """Labels from `score_samples` and `offset_`; `fit_predict` passes `y` to `fit`."""

    offset_: float

    @abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Score rows; higher is more normal."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Subtract `offset_` from `score_samples`. Negative values are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows as `score_samples` takes them.

        Returns
        -------
        decisions : ndarray of shape (n_samples,), float64
            Negative values are outliers.
        """
        return self._decisions(self.score_samples(X))

    def predict(self, X: Any) -> np.ndarray:
        """Label rows 1 (normal) or -1 (anomaly).

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows as `score_samples` takes them.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            1 or -1.
        """
        return self._labels(self.decision_function(X))

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit the detector and label the same rows.

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

    def _decisions(self, scores: np.ndarray) -> np.ndarray:
        return scores - self.offset_

    def _labels(self, decisions: np.ndarray) -> np.ndarray:
        return np.where(decisions < 0, -1, 1)


def threshold(scores: np.ndarray, contamination: "float | str") -> float:
    """Compute the threshold that the parameter `contamination` asks for.

    `scores` are those of held-out rows for "auto", and of all normal rows for a float.
    """
    if contamination == "auto":
        return score_at_false_alarm_rate(scores, FALSE_ALARM_RATE)
    return float(np.percentile(scores, 100.0 * float(contamination)))


def score_at_false_alarm_rate(scores: np.ndarray, rate: float) -> float:
    """Compute the score that a new normal row falls below with probability `rate`.

    With n held-out scores, a new row falls below the k-th smallest with probability k /
    (n + 1), whatever the distribution (Weibull's plotting position). Between two scores
    the threshold is interpolated. Where ``rate (n + 1) < 1``, no score seen is low
    enough. The threshold is then the lower prediction bound of a normal distribution of
    the logarithms of the anomaly scores, which are closer to log-normal than to normal,
    or of the scores themselves if some are not negative.
    """
    n = len(scores)
    if rate * (n + 1) >= 1:
        return float(np.quantile(scores, rate, method="weibull"))
    if n == 1:
        return float(scores[0])
    logarithmic = bool((scores < 0).all())
    values = np.log(-scores) if logarithmic else -scores
    spread = values.std(ddof=1) * math.sqrt(1 + 1 / n)
    bound = float(values.mean() + stats.t.ppf(1 - rate, n - 1) * spread)
    return -math.exp(min(bound, 700.0)) if logarithmic else -bound


def warn_of_few_scores(n_scores: int, what: str) -> None:
    """Warn if the threshold of "auto" rests on few held-out rows or images."""
    if n_scores < FEWEST_SCORES:
        warn(
            f"The threshold rests on {n_scores} held-out normal {what}, and "
            f"{FEWEST_SCORES} are needed to see a rate of {FALSE_ALARM_RATE:.0%}. "
            "predict may call far more or fewer new normal ones anomalies. Fit at "
            f"least {4 * FEWEST_SCORES} normal {what}, set contamination to a float, "
            "or set offset_ yourself.",
            CalibrationWarning,
        )

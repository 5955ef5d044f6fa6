"""Thresholds: how they are calibrated, and what `predict` makes of them."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import OutlierMixin

from skanogan._data.array_api import check_library, in_numpy, like
from skanogan._runtime.documentation import DocumentedMixin
from skanogan._runtime.user_warnings import warn
from skanogan.detectors._one_fit import of_one_fit
from skanogan.exceptions import CalibrationWarning

__all__ = [
    "FALSE_ALARM_RATE",
    "FEWEST_SCORES",
    "ThresholdMixin",
    "score_at_false_alarm_rate",
    "threshold",
    "warn_of_few_rows",
]

FALSE_ALARM_RATE = 0.05
"""The rate on new normal rows and images that ``contamination="auto"`` aims at."""

RESOLUTION = 1e-9
"""Scores that differ by a smaller share of their spread are taken to be equal. Rounding
on another machine changes scores in float64 by about 1e-13."""

FEWEST_SCORES = math.ceil(1 / FALSE_ALARM_RATE) - 1
"""With fewer scores, the rate lies outside of the scores that were seen."""


class ThresholdMixin(DocumentedMixin, OutlierMixin):
    """Labels from `score_samples` and `offset_`; `fit_predict` passes `y` to `fit`."""

    offset_: float

    @abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Score rows; higher is more normal."""

    @of_one_fit
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
        check_library(self, X, "decision_function")
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
        check_library(self, X, "predict")
        return self._labels(self.decision_function(X))

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit the detector and label the same rows.

        Parameters
        ----------
        X, y : array-like
            As in `fit`.
        **fit_params : dict
            Other arguments of `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            1 or -1.
        """
        return self.fit(X, y, **fit_params).predict(X)

    def _decisions(self, scores: np.ndarray) -> np.ndarray:
        return scores - self.offset_

    def _labels(self, decisions: np.ndarray) -> np.ndarray:
        return like(decisions, np.where(in_numpy(decisions) < 0, -1, 1))


def threshold(scores: np.ndarray, contamination: "float | str") -> float:
    """Compute the threshold that the parameter `contamination` asks for.

    `scores` are those of held-out rows for "auto", and of all normal rows for a float.
    """
    if contamination == "auto":
        return _below_ties(score_at_false_alarm_rate(scores, FALSE_ALARM_RATE), scores)
    return _below_ties(float(np.percentile(scores, 100 * float(contamination))), scores)


def _below_ties(offset: float, scores: np.ndarray) -> float:
    """Lower a threshold that equals a score to a bit below it.

    A new row that is equal to this row then has the same label on every machine.
    """
    least = RESOLUTION * max(abs(offset), float(np.std(scores)))
    equal = scores[np.abs(scores - offset) <= least]
    return float(equal.min()) - least if len(equal) else offset


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


def warn_of_few_rows(
    contamination: "float | str", n_scores: int, n_normal: int, n_needed: int, what: str
) -> None:
    """Warn if the threshold rests on few rows or images.

    `n_scores` is the number of those held out for "auto", `n_normal` that of all, and
    `n_needed` that of which enough would be held out.
    """
    message = None
    if contamination != "auto":
        rate = float(contamination)
        if n_normal * rate < 1:
            message = (
                f"contamination={rate:g} of {n_normal} normal {what} is less than one, "
                "so the threshold lies at the lowest score. Fit at least "
                f"{math.ceil(1 / rate)} normal {what}, or set offset_ yourself."
            )
    elif n_scores < FEWEST_SCORES:
        message = (
            f"The threshold rests on {n_scores} held-out normal {what} (of "
            f"{n_normal}). {FEWEST_SCORES} are needed to see a rate of "
            f"{FALSE_ALARM_RATE:.0%}. Far more or fewer new normal ones may be called "
            f"anomalies. Fit at least {n_needed} normal {what}, set contamination to a "
            "float, or set offset_ yourself."
        )
    if message is not None:
        warn(message, CalibrationWarning)

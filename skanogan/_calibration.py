"""From scores of held-out normal rows to a threshold with a stated false-alarm rate."""

import math

import numpy as np
from scipy import stats

__all__ = [
    "FALSE_ALARM_RATE",
    "held_out_size",
    "score_at_false_alarm_rate",
    "threshold",
]

FALSE_ALARM_RATE = 0.05
"""What ``contamination="auto"`` aims at on new normal rows and images."""

ENOUGH = 10_000
"""Held-out rows, beyond which the threshold gains less than training loses."""


def held_out_size(n_rows: int, fraction: "float | str") -> int:
    """How many of the normal rows the threshold is calibrated on, not trained on.

    Parameters
    ----------
    n_rows : int
        At least 2.
    fraction : float or "auto"
        "auto" is a tenth, or up to a fifth where a tenth is fewer than 20 rows: below
        19 a rate of 5 % lies outside the scores seen. 10,000 at most, which put a
        rate of 5 % within .2 %.

    Returns
    -------
    size : int
        At least 1; at least one row is left to train on.
    """
    if fraction == "auto":
        size = max(math.ceil(0.1 * n_rows), min(20, n_rows // 5))
        size = min(size, ENOUGH)
    else:
        size = round(float(fraction) * n_rows)
    return min(max(size, 1), n_rows - 1)


def threshold(scores: np.ndarray, contamination: "float | str") -> float:
    """The threshold that a parameter `contamination` asks for.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        `score_samples` of normal rows, held out for "auto", trained on otherwise.
    contamination : float or "auto"
        Share of these scores to fall below; "auto" is `FALSE_ALARM_RATE` of new ones.

    Returns
    -------
    threshold : float
    """
    if contamination == "auto":
        return score_at_false_alarm_rate(scores, FALSE_ALARM_RATE)
    return float(np.percentile(scores, 100.0 * float(contamination)))


def score_at_false_alarm_rate(scores: np.ndarray, rate: float) -> float:
    """The score that a new normal row falls below with probability `rate`.

    With n held-out rows, a new one falls below the k-th smallest with probability
    k / (n + 1), whatever the distribution (Weibull's plotting position); between two
    of them the threshold is interpolated. Where ``rate (n + 1) < 1`` no score seen is
    low enough, and the threshold is the lower prediction bound of a normal
    distribution of the logarithms, which anomaly scores follow better than one of
    their own (of the scores themselves where some are not negative).

    Parameters
    ----------
    scores : ndarray of shape (n,)
        `score_samples` of held-out normal rows, higher = more normal.
    rate : float
        Between 0 and 1.

    Returns
    -------
    threshold : float
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

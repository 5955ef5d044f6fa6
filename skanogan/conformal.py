"""Thresholds with a guarantee: conformal p-values around any detector."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from skanogan._compat import (
    HasMethods,
    Interval,
    RealNotInt,
    _fit_context,
    _num_samples,
    _safe_indexing,
)
from skanogan._labels import LabelsHeededMixin, normal_rows
from skanogan._wrapping import AroundDetector, scores_of

__all__ = ["ConformalDetector"]


class ConformalDetector(AroundDetector, LabelsHeededMixin, BaseEstimator):
    """A detector whose false alarms are held to a rate, whatever the detector.

    A part of the normal rows is kept from the detector. A new row's p-value is the
    share of these, and itself, that are at least as abnormal; at most `alpha` of new
    normal rows have one of `alpha` or less, if they come from where the kept rows came
    from. The rate is that over fits and rows: after one fit on few rows it varies
    around `alpha` as a beta distribution does.

    Parameters
    ----------
    estimator : object
        A detector with `score_samples` or `decision_function`, lower for what is more
        abnormal. It is cloned. One that is fitted already goes in as
        ``FrozenEstimator(detector)``; all rows given to `fit` then calibrate, and must
        not be those that it learned from.
    alpha : float, default=0.05
        Share of new normal rows that may be called anomalies, between 0 and 1.
    calibration_size : float or int, default=0.25
        Share or number of the normal rows that calibrate. One over `alpha`, less one,
        are needed.
    random_state : int, RandomState instance or None, default=None
        Of the draw of these rows.

    Attributes
    ----------
    estimator_ : object
        The fitted detector.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Scores of the kept rows, in rising order.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    n_features_in_ : int
        Only if the detector has it.
    feature_names_in_ : ndarray of str
        Only if the detector has it.

    Notes
    -----
    With n calibration scores, p(x) = (1 + #{i : s_i <= s(x)}) / (n + 1) ([1]_ and, for
    detectors, [2]_ eq. 2). Rows that are equal to a kept one count against it, so that
    ties make the test stricter. p <= alpha is the same as a score below the k-th
    smallest of the kept ones, k = floor(alpha (n + 1)): this is `offset_`.

    The p-values of a batch share their calibration rows. They are positively dependent
    in the sense in which the procedure of Benjamini and Hochberg still holds its rate
    [2]_. It selects m of n rows only if their p-values are at most m / n times the
    rate, and none is below 1 / (n_calibration + 1): few anomalies in a large batch ask
    for many rows to calibrate on.

    References
    ----------
    .. [1] R. Laxhammar, G. Falkman, "Conformal prediction for distribution-independent
       anomaly detection in streaming vessel data", StreamKDD 2010.
    .. [2] S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia, "Testing for outliers with
       conformal p-values", Annals of Statistics 51, 2023. :doi:`10.1214/22-AOS2244`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from skanogan.conformal import ConformalDetector
    >>> rng = np.random.RandomState(0)
    >>> X, new = rng.normal(size=(800, 2)), rng.normal(size=(2000, 2))
    >>> forest = IsolationForest(random_state=0)
    >>> detector = ConformalDetector(forest, alpha=0.05, random_state=0).fit(X)
    >>> float(np.mean(detector.predict(new) == -1))
    0.0415
    >>> selected = detector.select_outliers(np.concatenate([new[:300], new[:50] + 9]))
    >>> int(selected[:300].sum()), int(selected[300:].sum())
    (7, 50)
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's)
        "estimator": [
            HasMethods(["fit", "score_samples"]),
            HasMethods(["fit", "decision_function"]),
        ],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "calibration_size": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        alpha: float = 0.05,
        calibration_size: "float | int" = 0.25,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.calibration_size = calibration_size
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> "ConformalDetector":
        """Fit the detector on a part of the normal rows, and calibrate on the others.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as the detector takes them.
        y : array-like of shape (n,), default=None
            1 normal, -1 anomaly. Labels without a -1 are ignored, as by all detectors.

        Returns
        -------
        self : ConformalDetector
            Fitted.

        Raises
        ------
        ValueError
            For a -1 beside labels other than 1, and for too few rows to calibrate at
            `alpha`.
        """
        (X,) = indexable(X)
        # Only of what is an array: a list of images of different sizes is none.
        if hasattr(X, "dtype") and np.iscomplexobj(X):
            raise ValueError("Complex data not supported: got complex X.")
        normal = normal_rows(y, _num_samples(X), stacklevel=4)
        if isinstance(self.estimator, FrozenEstimator):
            kept = normal
        else:
            kept = self._kept(normal)
        k = int(self.alpha * (len(kept) + 1) * (1 + 1e-12))
        if k < 1:
            needed = int(np.ceil(1 / self.alpha - 1e-9)) - 1
            raise ValueError(
                f"alpha={self.alpha} with {len(kept)} rows to calibrate on, of "
                f"{len(normal)} normal ones: {needed} are needed. Raise alpha, "
                "calibration_size, or the number of rows."
            )
        estimator = clone(self.estimator)
        if len(kept) < len(normal):
            estimator.fit(_safe_indexing(X, np.setdiff1d(normal, kept)), None)
        scores = np.sort(scores_of(estimator, _safe_indexing(X, kept)))
        self.estimator_ = estimator
        self.calibration_scores_ = scores
        self.offset_ = float(scores[k - 1])
        return self

    def _kept(self, normal: np.ndarray) -> np.ndarray:
        """The normal rows to calibrate on."""
        try:
            _, kept = train_test_split(
                normal, test_size=self.calibration_size, random_state=self.random_state
            )
        except ValueError as error:
            raise ValueError(
                f"calibration_size={self.calibration_size} of n_samples={len(normal)} "
                "normal rows leaves none to learn from, or none to calibrate on. "
                "Change it, or give more rows."
            ) from error
        return np.asarray(kept)

    def p_values(self, X: Any) -> np.ndarray:
        """Conformal p-values: small for what is abnormal.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`.

        Returns
        -------
        p_values : ndarray of shape (n,)
            From 1 / (n_calibration + 1) to 1; for a new normal row, p or less has at
            most the probability p.
        """
        scores = self.score_samples(X)
        as_abnormal = np.searchsorted(self.calibration_scores_, scores, side="right")
        return (1 + as_abnormal) / (len(self.calibration_scores_) + 1)

    def select_outliers(self, X: Any, false_discovery_rate: float = 0.1) -> np.ndarray:
        """Rows of a batch that are anomalies, of which few are false.

        Benjamini and Hochberg's procedure on the p-values: the expected share of normal
        rows among those selected is at most `false_discovery_rate`. Other than
        `predict`, it depends on the whole batch: the more anomalies, the lower the bar.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            The batch.
        false_discovery_rate : float, default=0.1
            Between 0 and 1.

        Returns
        -------
        selected : ndarray of bool of shape (n,)
            True for the rows called anomalies.
        """
        if not 0 < false_discovery_rate < 1:
            raise ValueError(
                f"false_discovery_rate={false_discovery_rate!r}; a number between 0 "
                "and 1 was expected."
            )
        p_values = self.p_values(X)
        return np.asarray(false_discovery_control(p_values) <= false_discovery_rate)

    def score_samples(self, X: Any) -> np.ndarray:
        """The detector's scores.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`.

        Returns
        -------
        scores : ndarray of shape (n,)
            Lower is more abnormal.
        """
        check_is_fitted(self)
        return scores_of(self.estimator_, X)

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores less the threshold.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`.

        Returns
        -------
        decision : ndarray of shape (n,)
            Negative where the p-value is at most `alpha`.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Labels: 1 normal, -1 where the p-value is at most `alpha`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n,)
            1 or -1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

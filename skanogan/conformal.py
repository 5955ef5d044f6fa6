"""Conformal p-values, and thresholds with a bound on the false alarm rate."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, indexable
from sklearn.utils.validation import check_is_fitted

from skanogan._data.kinds import refuse_kinds, without_gradients
from skanogan._data.labels import labels_of_normal, normal_rows
from skanogan._data.split import hold_out
from skanogan._persistence.registry import register_detector
from skanogan._persistence.saving import SaveMixin
from skanogan._runtime.compatibility import (
    Interval,
    RealNotInt,
    _fit_context,
    _num_samples,
    _safe_indexing,
)
from skanogan.detectors._one_fit import fitted_in_one_step, of_one_fit
from skanogan.detectors._thresholds import ThresholdMixin
from skanogan.detectors._wrapping import ANY_DETECTOR, AroundDetector, scores_of

__all__ = ["ConformalDetector"]


@register_detector
class ConformalDetector(AroundDetector, ThresholdMixin, SaveMixin, BaseEstimator):
    """A detector with a bound on its false alarm rate, around any detector.

    Some normal rows are held out of the detector's fit. The p-value of a new row is the
    share of rows, among the held-out ones and itself, that are at least as anomalous.
    For a normal row from the same distribution it is `alpha` or less with a probability
    of at most `alpha`. This probability is a mean over fits and rows. The rate of one
    fit has a beta distribution, which is wide if few rows are held out.

    Parameters
    ----------
    estimator : object
        A detector with `score_samples` or `decision_function`, in which lower is more
        anomalous. It is cloned. A detector that is fitted already is passed as
        ``FrozenEstimator(detector)``. All normal rows given to `fit` then calibrate,
        and the detector must not have seen them.
    alpha : float, default=0.05
        Largest share of new normal rows that are labelled -1, between 0 and 1.
    calibration_size : float or int, default=0.25
        Share or number of the normal rows that are held out. At least
        ``1 / alpha - 1`` rows are needed.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of held-out rows.

    Attributes
    ----------
    estimator_ : object
        The fitted detector.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Scores of the held-out rows, in ascending order.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    n_features_in_ : int
        Only if the detector has it.
    feature_names_in_ : ndarray of str
        Only if the detector has it.

    Notes
    -----
    With n calibration scores, p(x) = (1 + #{i : s_i <= s(x)}) / (n + 1) ([1]_, and [2]_
    eq. 2 for detectors). Equal scores are counted, which can only increase p. p <=
    alpha holds if the score is below the k-th smallest calibration score, where k =
    floor(alpha (n + 1)). This score is `offset_`.

    The p-values of a batch use the same calibration rows, so they are dependent. The
    dependence is positive (PRDS), and the Benjamini-Hochberg procedure then still
    controls its rate [2]_. The procedure selects m of n rows only if their p-values are
    at most m / n times the rate. No p-value is below 1 / (n_calibration + 1), so few
    anomalies in a large batch need many calibration rows.

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

    calibration_scores_: NDArray[np.float64]

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's)
        "estimator": [*ANY_DETECTOR],
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
        """Fit the detector on some normal rows, and calibrate on the others.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as the detector takes them.
        y : array-like of shape (n,), default=None
            1 for normal rows, -1 for anomalies, which are left out of the fit.

        Returns
        -------
        self : ConformalDetector
            The fitted detector. If `fit` fails, the detector is as it was before.

        Raises
        ------
        ValueError
            If there is a -1 beside labels other than 1, or if there are too few rows to
            calibrate at `alpha`.
        """
        with fitted_in_one_step(self) as working:
            working._fit(X, y)
        return self

    def _fit(self, X: Any, y: Any) -> None:
        refuse_kinds(X, takes_files=True)
        (X,) = indexable(without_gradients(X))
        # A list of images of different sizes has no dtype and cannot become an array.
        if hasattr(X, "dtype") and np.iscomplexobj(X):
            raise ValueError("Complex data not supported: got complex X.")
        normal = normal_rows(y, _num_samples(X))
        learned, held_out = self._split(normal)
        # The share of rows may fall below a whole number by rounding.
        k = int(self.alpha * (len(held_out) + 1) * (1 + 1e-12))
        if k < 1:
            needed = int(np.ceil(1 / self.alpha - 1e-9)) - 1
            raise ValueError(
                f"alpha={self.alpha} was given with {len(held_out)} of {len(normal)} "
                f"normal rows to calibrate on. At least {needed} are needed. Raise "
                "alpha, calibration_size, or the number of rows."
            )
        estimator = clone(self.estimator)
        if len(learned):
            known = labels_of_normal(y, len(learned))
            estimator.fit(_safe_indexing(X, learned), known)
        scores = np.sort(scores_of(estimator, _safe_indexing(X, held_out)))
        self.estimator_ = estimator
        self.calibration_scores_ = scores
        self.offset_ = float(scores[k - 1])

    def _split(self, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw the rows to learn from and the rows to calibrate on."""
        if isinstance(self.estimator, FrozenEstimator):
            return normal[:0], normal
        n, size = len(normal), self.calibration_size
        if not isinstance(size, Integral):
            size = math.ceil(size * n)
        if not 0 < size < n:
            raise ValueError(
                f"calibration_size={self.calibration_size} of n_samples={n} normal "
                f"rows are {size} rows to calibrate on. At least one row must be left "
                "to learn from, and one to calibrate on. Change calibration_size, or "
                "add rows."
            )
        rng = check_random_state(self.random_state)
        learned, held_out = hold_out(normal, int(size), rng)
        return np.sort(learned), held_out

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the scores of the detector.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as in `fit`.

        Returns
        -------
        scores : ndarray of shape (n,)
            Lower is more anomalous. The p-value is at most `alpha` where the score is
            below `offset_`.
        """
        check_is_fitted(self)
        return scores_of(self.estimator_, X)

    @of_one_fit
    def p_values(self, X: Any) -> np.ndarray:
        """Compute conformal p-values. They are small for anomalies.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as in `fit`.

        Returns
        -------
        p_values : ndarray of shape (n,)
            From 1 / (n_calibration + 1) to 1. A new normal row has a p-value of p or
            less with a probability of at most p.
        """
        scores = self.score_samples(X)
        as_anomalous = np.searchsorted(self.calibration_scores_, scores, side="right")
        return (1 + as_anomalous) / (len(self.calibration_scores_) + 1)

    def select_outliers(self, X: Any, false_discovery_rate: float = 0.1) -> np.ndarray:
        """Select the outliers of a batch at a false discovery rate.

        The Benjamini-Hochberg procedure is applied to the p-values. The expected share
        of normal rows among the selected rows is at most `false_discovery_rate`. Unlike
        `predict`, the result depends on the whole batch: with more anomalies in it,
        rows of a larger p-value are selected.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            The batch.
        false_discovery_rate : float, default=0.1
            Between 0 and 1.

        Returns
        -------
        selected : ndarray of bool of shape (n,)
            True for the selected rows.
        """
        if not 0 < false_discovery_rate < 1:
            raise ValueError(
                f"false_discovery_rate={false_discovery_rate!r} is not allowed. Give a "
                "number between 0 and 1."
            )
        p_values = self.p_values(X)
        return np.asarray(false_discovery_control(p_values) <= false_discovery_rate)

    def _check_attributes(self) -> None:
        scores = self.calibration_scores_
        if (
            scores.ndim != 1
            or not np.isfinite(scores).all()
            or (np.diff(scores) < 0).any()
            or self.offset_ not in scores
        ):
            raise ValueError(
                "calibration_scores_ must be numbers in ascending order, and offset_ "
                "one of them."
            )

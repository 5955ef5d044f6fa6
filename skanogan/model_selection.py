"""Cross-validation and thresholds for detectors that learn from normal rows alone."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.utils import Tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skanogan._compat import HasMethods, Interval, _fit_context, _safe_indexing
from skanogan._labels import check_labels
from skanogan._wrapping import AroundDetector

__all__ = ["NoveltyClassifier", "NoveltyKFold", "NoveltyShuffleSplit"]

Split = tuple[np.ndarray, np.ndarray]


class NoveltyKFold(StratifiedKFold):
    """K folds of normal rows and anomalies, of which only normal rows are trained on.

    Every row is tested once, by a detector that was fitted on the normal rows of the
    other folds. With a plain splitter the training folds hold anomalies too, and
    detectors are ranked by how they bear that.

    Parameters
    ----------
    n_splits : int, default=5
        Folds, at most as many as there are anomalies: each has one at least.
    shuffle : bool, default=False
        Whether rows go to folds at random, not in their order.
    random_state : int, RandomState instance or None, default=None
        Of the shuffling.

    See Also
    --------
    NoveltyShuffleSplit : Any number of random splits.

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan.model_selection import NoveltyKFold
    >>> X, y = np.zeros((8, 1)), np.array([1, 1, 1, 1, 1, 1, -1, -1])
    >>> for train, test in NoveltyKFold(n_splits=2).split(X, y):
    ...     print(train, test)
    [3 4 5] [0 1 2 6]
    [0 1 2] [3 4 5 7]
    """

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[Split]:
        """Positions to train on and to test on, fold by fold.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Only its length matters.
        y : array-like of shape (n,)
            1 normal, -1 anomaly.
        groups : object, default=None
            Ignored.

        Yields
        ------
        train : ndarray of int
            Normal rows of the other folds.
        test : ndarray of int
            All rows of this one.

        Raises
        ------
        ValueError
            For other labels, and for fewer anomalies or normal rows than folds.
        """
        labels = check_labels(y, X)
        for kind, name in ((1, "normal rows"), (-1, "anomalies")):
            n = int((labels == kind).sum())
            if n < self.n_splits:
                raise ValueError(
                    f"n_splits={self.n_splits} with {n} {name}: each fold needs one. "
                    f"Lower n_splits{', or take NoveltyShuffleSplit' if n > 1 else ''}."
                )
        for train, test in super().split(np.zeros(len(labels)), labels):
            yield train[labels[train] == 1], test


class NoveltyShuffleSplit(StratifiedShuffleSplit):
    """Random splits of normal rows and anomalies, training on normal rows only.

    Each split draws a share of either kind to test on; it trains on normal rows among
    the others.

    Parameters
    ----------
    n_splits : int, default=10
        Splits, each drawn anew.
    test_size : float or int, default=None
        Share or number of rows to test on, of either kind in proportion; a tenth, or
        what `train_size` leaves.
    train_size : float or int, default=None
        Share or number of rows to draw the normal ones to train on from; what
        `test_size` leaves.
    random_state : int, RandomState instance or None, default=None
        Of the draws.

    See Also
    --------
    NoveltyKFold : Every row is tested once.

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan.model_selection import NoveltyShuffleSplit
    >>> X, y = np.zeros((20, 1)), np.repeat([1, -1], [16, 4])
    >>> splitter = NoveltyShuffleSplit(n_splits=3, test_size=0.5, random_state=0)
    >>> [(len(train), int(sum(y[test] == -1))) for train, test in splitter.split(X, y)]
    [(8, 2), (8, 2), (8, 2)]
    """

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: "float | int | None" = None,
        train_size: "float | int | None" = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            n_splits,
            test_size=test_size,
            train_size=train_size,
            random_state=random_state,
        )

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[Split]:
        """Positions to train on and to test on, split by split.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Only its length matters.
        y : array-like of shape (n,)
            1 normal, -1 anomaly.
        groups : object, default=None
            Ignored.

        Yields
        ------
        train : ndarray of int
            Normal rows.
        test : ndarray of int

        Raises
        ------
        ValueError
            For other labels, and where a split would be without an anomaly to test on
            or a normal row to train on.
        """
        labels = check_labels(y, X)
        for train, test in super().split(np.zeros(len(labels)), labels):
            tested = set(labels[test].tolist())
            train = train[labels[train] == 1]
            if tested != {-1, 1} or not len(train):
                raise ValueError(
                    f"test_size={self.test_size}, train_size={self.train_size} with "
                    f"{int((labels == 1).sum())} normal rows and "
                    f"{int((labels == -1).sum())} anomalies leaves a split without "
                    "normal rows to train on, or without both kinds to test on. Raise "
                    "the one that is too small."
                )
            yield train, test


def _has_rows(value: Any, n_rows: int) -> bool:
    """Whether a fit parameter has a value for each row."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return isinstance(value, (list, tuple)) and len(value) == n_rows
    return len(shape) > 0 and shape[0] == n_rows


def _detector_has(name: str) -> Any:
    def check(self: "NoveltyClassifier") -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class NoveltyClassifier(AroundDetector, ClassifierMixin, BaseEstimator):
    """A detector as a binary classifier of normal rows (1) and anomalies (-1).

    scikit-learn's tools for thresholds and probabilities ask for a classifier:
    `TunedThresholdClassifierCV`, `FixedThresholdClassifier`, `CalibratedClassifierCV`,
    `RocCurveDisplay.from_estimator`. With this around it, they take any detector. It
    learns from the normal rows alone; the anomalies are there for whatever stands
    around it.

    Parameters
    ----------
    estimator : object
        A detector, such as `AnoGANDetector` or scikit-learn's `IsolationForest`, or a
        pipeline that ends with one. It is cloned. One that is fitted already goes in
        as ``FrozenEstimator(detector)`` and is not fitted again.
    anomaly_label : {-1, 0}, default=-1
        What anomalies are called. 0 inside of what numbers the classes, as ensembles
        of scikit-learn do; -1 is understood then as well.

    Attributes
    ----------
    estimator_ : object
        The fitted detector.
    classes_ : ndarray of shape (2,)
        -1, or 0 where anomalies are numbered so, and 1.
    n_features_in_ : int
        Only if the detector has it.
    feature_names_in_ : ndarray of str
        Only if the detector has it.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : Chooses a threshold by
        cross-validation; the detector is fitted once a fold, whatever the number of
        thresholds.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.model_selection import TunedThresholdClassifierCV
    >>> from skanogan.metrics import outlier_f1_score, outlier_f1_scorer
    >>> from skanogan.model_selection import NoveltyClassifier
    >>> rng = np.random.RandomState(0)
    >>> X = np.concatenate([rng.normal(size=(600, 2)), rng.normal(3, 1, size=(60, 2))])
    >>> y = np.repeat([1, -1], [600, 60])
    >>> default = NoveltyClassifier(IsolationForest(random_state=0))
    >>> tuned = TunedThresholdClassifierCV(default, scoring=outlier_f1_scorer)
    >>> for classifier in (default, tuned):
    ...     prediction = classifier.fit(X[::2], y[::2]).predict(X[1::2])
    ...     print(round(outlier_f1_score(y[1::2], prediction), 2))
    0.44
    0.86
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's)
        "estimator": [HasMethods(["fit", "decision_function"])],
        "anomaly_label": [Interval(Integral, -1, 0, closed="both")],
    }

    def __init__(self, estimator: Any, *, anomaly_label: int = -1) -> None:
        self.estimator = estimator
        self.anomaly_label = anomaly_label

    # The detector validates its own parameters, and a frozen one is not fitted.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **fit_params: Any) -> "NoveltyClassifier":
        """Fit the detector on the normal rows.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows of both kinds, as the detector takes them.
        y : array-like of shape (n,)
            1 normal, -1 (or 0, see `anomaly_label`) anomaly.
        **fit_params : dict
            For the detector's `fit`. Those with a value a row are cut as X is.

        Returns
        -------
        self : NoveltyClassifier
            Fitted.

        Raises
        ------
        ValueError
            For other labels; the message says how to convert.
        """
        (X,) = indexable(X)
        numbered = self.anomaly_label == 0
        labels = check_labels(y, X, needed=(1,), numbered=numbered)
        at = np.flatnonzero(labels == 1)
        for name, value in fit_params.items():
            if _has_rows(value, len(labels)):
                fit_params[name] = _safe_indexing(value, at)
        normal = _safe_indexing(X, at) if len(at) < len(labels) else X
        self.estimator_ = clone(self.estimator).fit(normal, None, **fit_params)
        self.classes_ = np.array([min(self.anomaly_label, int(np.min(y))), 1])
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Who takes what is passed on to `fit`: the detector, as it asks for it.

        Returns
        -------
        routing : MetadataRouter
            Of scikit-learn, where routing is enabled.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router: MetadataRouter = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def decision_function(self, X: Any) -> np.ndarray:
        """The detector's: negative for anomalies.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As the detector takes them.

        Returns
        -------
        decision : ndarray of shape (n,)
            Negative for anomalies.
        """
        check_is_fitted(self)
        return np.asarray(self.estimator_.decision_function(X))

    @available_if(_detector_has("score_samples"))
    def score_samples(self, X: Any) -> np.ndarray:
        """The detector's, if it has it: lower is more abnormal.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As the detector takes them.

        Returns
        -------
        scores : ndarray of shape (n,)
            Lower is more abnormal.
        """
        check_is_fitted(self)
        return np.asarray(self.estimator_.score_samples(X))

    def predict(self, X: Any) -> np.ndarray:
        """Labels by the sign of `decision_function`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As the detector takes them.

        Returns
        -------
        labels : ndarray of shape (n,)
            1 normal, the other of `classes_` anomaly.
        """
        return np.where(self.decision_function(X) < 0, *self.classes_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

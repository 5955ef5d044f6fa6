"""Cross-validation and threshold tuning for detectors that learn from normal rows."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.utils import Tags, indexable, metadata_routing
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skanogan._data.array_api import in_numpy
from skanogan._data.kinds import refuse_kinds, without_gradients
from skanogan._data.labels import check_labels, warn_if_most_are_anomalies
from skanogan._runtime.compatibility import (
    HasMethods,
    Interval,
    _fit_context,
    _safe_indexing,
)
from skanogan.detectors._wrapping import AroundDetector

__all__ = ["NoveltyClassifier", "NoveltyKFold", "NoveltyShuffleSplit"]

Split = tuple[np.ndarray, np.ndarray]


class NoveltyKFold(StratifiedKFold):
    """Stratified K-fold splits that train on normal rows only.

    Every row is tested once. Other splitters leave anomalies in the training folds.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds. Each fold needs a normal row and an anomaly.
    shuffle : bool, default=False
        Whether rows are assigned to folds at random.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling.

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

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of training and test rows of each fold.

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
        train, test : ndarray of int
            Normal rows to train on, and normal rows and anomalies to test on.
        """
        labels = check_labels(y, X)
        for kind, name in ((1, "normal rows"), (-1, "anomalies")):
            n = int((labels == kind).sum())
            if n < self.n_splits:
                other = " or use NoveltyShuffleSplit" if n > 1 else ""
                raise ValueError(
                    f"n_splits={self.n_splits} is larger than the number of {name} in "
                    f"y, which is {n}. Lower n_splits{other}."
                )
        for train, test in super().split(np.zeros(len(labels)), labels):
            yield train[labels[train] == 1], test


class NoveltyShuffleSplit(StratifiedShuffleSplit):
    """Stratified random splits that train on normal rows only.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits. Each needs a normal row to train on, and a normal row and an
        anomaly to test on.
    test_size : float or int, default=None
        Share or number of test rows. Normal rows and anomalies have the same proportion
        in them as in `y`. None is the complement of `train_size`, or 0.1 if that is
        None too.
    train_size : float or int, default=None
        Share or number of training rows. The anomalies among them are counted, and then
        left out. None is the complement of `test_size`.
    random_state : int, RandomState instance or None, default=None
        Seed of the splits.

    See Also
    --------
    NoveltyKFold : Tests every row once.

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan.model_selection import NoveltyShuffleSplit
    >>> X, y = np.zeros((20, 1)), np.repeat([1, -1], [16, 4])
    >>> splitter = NoveltyShuffleSplit(n_splits=3, test_size=0.5, random_state=0)
    >>> [(len(train), int(sum(y[test] == -1))) for train, test in splitter.split(X, y)]
    [(8, 2), (8, 2), (8, 2)]
    """

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of training and test rows of each split.

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
        train, test : ndarray of int
            Normal rows to train on, and normal rows and anomalies to test on.
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
                    "normal rows to train on, or without both kinds to test on. "
                    "Increase the size that is too small."
                )
            yield train, test


def _has_score_samples(classifier: "NoveltyClassifier") -> bool:
    """Whether the detector has the method. Raise its AttributeError if not."""
    detector = getattr(classifier, "estimator_", classifier.estimator)
    return detector.score_samples is not None


class NoveltyClassifier(AroundDetector, ClassifierMixin, BaseEstimator):
    """Use a detector as a binary classifier of normal rows (1) and anomalies (-1).

    scikit-learn's tools for thresholds and probabilities require a classifier:
    `TunedThresholdClassifierCV`, `FixedThresholdClassifier`, `CalibratedClassifierCV`,
    `RocCurveDisplay.from_estimator`. This wrapper makes them accept any detector. The
    detector is fitted on the normal rows only; the tools use the anomalies.

    Parameters
    ----------
    estimator : object
        A detector, such as `AnoGANDetector` or scikit-learn's `IsolationForest`, or a
        pipeline that ends with one. It is cloned. Pass a fitted detector as
        ``FrozenEstimator(detector)``; it is not fitted again.
    anomaly_label : {-1, 0}, default=-1
        The label of anomalies. Set 0 inside ensembles of scikit-learn, which encode the
        classes as 0 and 1. Labels of -1 are then accepted too.

    Attributes
    ----------
    estimator_ : object
        The fitted detector.
    classes_ : ndarray of shape (2,)
        The label of anomalies, -1 or 0, and 1.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Those of the detector, if it has them.

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

    estimator_: Any
    classes_: np.ndarray

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's)
        "estimator": [HasMethods(["fit", "decision_function"])],
        "anomaly_label": [Interval(Integral, -1, 0, closed="both")],
    }

    def __init__(self, estimator: Any, *, anomaly_label: int = -1) -> None:
        self.estimator = estimator
        self.anomaly_label = anomaly_label

    # The weights are those of the detector, which says whether it requests them.
    __metadata_request__fit: ClassVar = {"sample_weight": metadata_routing.UNUSED}

    # Validation is not skipped in the detector, which validates its own parameters.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any
    ) -> "NoveltyClassifier":
        """Fit the detector on the normal rows.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Normal rows and anomalies, in a form that the detector accepts.
        y : array-like of shape (n,)
            1 normal, -1 (or 0, see `anomaly_label`) anomaly.
        sample_weight : array-like of shape (n,), default=None
            Weights of rows, if the detector's `fit` takes them.
        **fit_params : dict
            Arguments of the detector's `fit`. Those with one value per row are reduced
            to the normal rows.

        Returns
        -------
        self : NoveltyClassifier
            The fitted classifier.
        """
        refuse_kinds(X, takes_files=True)
        (X,) = indexable(without_gradients(X))
        numbered = self.anomaly_label == 0
        labels = check_labels(y, X, needed=(1,), numbered=numbered)
        warn_if_most_are_anomalies(labels)
        at = np.flatnonzero(labels == 1)
        if sample_weight is not None:
            fit_params["sample_weight"] = sample_weight
        for name, value in fit_params.items():
            length = len(value) if isinstance(value, list | tuple) else None
            if getattr(value, "shape", (length,))[:1] == (len(labels),):
                fit_params[name] = _safe_indexing(value, at)
        normal = _safe_indexing(X, at) if len(at) < len(labels) else X
        # Labels tell detectors that all of these rows are known to be normal.
        known = np.ones(len(at), dtype=np.int64)
        detector = clone(self.estimator).fit(normal, known, **fit_params)
        anomaly = min(self.anomaly_label, int(np.min(column_or_1d(y))))
        # In one step, for threads that predict meanwhile.
        self.__dict__.update(estimator_=detector, classes_=np.array([anomaly, 1]))
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Route the metadata that the detector requests to its `fit`.

        Returns
        -------
        routing : MetadataRouter
            Used by scikit-learn if metadata routing is enabled.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router: MetadataRouter = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the detector's `decision_function`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows as in `fit`.

        Returns
        -------
        decision : ndarray of shape (n,)
            Negative for anomalies.
        """
        check_is_fitted(self)
        return in_numpy(self.estimator_.decision_function(X))

    @available_if(_has_score_samples)
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the detector's `score_samples`, if the detector has it.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows in a form that the detector accepts.

        Returns
        -------
        scores : ndarray of shape (n,)
            Lower is more abnormal.
        """
        check_is_fitted(self)
        return in_numpy(self.estimator_.score_samples(X))

    def predict(self, X: Any) -> np.ndarray:
        """Label rows by the sign of `decision_function`.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows in a form that the detector accepts.

        Returns
        -------
        labels : ndarray of shape (n,)
            1 for normal rows, ``classes_[0]`` for anomalies.
        """
        decision = self.decision_function(X)
        anomaly, normal = self.classes_
        return np.where(decision < 0, anomaly, normal)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

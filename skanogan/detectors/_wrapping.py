"""The interface shared by detectors and classifiers that wrap a detector."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from skanogan._data.array_api import in_numpy
from skanogan._runtime.compatibility import HasMethods
from skanogan._runtime.documentation import DocumentedMixin

__all__ = ["ANY_DETECTOR", "AroundDetector", "scores_of"]

ANY_DETECTOR = (
    HasMethods(["fit", "score_samples"]),
    HasMethods(["fit", "decision_function"]),
)
"""The constraint of a parameter `estimator`."""


def scores_of(estimator: Any, X: Any) -> np.ndarray:
    """Return `score_samples` of a detector, or `decision_function` if it has none."""
    if hasattr(estimator, "score_samples"):
        return in_numpy(estimator.score_samples(X))
    return in_numpy(estimator.decision_function(X))


class AroundDetector(DocumentedMixin, MetaEstimatorMixin):
    """Mixin of estimators that take the same rows as their `estimator`."""

    estimator: Any
    estimator_: BaseEstimator

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`, if the detector counts them."""
        check_is_fitted(self)
        return int(self.estimator_.n_features_in_)

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of features seen in `fit`, if the detector stores them."""
        check_is_fitted(self)
        return np.asarray(self.estimator_.feature_names_in_)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.non_deterministic = inner.non_deterministic
        return tags

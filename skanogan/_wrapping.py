"""What detectors that go around another one take from it."""

from typing import Any

import numpy as np
from sklearn.base import MetaEstimatorMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

__all__ = ["AroundDetector", "scores_of"]


def scores_of(estimator: Any, X: Any) -> np.ndarray:
    """`score_samples` of any detector, or `decision_function` of one without."""
    if hasattr(estimator, "score_samples"):
        return np.asarray(estimator.score_samples(X))
    return np.asarray(estimator.decision_function(X))


class AroundDetector(MetaEstimatorMixin):
    """Mixin: takes rows as its `estimator` does, and has seen what `estimator_` has."""

    estimator: Any
    estimator_: Any

    @property
    def n_features_in_(self) -> int:
        """Features of a row seen in `fit`, where the detector counts them."""
        check_is_fitted(self)
        return int(self.estimator_.n_features_in_)

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of features seen in `fit`, where the detector keeps them."""
        check_is_fitted(self)
        return np.asarray(self.estimator_.feature_names_in_)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.array_api_support = inner.array_api_support
        tags.non_deterministic = inner.non_deterministic
        return tags

"""Private names of scikit-learn (1.6 to 1.9). No other module imports such names."""

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.base import _fit_context as _untyped_fit_context
from sklearn.utils import _array_api, _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    _num_samples,
    validate_data,
)

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """An empty class in place of the one that is missing."""


__all__ = [
    "CALLBACKS",
    "CALLBACK_ATTRIBUTES",
    "HAS_ARRAY_API",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "_array_api",
    "_check_feature_names",
    "_check_sample_weight",
    "_fit_context",
    "_num_samples",
    "_safe_indexing",
    "validate_data",
]

CALLBACK_ATTRIBUTES = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
"""Attributes that scikit-learn's callbacks set on an estimator during `fit`."""

HAS_ARRAY_API = hasattr(_array_api, "check_same_namespace")
"""Whether scikit-learn has what detectors need to support array API dispatch (1.9)."""

CALLBACKS = "_skl_callbacks"
"""The attribute in which scikit-learn stores the callbacks of an estimator."""

Fit = TypeVar("Fit", bound=Callable[..., Any])


def _fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Fit], Fit]:
    """Apply scikit-learn's decorator, and keep the type of the decorated method.

    Without a type, a user's type checker would not know what `fit` returns.
    """
    decorate: Callable[[Fit], Fit] = _untyped_fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorate

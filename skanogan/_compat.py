"""The only importer of private scikit-learn names (1.6 to 1.9)."""

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.base import _fit_context as _untyped_fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.validation import _check_feature_names, _num_samples, validate_data

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, where there is nothing to support."""


__all__ = [
    "CALLBACKS",
    "CALLBACK_ATTRIBUTES",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "_check_feature_names",
    "_fit_context",
    "_num_samples",
    "_safe_indexing",
    "validate_data",
]

CALLBACK_ATTRIBUTES = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
"""What scikit-learn's callbacks keep on an estimator while it is fitted."""

CALLBACKS = "_skl_callbacks"
"""Where scikit-learn keeps the callbacks themselves."""

Fit = TypeVar("Fit", bound=Callable[..., Any])


def _fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Fit], Fit]:
    """scikit-learn's decorator, with the type that it lacks.

    Through one without, `fit` and all that follows it in a chain would be unknown to a
    user's type checker.
    """
    decorate: Callable[[Fit], Fit] = _untyped_fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorate

"""The only importer of private scikit-learn names (1.6 to 1.9)."""

from sklearn.base import _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.validation import _check_feature_names, _num_samples, validate_data

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, where there is nothing to support."""


__all__ = [
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

"""The only importer of private scikit-learn names (1.6 to 1.9)."""

from sklearn.base import _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils.validation import _check_feature_names, _num_samples, validate_data

__all__ = [
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

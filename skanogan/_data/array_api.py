"""Arrays of other libraries, for scikit-learn's ``array_api_dispatch``."""

from typing import Any

import numpy as np
import sklearn
from torch import Tensor

from skanogan._data.kinds import without_gradients
from skanogan._runtime.compatibility import HAS_ARRAY_API, _array_api

__all__ = ["as_numpy", "check_library", "in_numpy", "is_foreign", "like"]


def is_foreign(X: Any) -> bool:
    """Whether X is an array of another library than NumPy, and dispatch is on."""
    if not (HAS_ARRAY_API and sklearn.get_config()["array_api_dispatch"]):
        return False
    if isinstance(X, np.ndarray | np.generic):
        return False
    return isinstance(X, Tensor) or hasattr(X, "__array_namespace__")


def as_numpy(X: Any) -> Any:
    """Move an array to NumPy if dispatch is on. Pass anything else through."""
    return in_numpy(X) if is_foreign(X) else X


def in_numpy(X: Any) -> np.ndarray:
    """Convert an array of any library and any device to NumPy."""
    if isinstance(X, Tensor):
        return np.asarray(without_gradients(X).cpu())
    is_array = isinstance(X, np.ndarray | np.generic)
    if HAS_ARRAY_API and not is_array and hasattr(X, "__array_namespace__"):
        with sklearn.config_context(array_api_dispatch=True):
            X = _array_api.move_to(X, xp=np, device="cpu")
    return np.asarray(X)


def like(X: Any, found: np.ndarray) -> Any:
    """Move an array to the library and the device of X, if dispatch is on."""
    if not is_foreign(X):
        return found
    xp, _, device = _array_api.get_namespace_and_device(X)
    return _array_api.move_to(found, xp=xp, device=device)


def check_library(estimator: Any, X: Any, method: str) -> None:
    """Raise scikit-learn's ValueError if `fit` got an array of another library.

    A detector that was fitted on NumPy arrays, data frames or lists scores arrays of
    all libraries.
    """
    if HAS_ARRAY_API and not isinstance(
        getattr(estimator, "support_", None), np.ndarray | None
    ):
        _array_api.check_same_namespace(
            X, estimator, attribute="support_", method=method
        )

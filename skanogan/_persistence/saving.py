"""`SaveMixin`: write a fitted detector, and the detectors within it, to one file.

The file holds the class name, parameters and fitted attributes of each detector as
JSON, and all tensors. It holds no code. A detector within another one, such as the
`estimator_` of a `PatchDetector`, is described at its place, and the names of its
tensors begin with the name of the attribute: ``estimator_/generator.0.weight``.
"""

import os
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skanogan._data.array_api import in_numpy
from skanogan._persistence import model_file
from skanogan._persistence.description import (
    DEEPEST,
    FORMAT,
    attribute_types,
    check_attributes,
    check_lengths,
    has_model,
    place_names,
    versions,
)
from skanogan._persistence.files import write_atomically
from skanogan._persistence.model_tensors import model_to
from skanogan._persistence.registry import check_name
from skanogan._persistence.values import decoded, encoded, is_reference
from skanogan._runtime.compatibility import CALLBACK_ATTRIBUTES, CALLBACKS

__all__ = ["SaveMixin"]

ARRAYS = frozenset({"bool", "uint8", "int32", "int64", "float32", "float64"})
"""Dtypes of fitted arrays that a file holds as tensors."""


class SaveMixin:
    """Mixin that adds `save` to a detector. `skanogan.load` reads the file."""

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the fitted detector to a file that `skanogan.load` reads.

        The file holds numbers and text, not pickles. Loading it executes nothing.
        docs/saving.md says what is stored.

        Parameters
        ----------
        path : str or path
            An existing file is replaced in one step. If writing fails, it is left as it
            is.

        Raises
        ------
        TypeError
            If a parameter or a fitted attribute cannot be stored, such as a
            RandomState instance, a function, or an estimator of another package.
        ValueError
            If a parameter is not valid, or was changed after `fit` and no longer
            describes the model.
        OSError
            If the file cannot be written.
        """
        writer = _Writer(self)
        description = {
            "format": FORMAT,
            "versions": versions(),
            "detector": writer.description(is_fitted=True),
        }
        write_atomically(path, model_file.pack(description, writer.tensors))

    def _check_attributes(self) -> None:
        """Raise ValueError if fitted attributes contradict each other.

        It is called before `save` and after `load`.
        """


class _Writer:
    """Writes one detector of a file. `level` is 1 for the outermost detector."""

    def __init__(self, detector: Any, level: int = 1) -> None:
        if not isinstance(detector, SaveMixin):
            raise TypeError(
                f"{type(detector).__name__} has no method save, so a file cannot hold "
                "it. Use joblib.dump."
            )
        if level > DEEPEST:
            raise TypeError(
                f"More than {DEEPEST} detectors are nested in each other, which a file "
                "cannot hold. Use joblib.dump."
            )
        check_name(type(detector))
        self._detector: Any = detector
        self._level = level
        self._attributes: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}

    def description(self, is_fitted: bool) -> dict[str, Any]:
        """Describe the detector (entries `DETECTOR`), and collect its tensors in
        `tensors`.

        `is_fitted` says whether to include what `fit` has set.
        """
        detector = self._detector
        detector_class = type(detector)
        if is_fitted:
            check_is_fitted(detector)
            self._attributes = _fitted_attributes(detector)
        places = place_names(detector_class)
        parameters = {
            key: value
            for key, value in detector.get_params(deep=False).items()
            if key not in places
        }
        check_lengths(parameters)
        detector._validate_params()
        description: dict[str, Any] = {
            "class": detector_class.__name__,
            "parameters": {k: self._parameter(k, v) for k, v in parameters.items()},
            "attributes": None,
            "model": None,
        }
        if is_fitted:
            stored = {k: self._attribute(k, v) for k, v in self._attributes.items()}
            self._check_loadable(stored)
            description["attributes"] = stored
        if is_fitted and has_model(detector_class):
            description["model"], weights = model_to(detector)
            if clash := sorted(set(self.tensors) & set(weights)):
                raise TypeError(
                    f"Attributes and tensors of the model have the same names: {clash}."
                    " Rename the attributes."
                )
            self.tensors |= weights
        return description

    def _parameter(self, key: str, value: Any) -> Any:
        if isinstance(value, FrozenEstimator):
            # A clone of a frozen estimator is the same object, so fit may have kept it.
            for other, fitted in self._attributes.items():
                if fitted is value:
                    return {"attribute": other}
            return {"frozen": self._inner(key, value.estimator, is_fitted=True)}
        if isinstance(value, BaseEstimator):
            # A fit clones it, so what it has fitted is not used.
            return {"detector": self._inner(key, value, is_fitted=False)}
        if isinstance(value, nn.Module):
            return {"network": type(value).__name__}
        return encoded(value, f"{key}={value!r}")

    def _attribute(self, key: str, value: Any) -> Any:
        if isinstance(value, FrozenEstimator):
            return {"frozen": self._inner(key, value.estimator, is_fitted=True)}
        if isinstance(value, BaseEstimator):
            return {"detector": self._inner(key, value, is_fitted=True)}
        if isinstance(value, np.ndarray) and str(value.dtype) in ARRAYS:
            self.tensors[key] = torch.from_numpy(np.array(value))
            return {"tensor": key}
        return encoded(value, key)

    def _inner(self, key: str, value: Any, *, is_fitted: bool) -> dict[str, Any]:
        """Describe a detector within this one, and collect its tensors."""
        writer = _Writer(value, self._level + 1)
        description = writer.description(is_fitted)
        self.tensors |= {f"{key}/{name}": t for name, t in writer.tensors.items()}
        return description

    def _check_loadable(self, stored: dict[str, Any]) -> None:
        """Check fitted attributes as `load` will check them."""
        loaded = {
            key: self._attributes[key] if is_reference(value) else decoded(value)
            for key, value in stored.items()
        }
        detector_class = type(self._detector)
        try:
            check_attributes(detector_class, loaded)
            self._detector._check_attributes()
        except ValueError as error:
            raise TypeError(
                f"load would refuse this {detector_class.__name__}. {error} Use "
                "joblib.dump."
            ) from error


def _fitted_attributes(detector: Any) -> dict[str, Any]:
    """Return what `fit` has set, except for the model and its device."""
    parameters = detector.get_params(deep=False)
    left_out = {*parameters, "model_", "device_", CALLBACKS, *CALLBACK_ATTRIBUTES}
    found = {key: v for key, v in vars(detector).items() if key not in left_out}
    if "support_" in found:  # an array of the library of X
        found["support_"] = in_numpy(found["support_"])
    if unknown := sorted(set(found) - set(attribute_types(type(detector)))):
        raise TypeError(
            f"{type(detector).__name__} has attributes that its class does not "
            f"annotate: {unknown}. Delete them, or use joblib.dump."
        )
    return found

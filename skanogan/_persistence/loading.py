"""`load`: open a file that `save` wrote, without trusting it.

`load` looks the name of a class up among the registered ones and imports nothing. It
makes a model as `fit` makes it, from the parameters, and compares sizes with the
tensors of the file before it allocates anything.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from torch import Tensor, nn

from skanogan._persistence import model_file
from skanogan._persistence.description import (
    DEEPEST,
    DETECTOR,
    FILE,
    check_attributes,
    check_entries,
    check_lengths,
    check_names,
    has_model,
    parameter_names,
    place_names,
    refusal,
    shortened,
    version_difference,
)
from skanogan._persistence.model_tensors import model_from
from skanogan._persistence.registry import registered_detectors
from skanogan._persistence.saving import SaveMixin
from skanogan._persistence.values import decoded, is_reference
from skanogan._runtime.device import resolve_device
from skanogan._runtime.modes import own_modes
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import ModelFileError, ModelVersionWarning

__all__ = ["load"]

NetworkOrFactory = nn.Module | Callable[[], nn.Module]


@own_modes()
def load(
    path: "str | os.PathLike[str]",
    *,
    detector_class: type | None = None,
    device: "str | torch.device | None" = None,
    networks: Mapping[str, NetworkOrFactory] | None = None,
) -> Any:
    """Load a detector from a file that `save` wrote.

    Nothing in the file is executed or imported, so a file of unknown origin can be
    opened. Its author still chooses the scores. Damaged, altered and inconsistent files
    are refused. See docs/saving.md.

    Parameters
    ----------
    path : str or path
        The file.
    detector_class : type, default=None
        The class of the detector. By default it is found by its name among the
        registered classes: those of skanogan, and those of imported packages that use
        `skanogan.base.register_detector`.
    device : str or torch.device, default=None
        Replaces the parameter `device` of the detector and of detectors within it. By
        default the stored parameter is used, and the CPU if this machine lacks the
        device.
    networks : dict of str to torch.nn.Module or callable, default=None
        Networks for the parameters that were given networks, by name of the parameter,
        such as "generator", or "estimator__generator" for a detector within another
        one. A value is the module, or a function that makes it. The file has the
        weights of the networks and not their code. The module becomes the parameter
        and is not changed.

    Returns
    -------
    detector : detector
        On the same machine and with the same versions, its scores are bitwise equal to
        those of the saved detector.

    Raises
    ------
    ModelFileError
        If `save` writes no such file, or the class or the networks do not fit it.
    TypeError
        If `detector_class` is not the class of a detector, or a network is not a
        module.
    ValueError
        If `device` is not on this machine.
    OSError
        If the file cannot be read.

    Warns
    -----
    ModelVersionWarning
        If the file was written with other versions of skanogan, scikit-learn or torch.
    DeviceFallbackWarning
        If this machine lacks the device of the detector.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skanogan
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data[:50]
    >>> detector = skanogan.AnoGANDetector(max_iter=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "detector.safetensors"
    ...     detector.save(path)
    ...     same = skanogan.load(path)
    >>> bool((same.score_samples(X) == detector.score_samples(X)).all())
    True
    """
    if device is not None:
        resolve_device(device)
    caller = _Caller(_checked_class(detector_class), device, dict(networks or {}))
    difference = ""
    try:
        description, tensors = model_file.unpack(model_file.read(path))
        check_entries(description, FILE)
        difference = version_difference(description["versions"])
        with torch.inference_mode(False), torch.no_grad():
            reader = _Reader(description["detector"], tensors, caller)
            detector = reader.detector(is_fitted=True)
        caller.check_networks()
    except ModelFileError as error:
        raise ModelFileError(
            f"{os.fspath(path)!r} cannot be loaded. {error} {difference}".rstrip()
        ) from error
    if difference:
        warn(
            f"{difference} Scores may differ from those at the time, usually in the "
            "last digits. Compare some, and save the detector again with these "
            "versions.",
            ModelVersionWarning,
        )
    return detector


def _checked_class(detector_class: type | None) -> type | None:
    is_class = isinstance(detector_class, type)
    if detector_class is None or (is_class and issubclass(detector_class, SaveMixin)):
        return detector_class
    raise TypeError(
        f"detector_class is {detector_class!r}. It must be the class of a detector, "
        "such as skanogan.AnoGANDetector."
    )


@dataclass(frozen=True)
class _Caller:
    """What the caller of `load` gave beside the path."""

    detector_class: type | None
    device: "str | torch.device | None"
    networks: dict[str, NetworkOrFactory]
    used: set[str] = field(default_factory=set)

    def class_of(self, name: str, level: int) -> Any:
        """Return the class that a file names."""
        if level == 1 and self.detector_class is not None:
            given = self.detector_class.__name__
            if given != name:
                raise ModelFileError(
                    f"It holds a {shortened(name)}, but detector_class is {given}. "
                    f"Pass the class {shortened(name)}, or leave detector_class out."
                )
            return self.detector_class
        found = registered_detectors().get(name)
        if found is None or not issubclass(found, SaveMixin):
            raise ModelFileError(
                f"{shortened(name)!r} is not a registered detector class. Register the "
                "class with skanogan.base.register_detector, or pass it as "
                "detector_class."
            )
        return found

    def network(self, name: str, class_name: str) -> nn.Module:
        """Return the network for a parameter."""
        given = self.networks.get(name)
        if given is None:
            raise ModelFileError(
                f"The parameter {name} is a network of class {shortened(class_name)}. "
                "The file has its weights and not its code. Use load(path, "
                f"networks={{{name!r}: ...}}) with the module, or with a function that "
                "makes it."
            )
        self.used.add(name)
        is_function = callable(given) and not isinstance(given, nn.Module)
        network = given() if is_function else given
        if not isinstance(network, nn.Module):
            found = f"{'returned' if is_function else 'is'} a {type(network).__name__}"
            raise TypeError(
                f"networks[{name!r}] {found}. Pass a torch.nn.Module, or a function "
                "that returns one."
            )
        return network

    def check_networks(self) -> None:
        """Refuse networks that the file has no parameter for."""
        if unused := sorted(set(self.networks) - self.used):
            raise ModelFileError(
                f"It has no networks {unused}. Leave them out of networks."
            )


class _Reader:
    """Reads one detector of a file.

    Parameters
    ----------
    description : dict
        With the entries `DETECTOR`.
    tensors : dict of str to Tensor
        The tensors of the detector and of detectors within it.
    caller : _Caller
    path : str
        What precedes the names of its parameters, such as "estimator__".
    level : int
        1 for the outermost detector.
    """

    def __init__(
        self,
        description: dict[str, Any],
        tensors: dict[str, Tensor],
        caller: _Caller,
        path: str = "",
        level: int = 1,
    ) -> None:
        check_entries(description, DETECTOR)
        if level > DEEPEST:
            raise refusal(f"More than {DEEPEST} detectors are within each other.")
        self._description = description
        self._tensors = dict(tensors)
        self._caller = caller
        self._path = path
        self._level = level
        self._attributes: dict[str, Any] = {}

    def detector(self, is_fitted: bool) -> Any:
        """Make the detector.

        Parameters
        ----------
        is_fitted : bool
            Whether it must be fitted. Otherwise it must not.

        Returns
        -------
        detector : SaveMixin
        """
        name = self._description["class"]
        detector_class = self._caller.class_of(name, self._level)
        expected = (is_fitted, is_fitted and has_model(detector_class))
        entries = (self._description["attributes"], self._description["model"])
        if tuple(entry is not None for entry in entries) != expected:
            raise refusal(
                f"The attributes or the model of {name} are missing, or must not be "
                "there."
            )
        if is_fitted:
            stored = self._description["attributes"]
            # Before detectors within this one are made.
            _refuse_errors(check_names, detector_class, stored)
            for key, value in stored.items():
                self._attributes[key] = self._attribute(key, value)
        detector = self._unfitted(detector_class)
        if is_fitted:
            self._restore(detector)
        elif self._tensors:
            raise refusal(f"An unfitted {name} must not have tensors.")
        return detector

    def _unfitted(self, detector_class: Any) -> Any:
        """Make the detector from its parameters."""
        name = detector_class.__name__
        stored = self._description["parameters"]
        expected = parameter_names(detector_class) - place_names(detector_class)
        if set(stored) != expected:
            wrong = sorted(expected ^ set(stored))
            raise refusal(
                f"The parameters {wrong} of {name} are in the file or in this "
                "skanogan, but not in both."
            )
        parameters = {key: self._parameter(key, v) for key, v in stored.items()}
        if self._caller.device is not None and "device" in parameters:
            parameters["device"] = self._caller.device
        try:
            check_lengths(parameters)
            detector = detector_class(**parameters)
            detector._validate_params()
        except Exception as error:
            raise refusal(
                f"A parameter of {name} is not valid. {shortened(error)}"
            ) from error
        return detector

    def _restore(self, detector: Any) -> None:
        """Give a detector its fitted attributes and its model."""
        _refuse_errors(check_attributes, type(detector), self._attributes)
        vars(detector).update(self._attributes)
        if has_model(type(detector)):
            model = model_from(detector, self._description["model"], self._tensors)
            # As unpickling does: to the device, if this machine has it.
            detector.__setstate__({**vars(detector), "model_": model})
        elif self._tensors:
            wrong = sorted(self._tensors)[:5]
            raise refusal(f"The tensors {wrong} belong to no attribute.")
        _refuse_errors(detector._check_attributes)

    # Values -------------------------------------------------------------------

    def _attribute(self, key: str, value: Any) -> Any:
        if is_reference(value):
            ((kind, content),) = value.items()
            if kind in ("detector", "frozen"):
                return self._inner(key, kind, content, is_fitted=True)
            if kind == "tensor" and isinstance(content, str):
                return self._array(content)
        return _decoded(value)

    def _parameter(self, key: str, value: Any) -> Any:
        if is_reference(value):
            ((kind, content),) = value.items()
            if kind in ("detector", "frozen"):
                return self._inner(key, kind, content, is_fitted=kind == "frozen")
            if kind == "network" and isinstance(content, str):
                return self._caller.network(self._path + key, content)
            if kind == "attribute" and isinstance(content, str):
                same = self._attributes.get(content)
                if isinstance(same, FrozenEstimator):
                    return same
        return _decoded(value)

    def _inner(self, key: str, kind: str, content: Any, *, is_fitted: bool) -> Any:
        """Read a detector within this one, from the tensors below its name."""
        if not isinstance(content, dict):
            raise refusal(f"{key} is not described.")
        start = f"{key}/"
        own = {name for name in self._tensors if name.startswith(start)}
        tensors = {name.removeprefix(start): self._tensors.pop(name) for name in own}
        path = f"{self._path}{key.removesuffix('_')}__"
        reader = _Reader(content, tensors, self._caller, path, self._level + 1)
        detector = reader.detector(is_fitted)
        return FrozenEstimator(detector) if kind == "frozen" else detector

    def _array(self, name: str) -> np.ndarray:
        try:
            return np.array(self._tensors.pop(name).numpy())
        except (KeyError, TypeError) as error:  # NumPy has no bfloat16
            raise refusal(f"The tensor {name!r} is missing or no array.") from error


def _refuse_errors(check: Callable[..., None], *arguments: Any) -> None:
    """Call a check, and refuse the file if it raises."""
    try:
        check(*arguments)
    except Exception as error:
        raise refusal(str(error)) from error


def _decoded(value: Any) -> Any:
    try:
        return decoded(value)
    except (ValueError, RecursionError) as error:
        raise refusal(f"A value in it cannot be read: {error}.") from error

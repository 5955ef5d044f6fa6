"""A detector without its model: parameters and fitted attributes, to JSON and back."""

import math
import os
from collections.abc import Callable
from typing import Any, ClassVar, get_origin, get_type_hints

import sklearn
import torch
from torch import nn

from skanogan._base import BaseDetector
from skanogan._compat import CALLBACK_ATTRIBUTES, CALLBACKS
from skanogan._persistence.values import Network, decoded, encoded, matches
from skanogan.exceptions import ModelFileError
from skanogan.utils.discovery import all_detectors

__all__ = [
    "NetworkOrFactory",
    "check_entries",
    "described",
    "detector_from",
    "other_versions",
    "short",
]

FORMAT = 1
"""Counts the changes of what a description holds."""

ENTRIES = {
    "format": int,
    "detector": str,
    "versions": dict[str, str],
    "parameters": dict,
    "attributes": dict,
    "dtype": str,
    "parts": dict[str, str],
    "numbers": dict[str, float],
}
"""Of a description."""

ALWAYS_FITTED = {
    "offset_",
    "history_",
    "n_iter_",
    "n_features_in_",
    "image_shape_",
    "_sample_shape",
}
"""Attributes without which nothing scores."""

LONGEST = 256
"""Most entries of a parameter: layers are made one after the other."""

NetworkOrFactory = nn.Module | Callable[[], nn.Module]


def described(detector: BaseDetector) -> dict[str, Any]:
    """What a file says of a fitted detector, the model left to others.

    Raises
    ------
    TypeError
        If something can be stored by pickle only.
    """
    places = _places(type(detector))
    parameters = {
        key: value
        for key, value in detector.get_params(deep=False).items()
        if key not in places
    }
    _check_lengths(parameters)
    attributes = {
        key: encoded(value, key) for key, value in _attributes(detector).items()
    }
    try:
        read = {key: decoded(value) for key, value in attributes.items()}
        _check_attributes(type(detector), read)
    except ModelFileError as error:
        name = type(detector).__name__
        raise TypeError(f"load would refuse this {name}. {error}") from error
    return {
        "format": FORMAT,
        "detector": type(detector).__name__,
        "versions": _versions(),
        "parameters": {
            key: encoded(value, f"{key}={value!r}") for key, value in parameters.items()
        },
        "attributes": attributes,
    }


def check_entries(description: dict[str, Any]) -> None:
    """Refuse a description that lacks an entry, or has one of another type."""
    found = description.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise ModelFileError(
            f"It is of format {found}, and this skanogan reads {FORMAT}: update it."
        )
    if set(description) != set(ENTRIES):
        wrong = sorted(set(description) ^ set(ENTRIES))
        raise _refusal(f"Of its entries, {wrong} are missing or unknown.")
    for key, hint in ENTRIES.items():
        if not matches(description[key], hint):
            raise _refusal(f"Its entry {key!r} is not of the type {hint}.")
    if found != FORMAT:
        raise _refusal(f"Its format, {found}, is unknown.")


def detector_from(
    description: dict[str, Any], networks: dict[str, NetworkOrFactory]
) -> BaseDetector:
    """The detector without its model.

    Parameters
    ----------
    description : dict
        That has passed `check_entries`.
    networks : dict of str to Module or callable
        For the parameters that are networks of the user's.

    Raises
    ------
    ModelFileError
        If it says what no fitted detector could.
    """
    name = description["detector"]
    detector_class = dict(all_detectors()).get(name)
    if detector_class is None:
        raise _refusal(f"{name!r} is not a detector of this skanogan.")
    try:
        parameters, attributes = (
            {key: decoded(value) for key, value in description[kind].items()}
            for kind in ("parameters", "attributes")
        )
    except (ValueError, RecursionError) as error:
        raise _refusal(f"A value of it cannot be read: {short(error)}.") from error
    expected = set(detector_class().get_params()) - _places(detector_class)
    if set(parameters) != expected:
        wrong = sorted(expected ^ set(parameters))
        raise _refusal(
            f"Of the parameters of {name}, {wrong} are in the file or in this "
            "skanogan, but not in both."
        )
    own = {key for key, value in parameters.items() if isinstance(value, Network)}
    for key in sorted(own):
        parameters[key] = _network(key, parameters[key].name, networks.get(key))
    if unused := sorted(set(networks) - own):
        raise ModelFileError(f"It takes no {' and no '.join(unused)}: leave it out.")
    detector: BaseDetector = detector_class(**parameters)
    try:
        _check_lengths(parameters)
        detector._validate_params()
    except Exception as error:
        raise _refusal(f"A parameter is not valid. {short(error)}") from error
    _check_attributes(detector_class, attributes)
    detector.__dict__.update(attributes)
    return detector


def _network(key: str, name: str, given: NetworkOrFactory | None) -> nn.Module:
    if given is None:
        raise ModelFileError(
            f"Its {key} is a network of your own ({name}), of which the file has the "
            f"weights and not the code: use load(path, {key}=...) with the module, or "
            "with a function that makes it."
        )
    network = given if isinstance(given, nn.Module) else given()
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"{key} makes a {type(network).__name__}: a torch.nn.Module was expected."
        )
    return network


def _check_attributes(
    detector_class: type[BaseDetector], attributes: dict[str, Any]
) -> None:
    hints = _hints(detector_class)
    if not ALWAYS_FITTED <= set(attributes) <= set(hints):
        wrong = ALWAYS_FITTED - set(attributes) | set(attributes) - set(hints)
        raise _refusal(f"Attributes {sorted(wrong)} are missing or unknown.")
    for key, value in attributes.items():
        if not matches(value, hints[key]):
            raise _refusal(f"{key} is not of the type {hints[key]}.")
    n_features = attributes["n_features_in_"]
    shapes = [attributes["_sample_shape"], attributes["image_shape_"] or (n_features,)]
    names = attributes.get("feature_names_in_")
    if (
        any(min(shape, default=0) < 1 for shape in shapes)
        or any(math.prod(shape) != n_features for shape in shapes)
        or (names is not None and len(names) != n_features)
    ):
        raise _refusal(f"Shapes in it are not those of {n_features} features.")


def _refusal(reason: str) -> ModelFileError:
    return ModelFileError(
        f"{_cut(reason)} Take an undamaged copy, or open it with the skanogan that "
        "wrote it."
    )


def _check_lengths(parameters: dict[str, Any]) -> None:
    for key, value in parameters.items():
        if isinstance(value, (tuple, list)) and len(value) > LONGEST:
            raise ValueError(f"{key} has {len(value)} entries: {LONGEST} are allowed.")


def _attributes(detector: BaseDetector) -> dict[str, Any]:
    """What `fit` has set, but for the model and its device."""
    parameters = detector.get_params(deep=False)
    left_out = {*parameters, "model_", "device_", CALLBACKS, *CALLBACK_ATTRIBUTES}
    found = {key: v for key, v in vars(detector).items() if key not in left_out}
    if unknown := sorted(set(found) - set(_hints(type(detector)))):
        raise TypeError(
            f"{type(detector).__name__} has attributes that are none of its own: "
            f"{unknown}. Delete them, or use joblib.dump."
        )
    return found


def _hints(detector_class: type[BaseDetector]) -> dict[str, Any]:
    """Fitted attributes and their types, as the class annotates them."""
    parameters = {*detector_class().get_params(), "model_", "device_"}
    return {
        key: hint
        for key, hint in get_type_hints(detector_class).items()
        if key not in parameters and get_origin(hint) is not ClassVar
    }


def _places(detector_class: type[BaseDetector]) -> set[str]:
    """Parameters that name a place on this machine, which no file is to choose.

    A folder of pickles, or a file to write to. They have their defaults once loaded.
    """
    constraints = detector_class._parameter_constraints
    return {key for key, kinds in constraints.items() if os.PathLike in kinds}


def _versions() -> dict[str, str]:
    import skanogan  # which is not complete when this file is read

    return {
        "skanogan": skanogan.__version__,
        "scikit-learn": sklearn.__version__,
        # Without the build, such as +cpu: a detector moves between machines.
        "torch": str(torch.__version__).partition("+")[0],
    }


def short(error: Exception) -> str:
    """What an error says, within bounds."""
    return _cut(str(error))


def _cut(text: str) -> str:
    # Values and names of a file may be megabytes long.
    return text if len(text) <= 500 else f"{text[:500]}..."


def other_versions(written: dict[str, str]) -> str:
    """What to say of the versions that wrote a file, if they are not these."""
    here = _versions()
    if written == here:
        return ""
    before = ", ".join(f"{name} {written.get(name, '?')[:30]}" for name in here)
    now = ", ".join(f"{name} {version}" for name, version in here.items())
    return f"It was written with {before}; here are {now}."

"""What a file says of a detector, and the limits of what it may say."""

import inspect
import math
import os
from typing import Any, ClassVar, get_origin, get_type_hints

import sklearn
import torch

from skanogan._persistence.values import matches
from skanogan._version import __version__
from skanogan.exceptions import ModelFileError

__all__ = [
    "DEEPEST",
    "DETECTOR",
    "FILE",
    "FORMAT",
    "MODEL",
    "attribute_types",
    "check_attributes",
    "check_entries",
    "check_lengths",
    "check_names",
    "has_model",
    "parameter_names",
    "place_names",
    "refusal",
    "shortened",
    "version_difference",
    "versions",
]

FORMAT = 2
"""Number of the present format of descriptions."""

FILE = {"format": int, "versions": dict[str, str], "detector": dict}
"""Entries of a description, with their types."""

DETECTOR = {
    "class": str,
    "parameters": dict,
    "attributes": dict | None,
    "model": dict | None,
}
"""Entries of a detector. An unfitted one has no attributes."""

MODEL = {"dtype": str, "parts": dict[str, str], "numbers": dict[str, float]}
"""Entries of a model."""

DEEPEST = 5
"""Largest number of detectors that are nested in each other."""

LONGEST = 256
"""Largest number of entries of a parameter. Layers are made one after the other."""

OPTIONAL = {"feature_names_in_"}
"""Attributes that a fit sets for some data only."""


def check_entries(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a part of a description with missing, unknown or ill-typed entries.

    `expected` is `FILE`, `DETECTOR` or `MODEL`. The message of the error names them.
    """
    number = found.get("format")
    if expected is FILE and isinstance(number, int) and number > FORMAT:
        raise ModelFileError(
            f"It has format {number}, and this skanogan reads format {FORMAT}. Update "
            "skanogan."
        )
    if set(found) != set(expected):
        wrong = sorted(set(found) ^ set(expected))
        raise refusal(f"Its entries {wrong} are missing or unknown.")
    for key, hint in expected.items():
        if not matches(found[key], hint):
            raise refusal(f"Its entry {key!r} is not of the type {hint}.")
    if expected is FILE and number != FORMAT:
        raise refusal(f"It has format {number}, which this skanogan does not read.")


def check_names(detector_class: type, attributes: dict[str, Any]) -> None:
    """Raise ValueError for fitted attributes of other names than the class
    annotates.
    """
    types = attribute_types(detector_class)
    # A value in the class is a default, which a fit need not set.
    needed = {key for key in types if not hasattr(detector_class, key)} - OPTIONAL
    if not needed <= set(attributes) <= set(types):
        wrong = needed - set(attributes) | set(attributes) - set(types)
        raise ValueError(f"The attributes {sorted(wrong)} are missing or unknown.")


def check_attributes(detector_class: type, attributes: dict[str, Any]) -> None:
    """Raise ValueError for fitted attributes of other names, types or shapes.

    The annotations of the class declare them. The message names the attribute.
    """
    check_names(detector_class, attributes)
    types = attribute_types(detector_class)
    for key, value in attributes.items():
        if not matches(value, types[key]):
            raise ValueError(f"{key} is not of the type {types[key]}.")
    _check_shapes(attributes)


def _check_shapes(attributes: dict[str, Any]) -> None:
    n_features = attributes.get("n_features_in_")
    if n_features is None:
        return
    shapes = [(n_features,)]
    for key in ("_sample_shape", "image_shape_"):
        shapes += [attributes[key]] if attributes.get(key) is not None else []
    names = attributes.get("feature_names_in_")
    if (
        any(min(shape, default=0) < 1 for shape in shapes)
        or any(math.prod(shape) != n_features for shape in shapes)
        or (names is not None and (names.dtype != object or len(names) != n_features))
    ):
        raise ValueError(
            f"Its shapes and names are not those of rows of {n_features} features."
        )


def attribute_types(detector_class: type) -> dict[str, Any]:
    """Return the fitted attributes that a class annotates, with their types.

    The model and its device are left out, because a file holds them in another way.
    """
    others = {*parameter_names(detector_class), "model_", "device_"}
    return {
        key: hint
        for key, hint in get_type_hints(detector_class).items()
        if key not in others
        and (key.endswith("_") or key.startswith("_"))
        and get_origin(hint) is not ClassVar
    }


def has_model(detector_class: type) -> bool:
    """Whether a fit of this class trains a `Model`."""
    return "model_" in get_type_hints(detector_class)


def parameter_names(detector_class: type) -> set[str]:
    """Return the names of the parameters of a class."""
    return set(inspect.signature(detector_class).parameters)


def place_names(detector_class: Any) -> set[str]:
    """Return the parameters that name a place on this machine.

    They name a folder of pickles or a file to write to, which a file from elsewhere
    must not choose. A loaded detector has their defaults.
    """
    constraints = detector_class._parameter_constraints
    return {key for key, kinds in constraints.items() if os.PathLike in kinds}


def check_lengths(parameters: dict[str, Any]) -> None:
    """Raise ValueError if a parameter has more than `LONGEST` entries."""
    for key, value in parameters.items():
        if isinstance(value, (tuple, list)) and len(value) > LONGEST:
            raise ValueError(
                f"{key} has {len(value)} entries. At most {LONGEST} are allowed."
            )


def versions() -> dict[str, str]:
    """Return the versions that a file records."""
    return {
        "skanogan": __version__,
        "scikit-learn": sklearn.__version__,
        # Without the build, such as +cpu: a detector moves between machines.
        "torch": str(torch.__version__).partition("+")[0],
    }


def version_difference(written: dict[str, str]) -> str:
    """Describe the versions that wrote a file, or return "" if they are the same."""
    here = versions()
    if written == here:
        return ""
    before = ", ".join(f"{name} {written.get(name, '?')[:30]}" for name in here)
    now = ", ".join(f"{name} {version}" for name, version in here.items())
    return f"The file was written with {before}. This is {now}."


def refusal(reason: str) -> ModelFileError:
    """Make the error for a file that holds what no `save` writes."""
    return ModelFileError(
        f"{shortened(reason)} Use an undamaged copy, or the version of skanogan that "
        "wrote the file."
    )


def shortened(text: object) -> str:
    """Cut a text, because values and names of a file may be megabytes long."""
    text = str(text)
    return text if len(text) <= 500 else f"{text[:500]}..."

"""The detector classes that a file or a command may name.

A file holds the name of a class, never its code. `load` looks the name up here, and
imports nothing that a file names.
"""

from typing import TypeVar

__all__ = ["check_name", "register_detector", "registered_detectors"]

Class = TypeVar("Class", bound=type)

_CLASSES: dict[str, type] = {}


def register_detector(detector_class: Class) -> Class:
    """Register a detector class under its name. Use it as a class decorator.

    A registered class is found by `skanogan.utils.discovery.all_detectors`, by
    `skanogan.load`, and by the benchmark.

    Parameters
    ----------
    detector_class : type
        A class that derives from `skanogan.base.BaseDetector`, or another detector that
        has `save`.

    Returns
    -------
    detector_class : type
        The same class.

    Raises
    ------
    ValueError
        If another class is registered under this name.
    """
    check_name(detector_class)
    _CLASSES[detector_class.__name__] = detector_class
    return detector_class


def check_name(detector_class: type) -> None:
    """Refuse a class whose name another class is registered under.

    Parameters
    ----------
    detector_class : type

    Raises
    ------
    ValueError
        The message names both classes.
    """
    known = _CLASSES.get(detector_class.__name__)
    # A module that is reloaded defines its class anew.
    if known is not None and _path(known) != _path(detector_class):
        raise ValueError(
            f"{_path(detector_class)} cannot be registered or saved, because "
            f"{_path(known)} is registered under the same name. Rename the class."
        )


def registered_detectors() -> dict[str, type]:
    """Return the registered classes by name.

    Returns
    -------
    classes : dict of str to type
        A copy.
    """
    return dict(_CLASSES)


def _path(detector_class: type) -> str:
    return f"{detector_class.__module__}.{detector_class.__qualname__}"

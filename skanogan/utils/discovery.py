"""Find the registered detectors, so that checks and commands cannot miss one."""

from skanogan._persistence.registry import registered_detectors
from skanogan.detectors._base import BaseDetector

__all__ = ["all_detectors"]


def all_detectors() -> list[tuple[str, type[BaseDetector]]]:
    """List the detector classes that are registered.

    The classes of this package are always registered. A class of another package is
    registered by `skanogan.base.register_detector` when its module is imported.

    Returns
    -------
    detectors : list of (str, type)
        Name and class, sorted by name.

    Examples
    --------
    >>> from skanogan.utils.discovery import all_detectors
    >>> "AnoGANDetector" in dict(all_detectors())
    True
    """
    return sorted(
        (name, found)
        for name, found in registered_detectors().items()
        if issubclass(found, BaseDetector)
    )

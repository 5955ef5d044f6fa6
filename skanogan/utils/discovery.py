"""Every public detector of the package, so that none can be forgotten."""

import inspect

import skanogan
from skanogan._base import BaseDetector

__all__ = ["all_detectors"]


def all_detectors() -> list[tuple[str, type]]:
    """Public detector classes, found rather than listed.

    A class that is exported by ``skanogan`` is checked, benchmarked and documented
    without an edit elsewhere.

    Returns
    -------
    detectors : list of (str, type)
        Name and class, by name.

    Examples
    --------
    >>> from skanogan.utils.discovery import all_detectors
    >>> "AnoGANDetector" in dict(all_detectors())
    True
    """
    public = ((name, getattr(skanogan, name)) for name in skanogan.__all__)
    return sorted(
        (name, found)
        for name, found in public
        if inspect.isclass(found) and issubclass(found, BaseDetector)
    )

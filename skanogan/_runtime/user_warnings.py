"""Warnings that point at the user's line."""

import sys
import warnings

__all__ = ["warn"]

LIBRARIES = ("skanogan", "sklearn", "joblib", "contextlib")
"""Packages whose frames are not the user's."""


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning at the first line outside of skanogan and scikit-learn."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_library(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_library(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in LIBRARIES

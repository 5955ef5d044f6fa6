"""The version, in one place that every part may read."""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"

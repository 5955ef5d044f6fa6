"""The one exception that becomes a one-line message on the command line."""

__all__ = ["UsageError"]


class UsageError(ValueError):
    """What was asked for cannot be run; the message says what to do instead."""

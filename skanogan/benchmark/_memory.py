"""Resident memory of this process, as Linux tells it."""

from pathlib import Path

__all__ = ["forget_peak", "memory_of_process"]


def forget_peak() -> None:
    """Start the peak of this process anew, where Linux lets it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def memory_of_process(field: str, less: float = 0.0) -> float:
    """A line of /proc/self/status in bytes, less what is known; nan elsewhere.

    Parameters
    ----------
    field : str
        Such as "VmHWM", the peak, or "VmRSS", what is resident now.
    less : float, default=0.0
        Bytes to subtract.

    Returns
    -------
    n_bytes : float
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    kilobytes = next(line.split()[1] for line in lines if line.startswith(field))
    return float(kilobytes) * 1024 - less

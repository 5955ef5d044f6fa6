"""Resident memory of this process, on Linux."""

from pathlib import Path

__all__ = ["forget_peak", "memory_of_process"]


def forget_peak() -> None:
    """Reset the peak of this process, if Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def memory_of_process(field: str, subtracted: float = 0.0) -> float:
    """Read a field of /proc/self/status in bytes.

    Parameters
    ----------
    field : str
        Such as "VmHWM", the peak, or "VmRSS", the memory resident now.
    subtracted : float, default=0.0
        Bytes to subtract.

    Returns
    -------
    n_bytes : float
        NaN on other systems than Linux.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    kilobytes = next(line.split()[1] for line in lines if line.startswith(field))
    return float(kilobytes) * 1024 - subtracted

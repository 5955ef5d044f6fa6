"""The device of a model, the dtype of its scores, and the length of chunks."""

import os

import torch

from skanogan._runtime import processes

__all__ = [
    "available_devices",
    "chunk_length",
    "is_out_of_memory",
    "resolve_device",
    "resolve_dtype",
]

MEMORY_BYTES = 64 * 2**20
"""The memory that scoring may use beside the model on a CPU."""

CUDA_MEMORY_BYTES = 2**30
"""The same on a GPU, but at most a quarter of the free memory."""


def available_devices() -> list[str]:
    """List usable device types, best first. "cpu" is always included.

    The environment variable SKANOGAN_EXCLUDE_DEVICES excludes types, such as
    ``"cuda,mps"``.
    """
    excluded = os.environ.get("SKANOGAN_EXCLUDE_DEVICES", "").split(",")
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    found = [name for name, there in present.items() if there and name not in excluded]
    return [*found, "cpu"]


def resolve_device(device: "str | torch.device") -> torch.device:
    """Return the device that a parameter names, if this machine has it.

    "auto" is the best available device. If several processes train together, each
    process takes its own GPU. ValueError is raised if torch does not know the name, or
    this machine does not have the device.
    """
    if isinstance(device, str) and device == "auto":
        best, index = available_devices()[0], processes.local_index()
        # A process may also see only its own GPU, as number 0.
        if best == "cuda" and index is not None and index < torch.cuda.device_count():
            return torch.device(best, index)
        return torch.device(best)
    advice = 'Use device="auto" for the best available device, or one of '
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a device. {advice}{available_devices()}."
        ) from error
    there = resolved.type in available_devices()
    if there and resolved.type == "cuda" and resolved.index is not None:
        there = resolved.index < torch.cuda.device_count()
    if not there:
        raise ValueError(
            f"device={device!r} is not available on this machine. "
            f"{advice}{available_devices()}."
        )
    return resolved


def resolve_dtype(
    scoring_dtype: str, is_image: bool, device: torch.device
) -> torch.dtype:
    """Choose the dtype that scores are computed in.

    "auto" is float64 for tables, where scores on two machines then agree to about 1e-13
    at 1.6 times the time. It is float32 for images, where float64 takes 3 times as
    long, and on mps, which has no float64.
    """
    if scoring_dtype == "auto":
        exact = not is_image and device.type != "mps"
        return torch.float64 if exact else torch.float32
    if scoring_dtype == "float64" and device.type == "mps":
        raise ValueError(
            'scoring_dtype="float64" is not possible on mps, which has no float64. '
            'Use scoring_dtype="float32" or device="cpu".'
        )
    return torch.float64 if scoring_dtype == "float64" else torch.float32


def chunk_length(floats_per_row: int, dtype: torch.dtype, device: torch.device) -> int:
    """Compute how many rows to score at once within the allowed memory."""
    allowed = MEMORY_BYTES
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        allowed = min(CUDA_MEMORY_BYTES, free // 4)
    return max(1, allowed // (floats_per_row * dtype.itemsize))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error reports a lack of memory, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # On CPU and mps torch raises a plain RuntimeError.
    messages = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(m in str(error) for m in messages)

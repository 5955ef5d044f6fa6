"""Where a model lives, in which precision it scores, and how many rows at once."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from skanogan.models import _processes

__all__ = [
    "available_devices",
    "chunk_length",
    "is_out_of_memory",
    "precision",
    "resolve_device",
    "resolve_dtype",
]

MEMORY_BYTES = 64 * 2**20
"""What scoring may hold beside the model on a CPU."""

CUDA_MEMORY_BYTES = 2**30
"""The same on a GPU, of which it is a quarter of what is free at most."""


def available_devices() -> list[str]:
    """Device types usable here, best first, less those in SKANOGAN_EXCLUDE_DEVICES.

    Returns
    -------
    devices : list of str
        Of "cuda", "mps" and "cpu"; the last is always there.
    """
    excluded = os.environ.get("SKANOGAN_EXCLUDE_DEVICES", "").split(",")
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    found = [name for name, there in present.items() if there and name not in excluded]
    return [*found, "cpu"]


def resolve_device(device: "str | torch.device") -> torch.device:
    """The device that a parameter names, if it is there.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes the best that is available and, where several processes train
        together, each a GPU of its own; anything else is taken at its word.

    Returns
    -------
    device : torch.device

    Raises
    ------
    ValueError
        If the name means nothing to torch, or the device is not on this machine.
    """
    if isinstance(device, str) and device == "auto":
        best, index = available_devices()[0], _processes.local_index()
        # Each process may also see no GPU but its own, as number 0.
        if best == "cuda" and index is not None and index < torch.cuda.device_count():
            return torch.device(best, index)
        return torch.device(best)
    advice = 'Use device="auto" to take the best there is, or one of '
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
    """The precision scores are computed in.

    Parameters
    ----------
    scoring_dtype : {"auto", "float32", "float64", "bfloat16"}
        "auto" is float64 for tables, where a row scored alone and in a batch then
        agree to 1e-15 for 1.6 times the time, and float32 for images, where float64
        costs 3 times as much; float32 on mps, which has no other. "bfloat16" keeps
        float32 and lowers the precision of products alone (`precision`).
    is_image : bool
        Whether the network is convolutional.
    device : torch.device

    Returns
    -------
    dtype : torch.dtype

    Raises
    ------
    ValueError
        If float64 is asked for on mps.
    """
    if scoring_dtype == "auto":
        exact = not is_image and device.type != "mps"
        return torch.float64 if exact else torch.float32
    if scoring_dtype == "float64" and device.type == "mps":
        raise ValueError(
            'scoring_dtype="float64" was asked for, but mps has no float64. '
            'Use scoring_dtype="float32" or device="cpu".'
        )
    return torch.float64 if scoring_dtype == "float64" else torch.float32


def precision(scoring_dtype: str, device: torch.device) -> AbstractContextManager[Any]:
    """What scoring runs in: bfloat16 products where they are asked for.

    Of this thread alone, and over when scoring is. TF32, on GPUs that have it, is a
    setting of the whole process and left to ``torch.set_float32_matmul_precision``.
    """
    if scoring_dtype == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def chunk_length(floats_per_row: int, dtype: torch.dtype, device: torch.device) -> int:
    """Rows to score at once within the memory that scoring may hold.

    Parameters
    ----------
    floats_per_row : int
        Numbers held for each row while it is scored.
    dtype : torch.dtype
        Of these numbers.
    device : torch.device
        Where they are held.

    Returns
    -------
    length : int
        At least 1.
    """
    allowed = MEMORY_BYTES
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        allowed = min(CUDA_MEMORY_BYTES, free // 4)
    return max(1, allowed // (floats_per_row * dtype.itemsize))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # On CPU and mps torch raises a plain RuntimeError.
    told = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(t in str(error) for t in told)

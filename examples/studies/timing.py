"""Time the sides of a comparison, and compute ratios with their spread."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

__all__ = ["Spread", "ratios", "seconds", "spread"]


class Spread(NamedTuple):
    """Median, lowest and highest of several measurements."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Format with three digits, such as ``1.02 (0.97 to 1.1)``."""
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(values: Sequence[float]) -> Spread:
    """Compute median, lowest and highest value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(side: Sequence[float], other: Sequence[float]) -> Spread:
    """Divide one side by the other in each turn: the load of the machine cancels."""
    return spread([a / b for a, b in zip(side, other, strict=True)])


def seconds(
    function: Callable[[], object], device: "torch.device | None" = None
) -> float:
    """Time a call, up to the end of its work on the device."""
    _wait(device)
    started = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: "torch.device | None") -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)

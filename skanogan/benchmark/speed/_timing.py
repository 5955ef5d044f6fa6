"""Sides of a comparison timed in turn, and ratios with their spread."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

__all__ = ["Spread", "alternate", "ratios", "seconds", "spread"]


class Spread(NamedTuple):
    """The middle of several measurements, and their ends."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Three digits each, as ``1.02 (0.97 to 1.1)``."""
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(side: Sequence[float], other: Sequence[float]) -> Spread:
    """One side over the other, turn by turn: a slow moment slows both."""
    return spread([a / b for a, b in zip(side, other, strict=True)])


def seconds(
    function: Callable[[], object], device: "torch.device | None" = None
) -> float:
    """How long a call takes, with what it left running on the device."""
    _wait(device)
    started = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - started


def alternate(
    sides: Mapping[str, Callable[[], object]],
    n_rounds: int,
    device: "torch.device | None" = None,
) -> dict[str, list[float]]:
    """Time each side once a round.

    Parameters
    ----------
    sides : mapping of str to callable
        What is compared.
    n_rounds : int
        How often.
    device : torch.device, default=None
        Waited for before and after each call, if it is a GPU.

    Returns
    -------
    times : dict of str to list of float
        Seconds, by side and round.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, function in sides.items():
            times[name].append(seconds(function, device))
    return times


def _wait(device: "torch.device | None") -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)

"""An exponential moving average of a network's weights, which scores better."""

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Average"]


Network = TypeVar("Network", bound=nn.Module)


class Average(nn.Module, Generic[Network]):
    """A copy of a network that follows it slowly while it trains.

    Parameters
    ----------
    network : nn.Module
        What is copied and followed.
    decay : float
        Share of the average that each update keeps; 0 makes it a plain copy.
    """

    def __init__(self, network: Network, decay: float) -> None:
        super().__init__()
        self.network: Network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.n_updates = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move a little towards the network as it is now."""
        self.n_updates += 1
        # Short at first, so that the random start is forgotten.
        n_updates = int(self.n_updates)
        keep = min(self.decay, n_updates / (n_updates + 9))
        averaged = list(_floats(self.network))
        torch._foreach_lerp_(averaged, list(_floats(network)), 1 - keep)


def _floats(network: nn.Module) -> Iterator[Tensor]:
    """All weights and running statistics, in a fixed order."""
    buffers = (b for b in network.buffers() if b.is_floating_point())
    return chain((p.detach() for p in network.parameters()), buffers)

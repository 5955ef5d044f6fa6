"""An exponential moving average of a network's weights, which scores better."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(nn.Module, Generic[Network]):
    """Copy of a network that follows it slowly while it trains.

    Parameters
    ----------
    network : torch.nn.Module
        Network to copy.
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
        """Move the average towards the current weights.

        Parameters
        ----------
        network : torch.nn.Module
            The network that trains.
        """
        self.n_updates += 1
        # The first updates keep less, so that the initial weights are forgotten.
        n_updates = int(self.n_updates)
        keep = min(self.decay, n_updates / (n_updates + 9))
        torch._foreach_lerp_(_floats(self.network), _floats(network), 1 - keep)


def _floats(network: nn.Module) -> list[Tensor]:
    """All weights and running statistics, in a fixed order."""
    buffers = [b for b in network.buffers() if b.is_floating_point()]
    return [*(p.detach() for p in network.parameters()), *buffers]

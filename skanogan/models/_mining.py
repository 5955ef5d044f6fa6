"""When OCGAN begins to mine informative negatives; the paper does not say."""

import torch
from torch import Tensor

from skanogan._runtime.processes import joined_mean, joined_variance

__all__ = ["MiningStart"]

SMOOTHING = 0.95
"""Decay of the running means, which therefore cover about 20 updates."""

UNEXPLAINED = 0.5
"""Mining waits until reconstructions leave less than this share of the variance."""

BELIEVED = 0.25
"""Mining also waits until D_v gives generated rows this mean probability of being
real; 0.5 would mean that it cannot tell them apart."""

CHECK_EVERY = 10
"""Updates between two looks at the running means, since reading them stalls a GPU."""


class MiningStart:
    """Decide at each update whether mining has begun. Once begun, it goes on.

    `start` is the first update that mines. "auto" waits until running means say that
    reconstructions and generated rows are good enough.
    """

    def __init__(self, start: int | str, device: torch.device) -> None:
        self._start = start
        self.n_updates = torch.zeros((), dtype=torch.int64)
        self.has_begun = torch.zeros((), dtype=torch.bool)
        self.means = torch.zeros(3, device=device)

    def update(self, x: Tensor, error: Tensor, belief: Tensor) -> bool:
        """Count one update and tell whether to mine in it.

        `x` is the batch (n, ...) on the networks' scale, `error` the mean squared error
        of its reconstructions, `belief` the mean probability that D_v gives to
        generated rows.
        """
        self.n_updates += 1
        if self.has_begun:
            return True
        if self._start != "auto":
            self.has_begun.copy_(self.n_updates >= int(self._start))
            return bool(self.has_begun)
        variance = joined_variance(x).mean()
        now = joined_mean(torch.stack([error.detach(), variance, belief]))
        self.means.mul_(SMOOTHING).add_(now, alpha=1 - SMOOTHING)
        if self.n_updates % CHECK_EVERY == 0:
            weight = 1 - SMOOTHING ** int(self.n_updates)
            mean_error, mean_variance, mean_belief = (self.means / weight).tolist()
            self.has_begun.fill_(
                mean_error < UNEXPLAINED * mean_variance and mean_belief >= BELIEVED
            )
        return bool(self.has_begun)

"""Distributions of the latent."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skanogan._runtime.processes import draw

__all__ = ["PRIORS", "Prior"]

PRIORS = ("normal", "uniform")


@dataclass(frozen=True)
class Prior:
    """Distribution p(z) with independent coordinates.

    Parameters
    ----------
    name : {"normal", "uniform"}
        N(0, I), or uniform on (-1, 1)^d.
    """

    name: str

    def sample(self, n: int, latent_dim: int, rng: torch.Generator) -> Tensor:
        """Draw latents.

        Parameters
        ----------
        n, latent_dim : int
            Number of latents, and the dimension of each.
        rng : torch.Generator
            Source of randomness.

        Returns
        -------
        latents : Tensor of shape (n, latent_dim)
            On the device of `rng`, in float32.
        """
        function = torch.randn if self.name == "normal" else torch.rand
        options = {"generator": rng, "device": rng.device, "dtype": torch.float32}
        latents = draw(function, (n, latent_dim), **options)
        return latents if self.name == "normal" else latents * 2 - 1

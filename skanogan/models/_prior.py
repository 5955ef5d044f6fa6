"""Distributions of the latent."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skanogan.models._processes import draw

__all__ = ["PRIORS", "Prior"]


@dataclass(frozen=True)
class Prior:
    """p(z) with independent coordinates.

    Parameters
    ----------
    name : {"normal", "uniform"}
        N(0, I), or uniform on (-1, 1)^d as in the paper.
    """

    name: str

    def sample(self, n: int, latent_dim: int, rng: torch.Generator) -> Tensor:
        """Latents of shape (n, latent_dim), on the generator's device."""
        latents = draw(
            torch.randn if self.name == "normal" else torch.rand,
            (n, latent_dim),
            generator=rng,
            device=rng.device,
            dtype=torch.float32,
        )
        return latents if self.name == "normal" else latents * 2 - 1

    def penalty(self, z: Tensor) -> Tensor:
        """How far each latent lies from the prior's mass, (n, latent_dim) to (n,).

        The squared norm, -2 log p(z) up to a constant, for the normal prior; the
        squared distance to the box for the uniform one, inside which all z are equal.
        """
        if self.name == "normal":
            return z.square().sum(1)
        return (z.abs() - 1).clamp(min=0).square().sum(1)


PRIORS = ("normal", "uniform")

"""The search as ports of AnoGAN write it: a loop of Adam for each image."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["bare_search"]


def bare_search(
    generator: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    n_steps: int,
    step_size: float,
    weight: float,
) -> tuple[Tensor, float]:
    """Search the latent of one row and score it by equations 1 to 5 of the paper.

    The networks are frozen, so that gradients are computed for z alone, and f(x) is
    computed once. A port that omits either is slower.

    Parameters
    ----------
    generator : callable
        From (1, latent_dim) to a row.
    features : callable
        The f of the discriminator, from a row to (1, p).
    x : Tensor of shape (1, ...)
        On the scale of the networks.
    start : Tensor of shape (1, latent_dim)
        Latent to start from. It is not changed.
    n_steps : int
        Number of steps of Adam.
    step_size : float
        Learning rate of Adam.
    weight : float
        The paper's lambda.

    Returns
    -------
    latent : Tensor of shape (1, latent_dim)
        Latent after the last step.
    score : float
        Loss of this latent.
    """
    z = start.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([z], lr=step_size)
    with torch.no_grad():
        target = features(x)

    def loss() -> Tensor:
        drawn = generator(z)
        residual = (x - drawn).abs().sum()
        matching = (target - features(drawn)).abs().sum()
        return (1 - weight) * residual + weight * matching

    for _ in range(n_steps):
        adam.zero_grad()
        loss().backward()
        adam.step()
    with torch.no_grad():
        return z.detach(), float(loss())

"""The latent search: z moves, the networks do not (Schlegl et al. 2017)."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["descend"]


def descend(
    loss: Callable[[Tensor], Tensor], start: Tensor, n_steps: int, step_size: float
) -> Tensor:
    """Adam on each row's latent, all rows at once.

    A row's loss depends on its own latent only and Adam's state is per element, so
    searching many rows together is the search of each alone, up to rounding.

    Parameters
    ----------
    loss : callable
        Latents of shape (n, latent_dim) to losses of shape (n,), row by row.
    start : Tensor of shape (n, latent_dim)
        Left as it is.
    n_steps : int
        0 returns the start.
    step_size : float
        Adam's learning rate.

    Returns
    -------
    latents : Tensor of shape (n, latent_dim)
        After the last step, as in the paper, not the best on the way.
    """
    z = start.detach().clone()
    adam = torch.optim.Adam([z], lr=step_size)
    for _ in range(n_steps):
        with torch.enable_grad():
            z.requires_grad_(True)
            total = loss(z).sum()
            (z.grad,) = torch.autograd.grad(total, z)
        adam.step()
    return z.detach()

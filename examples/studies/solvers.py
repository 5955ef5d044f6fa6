"""Optimisers of second order for the latent search, tried by the study `search`."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["gauss_newton", "lbfgs"]

Residuals = Callable[[Tensor, Tensor], Tensor]


def gauss_newton(residuals: Residuals, z: Tensor, f: Tensor, n_steps: int) -> Tensor:
    """Search by the method of Levenberg and Marquardt, for all rows at once.

    Parameters
    ----------
    residuals : callable
        From latents (n, q) and targets (n, ...) to residuals (n, p), row by row.
    z : Tensor of shape (n, q)
        Latents to start from.
    f : Tensor of shape (n, ...)
        Targets.
    n_steps : int
        Number of steps. Each takes q forward derivatives.

    Returns
    -------
    latents : Tensor of shape (n, q)
        Latents with the least loss so far.
    """
    eye = torch.eye(z.shape[1], dtype=z.dtype)
    damping = torch.ones(len(z), 1, 1, dtype=z.dtype)
    r = residuals(z, f)
    for _ in range(n_steps):
        columns = torch.func.vmap(
            lambda t, z=z: torch.func.jvp(
                lambda z: residuals(z, f), (z,), (t.expand_as(z),)
            )[1]
        )(eye)
        jacobian = columns.permute(1, 2, 0)
        normal = jacobian.mT @ jacobian
        slope = jacobian.mT @ r[:, :, None]
        scale = normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        tried = z - torch.linalg.solve(normal + damping * scale * eye, slope)[:, :, 0]
        r_tried = residuals(tried, f)
        better = r_tried.square().sum(1) < r.square().sum(1)
        z = torch.where(better[:, None], tried, z)
        r = torch.where(better[:, None], r_tried, r)
        damping = damping * torch.where(better, 0.3, 4.0)[:, None, None]
    return z


def lbfgs(residuals: Residuals, z: Tensor, f: Tensor, n_steps: int) -> Tensor:
    """Search by torch's L-BFGS, with its line search, on the sum over rows.

    All rows share one step length and one history. The latent of a row therefore
    depends on the other rows, which is not allowed in a detector.

    Parameters
    ----------
    residuals : callable
        As in `gauss_newton`.
    z : Tensor of shape (n, q)
        Latents to start from.
    f : Tensor of shape (n, ...)
        Targets.
    n_steps : int
        Largest number of steps. The line search takes several evaluations for each.

    Returns
    -------
    latents : Tensor of shape (n, q)
        Latents after the last step.
    """
    z = z.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [z], max_iter=n_steps, line_search_fn="strong_wolfe", tolerance_grad=0
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = residuals(z, f).square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return z.detach()

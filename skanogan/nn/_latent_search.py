"""Search for latents by gradient descent with frozen networks (Schlegl et al. 2017)."""

from collections.abc import Callable

import torch
from torch import Tensor

from skanogan._runtime.exit import may_stop

__all__ = ["descend"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Settings of Adam."""

WARM_UP = 3
"""Steps before a step is captured, as PyTorch asks for."""


def descend(
    loss: Callable[..., Tensor],
    start: Tensor,
    n_steps: int,
    step_size: float,
    targets: tuple[Tensor, ...] = (),
) -> Tensor:
    """Minimise a loss over each row's latent with Adam, all rows at once.

    The loss of a row depends on its own latent only, and the state of Adam is kept per
    element, so each row is searched as if it were alone, up to rounding.

    Parameters
    ----------
    loss : callable
        Function ``loss(z, *targets)`` of shape (n,), one value per row.
    start : Tensor of shape (n, latent_dim)
        Initial latents. They are not changed.
    n_steps : int
        Number of steps; 0 returns the start.
    step_size : float
        Learning rate of Adam.
    targets : tuple of Tensor of shape (n, ...), default=()
        Further arguments of the loss.

    Returns
    -------
    latents : Tensor of shape (n, latent_dim)
        Latents after the last step, as in the paper, not those of least loss.
    """
    search = _Adam(loss, start.detach().clone(), targets, step_size)
    search.run(n_steps)
    return search.z


class _Adam:
    """Latents z (n, latent_dim), their moments, and the step that moves them.

    All are changed in place and on the device, so that a step can be captured once and
    replayed.
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        z: Tensor,
        targets: tuple[Tensor, ...],
        step_size: float,
    ) -> None:
        self._loss = loss
        self._targets = targets
        self._step_size = step_size
        self.z = z
        self.first = torch.zeros_like(z)
        self.second = torch.zeros_like(z)
        # beta^t, for the bias correction of the moments.
        self.decays = torch.ones(2, dtype=z.dtype, device=z.device)
        self._betas = torch.tensor([BETA_1, BETA_2], dtype=z.dtype, device=z.device)

    def run(self, n_steps: int) -> None:
        step: Callable[[], None] = self._step
        if self.z.device.type == "cuda" and n_steps > WARM_UP:
            step = self._captured() or self._step
        for _ in range(n_steps):
            may_stop()
            step()

    def _step(self) -> None:
        with torch.enable_grad():
            z = self.z.detach().requires_grad_(True)
            losses = self._loss(z, *self._targets)
            (gradient,) = torch.autograd.grad(losses.sum(), z)
        self.decays.mul_(self._betas)
        self.first.lerp_(gradient, 1 - BETA_1)
        self.second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        first = self.first / (1 - self.decays[0])
        second = (self.second / (1 - self.decays[1])).sqrt_().add_(EPSILON)
        self.z.addcdiv_(first, second, value=-self._step_size)

    def _captured(self) -> Callable[[], None] | None:
        """Capture the step as one CUDA graph; None where it cannot be captured.

        A step is some sixty small kernels, whose launches take longer than they do.
        """
        state = (self.z, self.first, self.second, self.decays)
        kept = [tensor.clone() for tensor in state]
        graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream(self.z.device)
        try:
            side.wait_stream(torch.cuda.current_stream(self.z.device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self._step()
            torch.cuda.current_stream(self.z.device).wait_stream(side)
            # Other threads may allocate memory meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step()
        except RuntimeError:
            # For instance a network of the user's that waits for the host.
            return None
        finally:
            for tensor, values in zip(state, kept, strict=True):
                tensor.copy_(values)
        return graph.replay

"""The latent search: z moves, the networks do not (Schlegl et al. 2017)."""

from collections.abc import Callable

import torch
from torch import Tensor

from skanogan.models._exit import may_stop

__all__ = ["CHECK_EVERY", "descend"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's."""

CHECK_EVERY = 10
"""Steps between two looks at which rows have converged: the host waits for each."""

WARM_UP = 3
"""Steps before a step is captured, as PyTorch asks for."""


def descend(
    loss: Callable[..., Tensor],
    start: Tensor,
    n_steps: int,
    step_size: float,
    targets: tuple[Tensor, ...] = (),
    tol: float = 0.0,
) -> Tensor:
    """Adam on each row's latent, all rows at once.

    A row's loss depends on its own latent only and Adam's state is per element, so
    searching many rows together is the search of each alone, up to rounding. That
    holds for stopping, too: a row leaves when its own loss has settled.

    Parameters
    ----------
    loss : callable
        ``loss(z, *targets)``, of shape (n,), row by row.
    start : Tensor of shape (n, latent_dim)
        Left as it is.
    n_steps : int
        0 returns the start.
    step_size : float
        Adam's learning rate.
    targets : tuple of Tensor of shape (n, ...), default=()
        What each row is compared with.
    tol : float, default=0.0
        A row rests once ten steps have changed its loss by no more than this share of
        it; 0 takes every step, as in the paper. A loss that has risen is not at rest:
        momentum carries rows past their minimum and back.

    Returns
    -------
    latents : Tensor of shape (n, latent_dim)
        After the last step, as in the paper, not the best on the way.
    """
    found = start.detach().clone()
    active = torch.arange(len(start), device=start.device)
    search = _Adam(loss, found.clone(), targets, step_size)
    before = torch.full_like(found[:, 0], torch.inf)
    for done in range(0, n_steps, CHECK_EVERY):
        if not tol:
            search.run(n_steps)
            return search.z
        search.run(min(CHECK_EVERY, n_steps - done))
        change = (before - search.loss_before).abs()
        moving = change > tol * search.loss_before.abs()
        found[active] = search.z
        active, before = active[moving], search.loss_before[moving]
        if len(active) == 0:
            break
        search = search.of(moving)
    return found


class _Adam:
    """Latents, their moments, and the step that moves them.

    Everything is changed in place and counted on the device, so that a step can be
    captured once and replayed.

    Parameters
    ----------
    loss, targets, step_size
        As in `descend`.
    z : Tensor of shape (n, latent_dim)
        Moved in place.
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
        # beta^t: what the moments lack of an average over t steps.
        self.decays = torch.ones(2, dtype=z.dtype, device=z.device)
        self._betas = torch.tensor([BETA_1, BETA_2], dtype=z.dtype, device=z.device)
        self.loss_before = torch.zeros_like(z[:, 0])

    def of(self, rows: Tensor) -> "_Adam":
        """The search of some of the rows, from where it stands."""
        targets = tuple(target[rows] for target in self._targets)
        part = _Adam(self._loss, self.z[rows], targets, self._step_size)
        part.first, part.second = self.first[rows], self.second[rows]
        part.decays = self.decays
        return part

    def run(self, n_steps: int) -> None:
        """Take this many steps."""
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
        self.loss_before.copy_(losses.detach())
        self.decays.mul_(self._betas)
        self.first.lerp_(gradient, 1 - BETA_1)
        self.second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        first = self.first / (1 - self.decays[0])
        second = (self.second / (1 - self.decays[1])).sqrt_().add_(EPSILON)
        self.z.addcdiv_(first, second, value=-self._step_size)

    def _captured(self) -> Callable[[], None] | None:
        """The step as one CUDA graph; None where it cannot be captured.

        A step is some sixty small kernels, whose launches cost more than they do.
        """
        state = (self.z, self.first, self.second, self.decays, self.loss_before)
        kept = [tensor.clone() for tensor in state]
        graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream(self.z.device)  # type: ignore[no-untyped-call]
        try:
            side.wait_stream(torch.cuda.current_stream(self.z.device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self._step()
            torch.cuda.current_stream(self.z.device).wait_stream(side)
            # Other threads may ask for memory meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step()
        except RuntimeError:
            # A network of the user's that waits for the host, for instance.
            return None
        finally:
            for tensor, values in zip(state, kept, strict=True):
                tensor.copy_(values)
        return graph.replay

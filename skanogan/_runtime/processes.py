"""Train in several processes. No other module uses torch.distributed.

Every process has all weights and takes its own rows of each batch. Up to rounding, the
result is that of one process with the whole batch:

- each process draws the noise of the whole batch and keeps that of its rows (`draw`);
- gradients (`share_gradients`) and the statistics of batch normalisation (`own_rows`)
  are means over all rows, also where gradients pass through these statistics;
- decisions use equal values (`joined_mean`, `joined_variance`, `from_first`).

A mean over all rows is the mean of the means of the processes, each weighted by its
share of the rows. Gradients use the same formula. For L = sum_r w_r L_r, where process
r has L_r, and m = sum_r w_r m_r,

    (1 / w_r) dL/dm_r = sum_s w_s dL_s/dm.

So each process stores gradients divided by its own weight. They pass back through a
mean by the same weighted mean, and at the end each process multiplies by its weight.

Without a process group, the functions change nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = [
    "copied_from_first",
    "draw",
    "from_first",
    "is_first",
    "joined_mean",
    "joined_variance",
    "local_index",
    "n_processes",
    "own_rows",
    "row_gradients",
    "share_gradients",
    "summed",
    "weighted",
]

Value = TypeVar("Value")

ROWS_EACH = 2
"""The smallest number of rows per process in a batch, since a variance needs two."""


def n_processes() -> int:
    """Return how many processes train together; 1 without a process group."""
    together = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if together else 1


def is_first() -> bool:
    """Whether this process is the first, which prints and writes files."""
    return n_processes() == 1 or dist.get_rank() == 0


def local_index() -> int | None:
    """Return the number of this process on its machine, if torchrun set one."""
    together = dist.is_available() and dist.is_initialized()
    index = os.environ.get("LOCAL_RANK")
    return int(index) if together and index is not None else None


# Rows of one update -----------------------------------------------------------


@dataclass(frozen=True)
class _Share:
    """Rows of this process: `start` to `stop` of the `n` rows of a batch."""

    start: int
    stop: int
    n: int

    @property
    def weight(self) -> float:
        return (self.stop - self.start) / self.n


# The share of the current update. It is not an argument of the models, which are
# written as if they had the whole batch.
_SHARE: ContextVar[_Share | None] = ContextVar("share", default=None)


@contextmanager
def own_rows(positions: Tensor, model: nn.Module) -> Iterator[Tensor]:
    """Select the rows of this process from a batch, for one update.

    `positions`, of shape (n,), are those of the whole batch in all processes. Within
    the block, the batch normalisation of `model` uses the statistics of this batch.
    """
    if n_processes() == 1:
        yield positions
        return
    parts = positions.tensor_split(n_processes())
    start = sum(map(len, parts[: dist.get_rank()]))
    own = parts[dist.get_rank()]
    token = _SHARE.set(_Share(start, start + len(own), len(positions)))
    try:
        with _joined_batch_norm(model):
            yield own
    finally:
        _SHARE.reset(token)


def draw(
    distribution: Callable[..., Tensor], shape: tuple[int, ...], **options: Any
) -> Tensor:
    """Draw noise for the rows of this process, whose number is ``shape[0]``.

    `distribution` is ``torch.randn`` or ``torch.rand``. `options` are its generator,
    device and dtype.
    """
    share = _SHARE.get()
    if share is None:
        return distribution(shape, **options)
    assert shape[0] == share.stop - share.start
    whole = distribution((share.n, *shape[1:]), **options)
    return whole[share.start : share.stop]


# Means over all rows -----------------------------------------------------------


class _WeightedMean(torch.autograd.Function):
    """sum_r w_r m_r, in the forward and (see above) in the backward pass."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        mean = (own * weight).contiguous()
        dist.all_reduce(mean)
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # The same function, so that there is a second derivative.
        return _weighted_mean(gradients[0], ctx.weight), None


def _weighted_mean(own: Tensor, weight: float) -> Tensor:
    mean: Tensor = _WeightedMean.apply(own, weight)
    return mean


def joined_mean(own: Tensor) -> Tensor:
    """Compute the mean over all rows of the batch from that over own rows."""
    share = _SHARE.get()
    return own if share is None else _weighted_mean(own, share.weight)


def joined_variance(x: Tensor) -> Tensor:
    """Compute ``x.var(0)``, unbiased, over all rows of the batch."""
    share = _SHARE.get()
    if share is None:
        return x.var(0)
    variance = _moments(x, (0,))[1]
    return variance * (share.n / (share.n - 1))


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Compute mean and biased variance over all rows, in two passes for accuracy."""
    mean = joined_mean(x.mean(dims, keepdim=True))
    variance = joined_mean((x - mean).square().mean(dims, keepdim=True))
    return mean, variance


def weighted(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight means over own rows so that their sum over processes is the mean."""
    share = _SHARE.get()
    if share is None:
        return losses
    return {name: loss * share.weight for name, loss in losses.items()}


def summed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up scalars over the processes."""
    if n_processes() == 1 or not values:
        return values
    together = torch.stack(list(values.values()))
    dist.all_reduce(together)
    return dict(zip(values, together, strict=True))


# Gradients ---------------------------------------------------------------------


def row_gradients(values: Tensor, x: Tensor) -> Tensor:
    """Differentiate the sum of the values of all rows with respect to own rows.

    `values`, of shape (n,), depend on `x`, of shape (n, ...), and through batch
    normalisation on the other rows. The gradient can be differentiated again.
    """
    share = _SHARE.get()
    total = values.sum()
    if share is None:
        return torch.autograd.grad(total, x, create_graph=True)[0]
    # The backward pass is that of a mean, so the sum is divided by its weight first.
    mean = total / share.weight
    return torch.autograd.grad(mean, x, create_graph=True)[0] * share.weight


def share_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Replace gradients by those of the whole batch, before each step.

    The optimiser is the one place that all gradients pass. DistributedDataParallel
    wraps the forward pass of a module. It would not see ``discriminator.features``, a
    part of a network, or the second derivative of a gradient penalty, and it gives all
    processes the same weight.
    """
    if n_processes() > 1:
        optimizer.register_step_pre_hook(_join_gradients)


@torch.no_grad()
def _join_gradients(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    share = _SHARE.get()
    if share is None:
        return
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    gradients = [w.grad for w in weights if w.grad is not None]
    # One message for all gradients, since most of these tensors are small.
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat *= share.weight
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


# Batch normalisation -----------------------------------------------------------


@contextmanager
def _joined_batch_norm(network: nn.Module) -> Iterator[None]:
    """Normalise by the statistics of the whole batch within the block.

    torch's SyncBatchNorm refuses tensors on the CPU and has no second derivative. Here
    only the forward passes change: names, weights and running statistics stay.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    for layer in layers:
        layer.forward = partial(_normalize, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _normalize(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Apply `layer` to x with the statistics of the whole batch."""
    share = _SHARE.get()
    if share is None or not layer.training:
        return type(layer).forward(layer, x)
    layer._check_input_dim(x)
    mean, variance = _moments(x, (0, *range(2, x.ndim)))
    if layer.track_running_stats:
        _update_statistics(layer, mean, variance, x.numel() // x.shape[1], share)
    normalized = (x - mean) * (variance + layer.eps).rsqrt()
    if layer.affine:
        shape = mean.shape
        normalized = normalized * layer.weight.view(shape) + layer.bias.view(shape)
    return normalized


@torch.no_grad()
def _update_statistics(
    layer: _BatchNorm, mean: Tensor, variance: Tensor, n_own: int, share: _Share
) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = layer.momentum
    if momentum is None:
        momentum = 1.0 / float(layer.num_batches_tracked)
    n = n_own * share.n / (share.stop - share.start)
    layer.running_mean.lerp_(mean.flatten(), momentum)
    layer.running_var.lerp_(variance.flatten() * (n / (n - 1)), momentum)


# Values of the first process ---------------------------------------------------


def from_first(value: Value, device: torch.device) -> Value:
    """Return the picklable value of the first process, in all processes.

    The processes communicate over `device`.
    """
    if n_processes() == 1:
        return value
    holder = [value if is_first() else None]
    dist.broadcast_object_list(holder, src=0, device=device)
    return value if is_first() else holder[0]  # type: ignore[return-value]


@torch.no_grad()
def copied_from_first(model: nn.Module) -> None:
    """Copy all weights and buffers from the first process.

    Weights drawn with the common seed are equal already. Those of networks that the
    user passed may differ.
    """
    if n_processes() > 1:
        for tensor in model.state_dict().values():
            contiguous = tensor.contiguous()
            dist.broadcast(contiguous, src=0)
            tensor.copy_(contiguous)

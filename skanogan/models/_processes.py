"""Training in several processes: all that this package knows of torch.distributed.

Every process holds all weights and takes its own rows of each batch. So that the result
is, up to rounding, that of one process with the whole batch,

- each draws the noise of the whole batch and keeps that of its own rows (`draw`);
- gradients are means over all rows (`share_gradients`), and so are the statistics of
  batch normalisation (`own_rows`), also where gradients pass through them;
- what decides (`joined_mean`, `joined_variance`, `from_first`) is equal everywhere.

A mean over all rows is the mean of the processes' means, each weighted by its share of
the rows. That is also what gradients need: for L = sum_r w_r L_r, where process r holds
L_r and m = sum_r w_r m_r,

    (1 / w_r) dL/dm_r = sum_s w_s dL_s/dm,

the weighted mean again: a process holds its gradients over its own weight, passes them
back through a mean by the same mean, and at last gives them to the others weighted.

Where no process group is initialised, nothing here does anything.
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
"""Fewest rows of a batch for each process: a variance needs two."""


def n_processes() -> int:
    """How many processes train together; 1 without a process group."""
    together = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if together else 1


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return n_processes() == 1 or dist.get_rank() == 0


def local_index() -> int | None:
    """The number of this process on its machine, where torchrun gave it one."""
    together = dist.is_available() and dist.is_initialized()
    index = os.environ.get("LOCAL_RANK")
    return int(index) if together and index is not None else None


# The rows of one update --------------------------------------------------------


@dataclass(frozen=True)
class _Share:
    """Rows start to stop, of the n of a batch, are this process's."""

    start: int
    stop: int
    n: int

    @property
    def weight(self) -> float:
        return (self.stop - self.start) / self.n


# Of the update under way. Like the process group, it is not handed through the models,
# which are written as if they saw the whole batch.
_SHARE: ContextVar[_Share | None] = ContextVar("share", default=None)


@contextmanager
def own_rows(positions: Tensor, model: nn.Module) -> Iterator[Tensor]:
    """For one update, this process's part of the batch that all processes have.

    Parameters
    ----------
    positions : Tensor of shape (n,)
        Of the whole batch, the same in all processes.
    model : nn.Module
        What is updated with them; its batch normalisation is that of the whole batch.

    Yields
    ------
    own : Tensor
        A contiguous part of them: all of them in a process alone.
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
    """Noise for the rows of this process.

    Parameters
    ----------
    distribution : callable
        ``torch.randn`` or ``torch.rand``.
    shape : tuple of int
        Its first number is that of this process's rows.
    **options
        The generator, device and dtype.
    """
    share = _SHARE.get()
    if share is None:
        return distribution(shape, **options)
    assert shape[0] == share.stop - share.start
    whole = distribution((share.n, *shape[1:]), **options)
    return whole[share.start : share.stop]


# Means over all rows -----------------------------------------------------------


class _WeightedMean(torch.autograd.Function):
    """sum_r w_r m_r, in the forward pass and, as shown above, in the backward one."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        mean = (own * weight).contiguous()
        dist.all_reduce(mean)
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Through the function again, so that it has a second derivative.
        return _weighted_mean(gradients[0], ctx.weight), None


def _weighted_mean(own: Tensor, weight: float) -> Tensor:
    mean: Tensor = _WeightedMean.apply(own, weight)  # type: ignore[no-untyped-call]
    return mean


def joined_mean(own: Tensor) -> Tensor:
    """The mean over all rows of the batch, from that over this process's."""
    share = _SHARE.get()
    return own if share is None else _weighted_mean(own, share.weight)


def joined_variance(x: Tensor) -> Tensor:
    """The unbiased variance over all rows of the batch, ``x.var(0)``."""
    share = _SHARE.get()
    if share is None:
        return x.var(0)
    variance = _moments(x, (0,))[1]
    return variance * (share.n / (share.n - 1))


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over all rows; one pass each, for the digits."""
    mean = joined_mean(x.mean(dims, keepdim=True))
    variance = joined_mean((x - mean).square().mean(dims, keepdim=True))
    return mean, variance


def weighted(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means over own rows, weighted so that their sum over processes is the mean."""
    share = _SHARE.get()
    if share is None:
        return losses
    return {name: loss * share.weight for name, loss in losses.items()}


def summed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars, added up over the processes."""
    if n_processes() == 1 or not values:
        return values
    together = torch.stack(list(values.values()))
    dist.all_reduce(together)
    return dict(zip(values, together, strict=True))


# Gradients ---------------------------------------------------------------------


def row_gradients(values: Tensor, x: Tensor) -> Tensor:
    """The gradient of the sum of all rows' values, at the rows x of this process.

    Parameters
    ----------
    values : Tensor of shape (n,)
        Made of x and, by batch normalisation, of the other rows.
    x : Tensor of shape (n, ...)

    Returns
    -------
    gradient : Tensor of shape (n, ...)
        With a derivative of its own.
    """
    share = _SHARE.get()
    total = values.sum()
    if share is None:
        return torch.autograd.grad(total, x, create_graph=True)[0]
    # A sum is no mean: by its weight, and back, it goes the way that means go.
    mean = total / share.weight
    return torch.autograd.grad(mean, x, create_graph=True)[0] * share.weight


def share_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Before each step, make gradients those of the mean over the whole batch.

    At the optimiser, because every network passes here, by whichever way it got its
    gradients. DistributedDataParallel wraps a module's forward instead: it would not
    see ``discriminator.features``, a part of a network or the second derivative of a
    gradient penalty, expects one backward pass for each forward, and gives all
    processes the same weight.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Left as it is in a process alone.
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
    # One message for all: most of these tensors are small.
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat *= share.weight
    dist.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


# Batch normalisation -----------------------------------------------------------


@contextmanager
def _joined_batch_norm(network: nn.Module) -> Iterator[None]:
    """Batch normalisation by the statistics of the whole batch.

    In place of torch's SyncBatchNorm, which refuses tensors on the CPU and has no
    second derivative. Only the forward passes of the layers change, and only for the
    time of an update: names, weights and running statistics stay where they are.
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
    """What `layer` makes of x."""
    share = _SHARE.get()
    if share is None or not layer.training:
        return type(layer).forward(layer, x)
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]
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


# One decision for all ----------------------------------------------------------


def from_first(value: Value, device: torch.device) -> Value:
    """The first process's value, in all processes.

    Parameters
    ----------
    value : object
        One that can be pickled.
    device : torch.device
        Where the messages of this process group are.
    """
    if n_processes() == 1:
        return value
    holder = [value if is_first() else None]
    dist.broadcast_object_list(holder, src=0, device=device)
    return value if is_first() else holder[0]  # type: ignore[return-value]


@torch.no_grad()
def copied_from_first(model: nn.Module) -> None:
    """Make all weights and buffers the first process's.

    Seeds are equal, and so are weights drawn by them; weights of networks that came
    with the detector may not be.
    """
    if n_processes() > 1:
        for tensor in model.state_dict().values():
            contiguous = tensor.contiguous()
            dist.broadcast(contiguous, src=0)
            tensor.copy_(contiguous)

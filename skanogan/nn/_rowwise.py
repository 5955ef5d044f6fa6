"""Tools for functions that map each row on its own."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["chunked", "floats_kept", "share_of_variance"]

CHUNK = 256
"""Rows that pass through a network at once while a model prepares its scoring."""


def chunked(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a row-wise function to 256 rows at a time and join the results.

    Parameters
    ----------
    function : callable
        Function of a Tensor of shape (k, ...) that returns a Tensor of shape (k, ...).
    rows : Tensor of shape (n, ...)
        Its inputs.

    Returns
    -------
    results : Tensor of shape (n, ...)
        The same as of one call, up to rounding.
    """
    return torch.cat([function(chunk) for chunk in torch.split(rows, CHUNK)])


def share_of_variance(
    drawn: Tensor, x: Tensor, scaled: Callable[[Tensor], Tensor]
) -> float:
    """Divide the total variance of generated rows by that of real rows.

    Parameters
    ----------
    drawn, x : Tensor of shape (k, ...) and (m, ...)
        Generated rows on the networks' scale, and real rows in X's units.
    scaled : callable
        From X's units to the networks' scale, applied in chunks, since x may be of
        uint8 and takes eight times its memory once scaled.

    Returns
    -------
    share : float
        Near 0 if all generated rows are alike.
    """
    centre = drawn.mean(0)
    # On the CPU, as mps has no float64.
    moments = torch.zeros(2, *centre.shape, dtype=torch.float64)
    for chunk in torch.split(x, CHUNK):
        rows = scaled(chunk) - centre
        moments += torch.stack([rows.sum(0), rows.square().sum(0)]).cpu()
    mean, square = moments / len(x)
    variance = (square - mean.square()).sum()
    return float(drawn.var(0, correction=0).sum() / variance.clamp(min=1e-12))


def floats_kept(function: Callable[[Tensor], Tensor], rows: Tensor) -> int:
    """Count the numbers that a gradient through a row-wise function keeps per row.

    Parameters
    ----------
    function : callable
        As in `chunked`.
    rows : Tensor of shape (n, ...)
        A few rows to try it on.

    Returns
    -------
    n_floats : int
        Count for one row.
    """
    once, out = _kept(function, rows)
    twice, _ = _kept(function, torch.cat((rows, rows)))
    # Weights are kept as well, and do not grow with the rows.
    grown = [more - less for less, more in zip(once, twice, strict=False)]
    # The output, its gradient, and the widest gradient inside the network.
    return (sum(grown) + 2 * out + max(grown, default=0)) // len(rows)


def _kept(function: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[list[int], int]:
    """Sizes of the tensors that autograd keeps, and of the output."""
    kept: dict[int, Tensor] = {}

    def count(tensor: Tensor) -> None:
        # The tensor is held, so that no other one takes its address. Its history is
        # not: a node of the graph must not keep a reference to itself, or both are
        # never freed (2 MB per fit of images).
        kept[tensor.data_ptr()] = tensor.detach()

    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing)
    with torch.enable_grad(), hooks:
        out = function(rows.detach().requires_grad_(True))
    return [tensor.numel() for tensor in kept.values()], out.numel()

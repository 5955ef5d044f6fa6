"""Make the arithmetic of a row the same, whatever rows are computed beside it.

A product of matrices is computed in tiles. Rows at the end of a matrix, rows at an
address that is not aligned and a row alone go through other instructions, which add in
another order: scores of equal rows differed by 5e-12 on tables and by 1e-5 on images.
If the numbers of rows and columns are completed with zeros to multiples of a tile, all
rows are computed alike. Convolutions, activations and sums over a row are so anyway.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

__all__ = ["rows_alike"]

ROWS = 8
"""Rows of a product are completed to a multiple of this number. MKL needs 4 on AVX2."""

COLUMNS = 8
"""The same for columns. Rows then begin at multiples of 32 bytes. MKL needs 2 columns
in float64 and 4 in float32."""

PARALLEL = 2**15
"""torch divides the sum of a single row of this length among threads."""

PRODUCTS = {
    *(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__),
    *(torch.mm, torch.Tensor.mm),
}

SUMS = {torch.sum, torch.Tensor.sum, torch.mean, torch.Tensor.mean}


def rows_alike(device: torch.device) -> AbstractContextManager[Any]:
    """Make results for a row independent of the other rows, in the block and thread.

    This applies to products of two matrices, such as those of `torch.nn.Linear` in any
    network, and to sums over a row. Other devices than CPUs are left as they are.

    Parameters
    ----------
    device : torch.device
        The device of the rows.

    Returns
    -------
    context : context manager
        To be entered once.
    """
    return _RowsAlike() if device.type == "cpu" else nullcontext()


class _RowsAlike(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is linear:
            return _linear(*args, **kwargs)
        if func is torch.addmm and args[0].ndim == 1:
            return _added(*args, **kwargs)
        if func in PRODUCTS and args[0].ndim == args[1].ndim == 2 and not kwargs:
            return _linear(args[0], args[1].T)
        if func in SUMS and len(args) > 1 and _is_long_row(args[0]):
            return func(args[0].expand(2, *args[0].shape[1:]), *args[1:], **kwargs)[:1]
        return func(*args, **kwargs)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if x.ndim != 2:
        if x.ndim < 2:
            return linear(x, weight, bias)
        return _linear(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])
    n, m = len(x), len(weight)
    return _cut(linear(*_completed(x, weight, bias)), n, m)


def _added(bias: Tensor, x: Tensor, matrix: Tensor, **factors: Any) -> Tensor:
    n, m = len(x), matrix.shape[1]
    x, weight, bias = _completed(x, matrix.T, bias)
    return _cut(torch.addmm(bias, x, weight.T, **factors), n, m)


def _completed(x: Tensor, weight: Tensor, bias: Any) -> tuple[Tensor, Tensor, Any]:
    """Complete rows (n, k), weights (m, k) and bias (m,) with zeros."""
    (n, k), m = x.shape, len(weight)
    more_n, more_k, more_m = -n % ROWS, -k % COLUMNS, 0
    # The columns of the product matter if the weights lie in memory by columns, and to
    # the gradient, whose product has them as its inner dimension.
    if torch.is_grad_enabled() or not weight.is_contiguous():
        more_m = -m % COLUMNS
    if more_n or more_k:
        x = pad(x, (0, more_k, 0, more_n))
    if more_k or more_m:
        weight = pad(weight, (0, more_k, 0, more_m))
    if more_m and bias is not None:
        bias = pad(bias, (0, more_m))
    return x, weight, bias


def _cut(products: Tensor, n: int, m: int) -> Tensor:
    if products.shape == (n, m):
        return products
    return products[:n, :m].contiguous()


def _is_long_row(x: Tensor) -> bool:
    return x.ndim > 1 and len(x) == 1 and x.numel() >= PARALLEL

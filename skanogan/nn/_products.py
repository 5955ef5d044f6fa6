"""Make the arithmetic of a row the same, whatever rows are computed beside it.

A product of matrices is computed in tiles. Rows at the end of a matrix, rows at an
address that is not aligned and a row alone go through other instructions, which add in
another order: scores of equal rows differed by 5e-12 on tables and by 1e-5 on images.
If the numbers of rows and columns are completed with zeros to multiples of a tile, and
products of many columns are added up from parts, all rows are computed alike.
Convolutions by oneDNN, activations and sums over a short row need no change.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

__all__ = ["rows_alike", "rows_of_tile"]

ROWS = 16, 96
"""Rows of a product are completed to a multiple of one of these. MKL's kernels for
AVX-512 need 8 rows in float64 and 16 in float32. Those for AVX2 need 4 rows for most
products, and 96 for some, which are else added in another order."""

COLUMNS = 8
"""The same for columns. Rows then begin at multiples of 32 bytes. MKL needs 2 columns
in float64 and 4 in float32."""

DEPTH = 128
"""Most columns of a product. On AVX-512, the order of a longer sum depends on the
number of threads and, from 192 rows on, of rows: seen with 256 columns in float64."""

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
    network, to convolutions of images, and to sums over a row. Other devices than CPUs
    are left as they are.

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


@cache
def rows_of_tile() -> int:
    """Find the number in `ROWS` that makes rows alike on this processor, in .1 s."""
    few, many = ROWS
    dtypes, sizes = (torch.float64, torch.float32), (64, 128, 256, 512, 2048)
    enough = all(_are_alike(few, many, m, dtype) for m in sizes for dtype in dtypes)
    return few if enough else many


def _are_alike(few: int, many: int, m: int, dtype: torch.dtype) -> bool:
    """Whether equal rows have equal products, for several numbers of rows."""
    waves = torch.arange(8 * (m + 1), dtype=dtype, device="cpu").sin().view(m + 1, 8)
    products = [
        linear(waves[:1].repeat(n, 1), waves[1:]) for n in (few, 2 * few, 11 * many)
    ]
    return all(torch.equal(each, products[0][:1].expand_as(each)) for each in products)


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
        if func is torch.conv2d:
            return _convolved(*args, **kwargs)
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
    return _product(x, weight, bias)


def _added(bias: Tensor, x: Tensor, matrix: Tensor, **factors: Any) -> Tensor:
    return _product(x, matrix.T, bias, **factors)


def _product(x: Tensor, weight: Tensor, bias: Any, **factors: Any) -> Tensor:
    n, m = len(x), len(weight)
    x, weight, bias = _completed(x, weight, bias)
    rows, *more_rows = x.split(DEPTH, dim=1)
    columns, *more_columns = weight.split(DEPTH, dim=1)
    if factors:
        found = torch.addmm(bias, rows, columns.T, **factors)
    else:
        found = linear(rows, columns, bias)
    add = torch.addmm if torch.is_grad_enabled() else torch.Tensor.addmm_
    for part, other in zip(more_rows, more_columns, strict=True):
        found = add(found, part, other.T, alpha=factors.get("alpha", 1))
    return found if found.shape == (n, m) else found[:n, :m].contiguous()


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve by oneDNN. torch takes another algorithm for a few small images."""
    has_it = x.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    if not has_it or x.ndim != 4 or isinstance(padding, str):
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    pairs = (2 * [n] if isinstance(n, int) else n for n in (padding, stride, dilation))
    convolution: Any = torch.ops.aten.mkldnn_convolution
    found: Tensor = convolution(x, weight, bias, *pairs, groups)
    return found


def _completed(x: Tensor, weight: Tensor, bias: Any) -> tuple[Tensor, Tensor, Any]:
    """Complete rows (n, k), weights (m, k) and bias (m,) with zeros."""
    (n, k), m = x.shape, len(weight)
    more_n, more_k, more_m = -n % rows_of_tile(), -k % COLUMNS, 0
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


def _is_long_row(x: Tensor) -> bool:
    return x.ndim > 1 and len(x) == 1 and x.numel() >= PARALLEL

"""Maps of where the features of a row differ from those of its reconstruction.

A convolution keeps positions. The hidden maps h_b of a row x and of its reconstruction
x' are compared block by block and position by position,

    M(x) = mean over blocks b of  d_b^T S_b^-1 d_b / channels,   d_b = h_b(x) - h_b(x'),

where S_b is the second moment of d_b over the positions of normal rows, and each
block's map is stretched to the size of the image. On average over normal rows M is 1.

Other networks have no positions. For them the whitened distance A between the features
of two rows (`_metric.py`) is divided among the entries along the line from x' to x,

    M(x)_i = |x - x'|_i |mean over t in (0, 1) of dA/dx_i at x' + t (x - x')|;

with their signs, these shares add up to A (Sundararajan et al. 2017, "integrated
gradients").
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from skanogan.nn._metric import WhitenedMetric
from skanogan.nn._networks import Stack, hidden_outputs

__all__ = [
    "by_features",
    "by_gradient",
    "by_position",
    "hidden_maps",
    "position_metrics",
    "reference_images",
]

REFERENCE_IMAGES = 64
"""Number of normal images to estimate S_b from. 64 images of 32 x 32 pixels have 16,384
positions in the first block that halves them, for its 32 channels."""

SHRINKAGE = 0.1
"""Share of the mean variance added to every direction, as for whole images."""

N_GRADIENTS = 4
"""Points on the line from x' to x. With one the changed column of a table is found less
often, with sixteen not more often (docs/localisation.md)."""


def reference_images(rows: Tensor) -> Tensor:
    """Take rows from the whole range, since neighbours are often alike."""
    return rows[:: max(1, len(rows) // REFERENCE_IMAGES)][:REFERENCE_IMAGES]


# By position --------------------------------------------------------------------


def hidden_maps(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs (n, c, h, w) of the blocks of a `Stack` that keep positions."""
    outputs = hidden_outputs(network, x) if isinstance(network, Stack) else []
    return [output for output in outputs if output.ndim == 4]


def position_metrics(network: nn.Module, x: Tensor, drawn: Tensor) -> nn.ModuleList:
    """Estimate S_b of each block from normal rows (m, ...) and reconstructions."""
    here, there = hidden_maps(network, x), hidden_maps(network, drawn)
    return nn.ModuleList(
        WhitenedMetric.fit((a - b).movedim(1, -1).flatten(0, 2), SHRINKAGE)
        for a, b in zip(here, there, strict=True)
    ).eval()


def by_position(
    network: nn.Module, metrics: nn.ModuleList, x: Tensor, drawn: Tensor
) -> Tensor:
    """M(x) from hidden maps, (n, C, H, W) to (n, 1, H, W)."""
    assert isinstance(network, Stack)
    total = torch.zeros_like(x[:, :1])
    here, there = hidden_maps(network, x), hidden_maps(network, drawn)
    parts = zip(metrics, here, there, _grids(network), strict=False)
    for metric, a, b, (step, first) in parts:
        assert isinstance(metric, WhitenedMetric)
        difference = (a - b).movedim(1, -1)
        length = metric.squared_length(difference.flatten(0, 2)) / a.shape[1]
        block = length.view(len(x), 1, *a.shape[2:])
        for dim in (2, 3):
            block = _stretched(block, dim, x.shape[dim], step, first)
        total += block
    return total / len(metrics)


def _grids(network: Stack) -> Iterator[tuple[int, float]]:
    """Step between positions and centre of the first, in pixels, for each block.

    The centre of a position is the middle of the pixels that it depends on: 0.5, 2.5,
    ... for 4 x 4 pixels, but 0, 2, ... for 5 x 5.
    """
    step, first = 1, 0.0
    for block in network.blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                first += step * ((layer.kernel_size[0] - 1) / 2 - int(layer.padding[0]))
                step *= layer.stride[0]
        yield step, first


def _stretched(block: Tensor, dim: int, length: int, step: int, first: float) -> Tensor:
    """Interpolate linearly between values at first, first + step, ... in one dim."""
    last = block.shape[dim] - 1
    at = (torch.arange(length, device=block.device) - first) / step
    at = at.clamp(0, last)
    before = at.floor().long()
    shape = [-1 if k == dim else 1 for k in range(block.ndim)]
    share = (at - before).to(block.dtype).view(shape)
    after = (before + 1).clamp(max=last)
    low, high = (block.index_select(dim, index) for index in (before, after))
    return torch.lerp(low, high, share)


# By gradient --------------------------------------------------------------------


def by_gradient(
    distance: Callable[[Tensor], Tensor], x: Tensor, drawn: Tensor
) -> Tensor:
    """M(x) of the shape of x, for a distance A from rows (n, ...) to (n,).

    The signed shares add up to A(x) - A(x').
    """
    line = x.to(drawn.dtype) - drawn
    total = torch.zeros_like(drawn)
    for k in range(N_GRADIENTS):
        point = drawn + (k + 0.5) / N_GRADIENTS * line
        with torch.enable_grad():
            point = point.detach().requires_grad_(True)
            # A network may begin with a layer that works in place.
            found = distance(point.clone()).sum()
            if not found.requires_grad:
                raise ValueError(
                    "The features of this network have no gradient, which "
                    'kind="features" needs. Let features(x) compute its activations '
                    'from x by torch alone, or use kind="residual".'
                )
            total += torch.autograd.grad(found, point)[0]
    return (line * total / N_GRADIENTS).abs()


def by_features(
    features: Callable[[Tensor], Tensor],
    metric: WhitenedMetric,
    x: Tensor,
    drawn: Tensor,
) -> Tensor:
    """M(x) for the whitened distance between the features (n, p) of x and x'."""
    there = features(drawn)
    return by_gradient(lambda x: metric.squared_length(features(x) - there), x, drawn)

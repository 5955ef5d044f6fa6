"""Where features depart from those of the closest normal thing.

A convolution keeps positions: the hidden maps h_b of a row x and of its reconstruction
x', block by block, are compared position by position,

    M(x) = mean over blocks b of  d_b^T S_b^-1 d_b / channels,   d_b = h_b(x) - h_b(x'),

with S_b the second moment of d_b over the positions of normal rows, and each block's
map stretched to the size of the image. On average over normal rows M is 1.

Other networks have no positions. There the whitened distance A between the features of
two rows (`_metric.py`) is shared out among the entries along the way from x' to x,

    M(x)_i = |x - x'|_i |mean over t in (0, 1) of dA/dx_i at x' + t (x - x')|;

with their signs these shares add up to A (Sundararajan et al. 2017, "integrated
gradients").
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from skanogan.models._metric import RANK, WhitenedMetric
from skanogan.models._networks import Stack

__all__ = [
    "by_features",
    "by_gradient",
    "by_position",
    "hidden_maps",
    "position_metrics",
    "reference_images",
]

REFERENCE_IMAGES = 64
"""Normal images that S_b is learned on: 64 of 32 x 32 pixels have 16,384 positions in
the first of halving blocks, for its 32 channels."""

FLOOR = 0.1
"""Share of the mean variance added to every direction, as for whole images."""

N_GRADIENTS = 4
"""Points on the way from x' to x. One finds the column of a table that was changed less
often, sixteen not more often (docs/localisation.md)."""


def reference_images(rows: Tensor) -> Tensor:
    """Some of the rows, from the first to the last: neighbours are often alike."""
    return rows[:: max(1, len(rows) // REFERENCE_IMAGES)][:REFERENCE_IMAGES]


# By position --------------------------------------------------------------------


def hidden_maps(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs (n, c, h, w) of a network's blocks; none where they have no positions.

    Parameters
    ----------
    network : nn.Module
        Ours have blocks; those of users are taken as a whole and have none.
    x : Tensor of shape (n, C, H, W)
    """
    found: list[Tensor] = []
    if not isinstance(network, Stack):
        return found
    for block in network.blocks:
        x = block(x)
        if x.ndim == 4:
            found.append(x)
    return found


def position_metrics(network: nn.Module, x: Tensor, drawn: Tensor) -> nn.ModuleList:
    """S_b of each block with positions.

    Parameters
    ----------
    network : nn.Module
        Whose blocks are compared.
    x, drawn : Tensor of shape (m, ...)
        Some normal rows and their reconstructions, on the networks' scale.
    """
    here, there = hidden_maps(network, x), hidden_maps(network, drawn)
    return nn.ModuleList(
        WhitenedMetric.fit((a - b).movedim(1, -1).flatten(0, 2), FLOOR, RANK)
        for a, b in zip(here, there, strict=True)
    )


def by_position(
    network: nn.Module, metrics: nn.ModuleList, x: Tensor, drawn: Tensor
) -> Tensor:
    """M(x), of shape (n, 1, H, W).

    Parameters
    ----------
    network : nn.Module
    metrics : ModuleList of WhitenedMetric
        Of `position_metrics`, at least one.
    x, drawn : Tensor of shape (n, C, H, W)
        Rows and their reconstructions on the networks' scale.
    """
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
    """Of each block: pixels from one position to the next, and where the first looks.

    A position looks at the middle of the pixels that it is made of: 0.5, 2.5, ... for
    4 x 4 pixels, but 0, 2, ... for 5 x 5.
    """
    step, first = 1, 0.0
    for block in network.blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                first += step * ((layer.kernel_size[0] - 1) / 2 - int(layer.padding[0]))
                step *= layer.stride[0]
        yield step, first


def _stretched(block: Tensor, dim: int, length: int, step: int, first: float) -> Tensor:
    """Values at first, first + step, ... along a dimension, between them linear."""
    last = block.shape[dim] - 1
    at = (torch.arange(length, device=block.device) - first) / step
    at = at.clamp(0, last)
    before = at.floor().long()
    shape = [-1 if k == dim else 1 for k in range(block.ndim)]
    share = (at - before).to(block.dtype).view(shape)
    after = (before + 1).clamp(max=last)
    return torch.lerp(
        block.index_select(dim, before), block.index_select(dim, after), share
    )


# By gradient --------------------------------------------------------------------


def by_gradient(
    distance: Callable[[Tensor], Tensor], x: Tensor, drawn: Tensor
) -> Tensor:
    """What each entry adds to a row's distance from its reconstruction.

    Parameters
    ----------
    distance : callable
        A, of shape (n,), of rows between the two. Signed shares add up to A(x) - A(x').
    x, drawn : Tensor of shape (n, ...)
        Rows and their reconstructions x', in the same units, which cancel.

    Returns
    -------
    shares : Tensor of the shape of x
        M(x).
    """
    way = x.to(drawn.dtype) - drawn
    total = torch.zeros_like(drawn)
    for k in range(N_GRADIENTS):
        point = drawn + (k + 0.5) / N_GRADIENTS * way
        with torch.enable_grad():
            point = point.detach().requires_grad_(True)
            # A network may begin with a layer that works in place.
            found = distance(point.clone()).sum()
            if not found.requires_grad:
                raise ValueError(
                    'kind="features" needs the gradient of the features, and those of '
                    "this network have none. Let features(x) return activations that "
                    'are computed from x by torch alone, or use kind="residual".'
                )
            total += torch.autograd.grad(found, point)[0]
    return (way * total / N_GRADIENTS).abs()


def by_features(
    features: Callable[[Tensor], Tensor],
    metric: WhitenedMetric,
    x: Tensor,
    drawn: Tensor,
) -> Tensor:
    """`by_gradient` of the whitened distance between features of x and of x'.

    Parameters
    ----------
    features : callable
        (n, ...) to (n, p).
    metric : WhitenedMetric
        Of differences of features.
    x, drawn : Tensor of shape (n, ...)
        Rows and their reconstructions on the networks' scale.
    """
    there = features(drawn)
    return by_gradient(lambda x: metric.squared_length(features(x) - there), x, drawn)

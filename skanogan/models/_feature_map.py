"""Where in an image features depart from those of the closest normal one.

A convolution keeps positions: the hidden maps h_b of a row x and of its reconstruction
x', block by block, are compared position by position,

    M(x) = mean over blocks b of  d_b^T S_b^-1 d_b / channels,   d_b = h_b(x) - h_b(x'),

with S_b the second moment of d_b over the positions of normal rows, and each block's
map stretched to the size of the image. On average over normal rows M is 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skanogan.models._metric import RANK, WhitenedMetric
from skanogan.models._networks import Stack

__all__ = [
    "REFERENCE_IMAGES",
    "by_gradient",
    "by_position",
    "hidden_maps",
    "position_metrics",
]

REFERENCE_IMAGES = 64
"""Normal images that S_b is learned on: 64 of 32 x 32 pixels have 16,384 positions in
the first of halving blocks, for its 32 channels."""

FLOOR = 0.1
"""Share of the mean variance added to every direction, as for whole images."""


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
    total = torch.zeros_like(x[:, :1])
    here, there = hidden_maps(network, x), hidden_maps(network, drawn)
    for metric, a, b in zip(metrics, here, there, strict=True):
        assert isinstance(metric, WhitenedMetric)
        difference = (a - b).movedim(1, -1)
        length = metric.squared_length(difference.flatten(0, 2)) / a.shape[1]
        block = length.view(len(x), 1, *a.shape[2:])
        total += nn.functional.interpolate(
            block, size=x.shape[2:], mode="bilinear", align_corners=False
        )
    return total / len(metrics)


def by_gradient(score: Callable[[Tensor], Tensor], x: Tensor, drawn: Tensor) -> Tensor:
    """|(x - x') dA/dx| / 2, in the shape of x.

    What each entry adds to a score A that grows with the square of the distance from
    the reconstruction x': summed with their signs, the entries are A where features are
    linear in x.

    Parameters
    ----------
    score : callable
        A, of shape (n,).
    x, drawn : Tensor of shape (n, ...)
        In the same units, which cancel.
    """
    with torch.enable_grad():
        x = x.detach().to(drawn.dtype).requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(x).sum(), x)
    return ((x.detach() - drawn) * gradient).abs() / 2

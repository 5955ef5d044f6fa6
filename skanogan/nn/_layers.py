"""Layers that the networks of all methods are made of."""

import itertools
import math
from collections.abc import Callable

from torch import nn

__all__ = ["dense_blocks", "doubling", "halving_blocks", "leaky", "to_rows"]

LEAK = 0.2
"""Slope of every LeakyReLU, as in DCGAN (Radford et al. 2016)."""

GROUPS = 8
"""Number of groups of channels in group normalisation, or its greatest common divisor
with the number of channels."""


def leaky(normalization: str, n: int, n_dim: int) -> list[nn.Module]:
    """Normalisation of n channels of images (n_dim 4) or n columns (2), LeakyReLU."""
    layers: list[nn.Module] = []
    if normalization == "batch":
        layers = [nn.BatchNorm2d(n) if n_dim == 4 else nn.BatchNorm1d(n)]
    elif normalization == "group" and (n > 1 or n_dim == 4):
        layers = [nn.GroupNorm(math.gcd(GROUPS, n) if n_dim == 4 else 1, n)]
    return [*layers, nn.LeakyReLU(LEAK)]


def dense_blocks(
    row_shape: tuple[int, ...], sizes: tuple[int, ...], normalization: str = "none"
) -> tuple[list[nn.Module], int]:
    """Hidden layers from rows, and the size of the last."""
    widths = [math.prod(row_shape), *sizes]
    blocks: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers = [nn.Flatten(), nn.Linear(n_in, n_out)]
        blocks.append(nn.Sequential(*layers, *leaky(normalization, n_out, 2)))
    return blocks, widths[-1]


def to_rows(width: int, row_shape: tuple[int, ...]) -> list[nn.Module]:
    """Layers from hidden units to rows of unbounded values."""
    layers: list[nn.Module] = [nn.Linear(width, math.prod(row_shape))]
    if len(row_shape) == 3:
        layers.append(nn.Unflatten(1, (row_shape[2], *row_shape[:2])))
    return layers


def halving_blocks(
    sizes: list[tuple[int, ...]],
    n_in: int,
    n_filters: int,
    kernel: int,
    normalization: str = "none",
) -> tuple[list[nn.Module], int]:
    """Convolutions from one size to the next, and the number of values at the end."""
    blocks: list[nn.Module] = []
    for stage in range(len(sizes) - 1):
        n_out = n_filters * 2**stage
        convolution = nn.Conv2d(n_in, n_out, kernel, 2, padding=(kernel - 1) // 2)
        blocks.append(nn.Sequential(convolution, *leaky(normalization, n_out, 4)))
        n_in = n_out
    return blocks, n_in * math.prod(sizes[-1])


def doubling(
    latent_dim: int,
    sizes: list[tuple[int, ...]],
    n_channels: int,
    n_filters: int,
    kernel: int,
    after: Callable[[int], list[nn.Module]],
    bias: bool,
) -> nn.Module:
    """From latents (n, latent_dim) to images in (-1, 1), along `sizes` from the end.

    `after` makes what follows each layer but the last, for a number of maps.
    """
    n_maps = n_filters * 2 ** (len(sizes) - 2)
    start = (n_maps, *sizes[-1])
    dense = nn.Linear(latent_dim, math.prod(start), bias=bias)
    layers: list[nn.Module] = [dense, nn.Unflatten(1, start)]
    for (height, width), target in itertools.pairwise(sizes[::-1]):
        last = target == sizes[0]
        n_out = n_channels if last else n_maps // 2
        # Sides of n become 2 n with 4 x 4 kernels, 2 n - 1 with 5 x 5, and this more.
        more = (target[0] - 2 * height + kernel - 4, target[1] - 2 * width + kernel - 4)
        pad = (kernel - 1) // 2
        up = nn.ConvTranspose2d(n_maps, n_out, kernel, 2, pad, more, bias=bias or last)
        layers += [*after(n_maps), up]
        n_maps = n_out
    return nn.Sequential(*layers, nn.Tanh())

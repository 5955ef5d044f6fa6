"""Encoders, decoders and strided discriminators, for tables and images of any size.

Shapes are torch's: tables (n, d), images (n, C, H, W).
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from skanogan.models._networks import LEAK, Discriminator, Stack, StackDiscriminator

__all__ = [
    "NORMALIZATIONS",
    "AutoEncoder",
    "Encoder",
    "convolutional_decoder",
    "convolutional_encoder",
    "mlp_decoder",
    "mlp_encoder",
    "statistics_kept",
    "strided_discriminator",
]

NORMALIZATIONS = ("group", "batch", "none")

GROUPS = 8
"""Of channels, for group normalisation, where their number divides."""


def _norm(normalization: str, n: int, n_dim: int) -> list[nn.Module]:
    """Of n channels of images (n_dim 4), or of n columns (n_dim 2)."""
    if normalization == "batch":
        return [nn.BatchNorm2d(n) if n_dim == 4 else nn.BatchNorm1d(n)]
    if normalization == "group" and (n > 1 or n_dim == 4):
        return [nn.GroupNorm(math.gcd(GROUPS, n) if n_dim == 4 else 1, n)]
    return []


class Encoder(Stack):
    """A stack whose outputs are codes.

    Parameters
    ----------
    blocks, head, features_from
        As in `Stack`.
    bounded : bool, default=True
        Codes in (-1, 1)^d, by a tanh; otherwise anywhere.
    """

    def __init__(
        self,
        blocks: list[nn.Module],
        head: nn.Module,
        features_from: str = "last",
        bounded: bool = True,
    ) -> None:
        super().__init__(blocks, head, features_from)
        self.bounded = bounded

    def forward(self, x: Tensor) -> Tensor:
        """Codes of shape (n, d)."""
        codes = self.outputs(x)
        return torch.tanh(codes) if self.bounded else codes


class AutoEncoder(nn.Module):
    """Rows to their reconstructions.

    Parameters
    ----------
    encoder : Encoder
        (n, ...) to codes (n, d).
    decoder : nn.Module
        (n, d) to (n, ...).
    """

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """De(En(x)), in the shape of x."""
        return self.decoder(self.encoder(x))

    def feature_differences(self, x: Tensor) -> Tensor:
        """h(x) - h(De(En(x))), h the hidden layers of En: (n, ...) to (n, p)."""
        return self.encoder.features(x) - self.encoder.features(self(x))


def mlp_encoder(
    row_shape: tuple[int, ...],
    latent_dim: int,
    hidden_layer_sizes: tuple[int, ...],
    normalization: str,
    bounded: bool = True,
) -> Encoder:
    """From (n, ...) to codes; the features are all hidden layers."""
    blocks: list[nn.Module] = []
    width = math.prod(row_shape)
    for size in hidden_layer_sizes:
        layers = [nn.Flatten(), nn.Linear(width, size), *_norm(normalization, size, 2)]
        blocks.append(nn.Sequential(*layers, nn.LeakyReLU(LEAK)))
        width = size
    head = nn.Linear(width, latent_dim)
    return Encoder(blocks, head, "all", bounded)


def mlp_decoder(
    latent_dim: int,
    row_shape: tuple[int, ...],
    hidden_layer_sizes: tuple[int, ...],
    normalization: str,
) -> nn.Module:
    """The encoder's mirror image, from codes to (n, ...); unbounded."""
    layers: list[nn.Module] = []
    width = latent_dim
    for size in reversed(hidden_layer_sizes):
        layers += [nn.Linear(width, size), *_norm(normalization, size, 2)]
        layers.append(nn.LeakyReLU(LEAK))
        width = size
    layers.append(nn.Linear(width, math.prod(row_shape)))
    if len(row_shape) == 3:
        height, width, channels = row_shape
        layers.append(nn.Unflatten(1, (channels, height, width)))
    return nn.Sequential(*layers)


def _stages(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes from the image down: halved three times, as in the paper, where that fits.

    A side does not go below 2, and a map of more than 8 pixels is halved further, so
    that the dense layer to the code stays small: 28-14-7-4, 8-4-2, 64-32-16-8,
    256-128-64-32-16-8.
    """
    sizes = [(height, width)]
    while min(sizes[-1]) > 8 or (len(sizes) <= 3 and min(sizes[-1]) > 3):
        sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
    return sizes


def convolutional_encoder(
    image_shape: tuple[int, ...],
    latent_dim: int,
    n_filters: int,
    normalization: str,
    bounded: bool = True,
) -> Encoder:
    """Convolutions of 5 x 5 and stride 2, and a dense layer to the code.

    Normalisation and LeakyReLU(0.2) after each, as in the paper, which does not say how
    the last map becomes a code.
    """
    blocks, n_values = _halvings(image_shape, n_filters, normalization)
    return Encoder(blocks, nn.Linear(n_values, latent_dim), bounded=bounded)


def strided_discriminator(
    image_shape: tuple[int, ...], n_filters: int
) -> Discriminator:
    """The paper's D_v and C: the encoder's convolutions and one logit.

    Without normalisation: what tells real from drawn may be a mean or a contrast.
    """
    blocks, n_values = _halvings(image_shape, n_filters, "none")
    return StackDiscriminator(blocks, nn.Linear(n_values, 1))


def _halvings(
    image_shape: tuple[int, ...], n_filters: int, normalization: str
) -> tuple[list[nn.Module], int]:
    """The strided blocks, and how many values the last of them puts out."""
    height, width, channels = image_shape
    sizes = _stages(height, width)
    blocks: list[nn.Module] = []
    n_in = channels
    for stage in range(len(sizes) - 1):
        n_out = n_filters * 2**stage
        layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, 5, stride=2, padding=2)]
        layers += _norm(normalization, n_out, 4)
        blocks.append(nn.Sequential(*layers, nn.LeakyReLU(LEAK)))
        n_in = n_out
    return blocks, n_in * math.prod(sizes[-1])


def convolutional_decoder(
    latent_dim: int, image_shape: tuple[int, ...], n_filters: int, normalization: str
) -> nn.Module:
    """The encoder's mirror image, from codes to (n, C, H, W) in (-1, 1)."""
    height, width, channels = image_shape
    sizes = _stages(height, width)[::-1]
    n_maps = n_filters * 2 ** (len(sizes) - 2)
    start = (n_maps, *sizes[0])
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, math.prod(start)),
        nn.Unflatten(1, start),
        *_norm(normalization, n_maps, 4),
        nn.LeakyReLU(LEAK),
    ]
    for size, target in itertools.pairwise(sizes):
        # A transposed convolution gives 2 n - 1 here; even sizes take one more.
        padding = (target[0] - 2 * size[0] + 1, target[1] - 2 * size[1] + 1)
        last = target == sizes[-1]
        n_out = channels if last else n_maps // 2
        layers.append(
            nn.ConvTranspose2d(
                n_maps, n_out, 5, stride=2, padding=2, output_padding=padding
            )
        )
        if not last:
            layers += [*_norm(normalization, n_out, 4), nn.LeakyReLU(LEAK)]
        n_maps = n_out
    return nn.Sequential(*layers, nn.Tanh())


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch, leaving the running statistics as they are."""
    layers = [
        m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

"""Encoders, decoders and strided discriminators, for tables and images of any size."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from skanogan.nn._layers import dense_blocks, doubling, halving_blocks, leaky, to_rows
from skanogan.nn._networks import (
    Discriminator,
    Stack,
    StackDiscriminator,
    features_for_rows,
)

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


class Encoder(Stack):
    """Stack whose outputs are codes.

    Parameters
    ----------
    blocks, head, features_from : object
        As in `Stack`.
    bounded : bool, default=True
        Whether a tanh bounds the codes to (-1, 1)^d.
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
        codes = super().forward(x)
        return codes.tanh() if self.bounded else codes


class AutoEncoder(nn.Sequential):
    """Encoder and decoder, from rows to their reconstructions.

    Parameters
    ----------
    encoder : Encoder
        From (n, ...) to codes (n, d).
    decoder : torch.nn.Module
        From (n, d) to (n, ...).
    """

    encoder: Encoder
    decoder: nn.Module

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__(OrderedDict(encoder=encoder, decoder=decoder))


def mlp_encoder(
    row_shape: tuple[int, ...],
    latent_dim: int,
    hidden_layer_sizes: tuple[int, ...],
    normalization: str,
    bounded: bool = True,
) -> Encoder:
    """Make a multilayer perceptron that encodes rows.

    Parameters
    ----------
    row_shape : tuple of int
        Shape (d,) or (H, W, C) of a row.
    latent_dim : int
        Dimension of the codes.
    hidden_layer_sizes : tuple of int
        Sizes of the hidden layers, each with LeakyReLU(0.2).
    normalization : {"group", "batch", "none"}
        Normalisation after each hidden layer.
    bounded : bool, default=True
        Whether a tanh bounds the codes to (-1, 1).

    Returns
    -------
    encoder : Encoder
        From (n, d) or (n, C, H, W) to (n, latent_dim).
    """
    blocks, width = dense_blocks(row_shape, hidden_layer_sizes, normalization)
    features_from = features_for_rows(row_shape, hidden_layer_sizes)
    return Encoder(blocks, nn.Linear(width, latent_dim), features_from, bounded)


def mlp_decoder(
    latent_dim: int,
    row_shape: tuple[int, ...],
    hidden_layer_sizes: tuple[int, ...],
    normalization: str,
) -> nn.Module:
    """Make the mirror image of `mlp_encoder`; its outputs are unbounded.

    Parameters
    ----------
    latent_dim, row_shape, hidden_layer_sizes, normalization : object
        As in `mlp_encoder`.

    Returns
    -------
    decoder : torch.nn.Module
        From (n, latent_dim) to (n, d) or (n, C, H, W).
    """
    widths = [latent_dim, *reversed(hidden_layer_sizes)]
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), *leaky(normalization, n_out, 2)]
    return nn.Sequential(*layers, *to_rows(widths[-1], row_shape))


def _map_sizes(image_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sizes from the image to the smallest map.

    Sides are halved three times as in the OCGAN paper, but not below 2, and further
    while both exceed 8, so that the dense layer stays small: 28-14-7-4, 65-33-17-9-5.
    """
    sizes = [image_shape[:2]]
    while min(sizes[-1]) > 8 or (len(sizes) <= 3 and min(sizes[-1]) > 3):
        sizes.append(tuple(math.ceil(side / 2) for side in sizes[-1]))
    return sizes


def convolutional_encoder(
    image_shape: tuple[int, ...],
    latent_dim: int,
    n_filters: int,
    normalization: str,
    bounded: bool = True,
) -> Encoder:
    """Make the encoder of OCGAN (Perera et al. 2019), for images of any size.

    The paper does not say how the last maps become a code. Here a dense layer does it.

    Parameters
    ----------
    image_shape, latent_dim, n_filters : object
        As in `convolutional_generator`.
    normalization, bounded : object
        As in `mlp_encoder`.

    Returns
    -------
    encoder : Encoder
        From (n, C, H, W) to (n, latent_dim).
    """
    sizes, n_channels = _map_sizes(image_shape), image_shape[2]
    blocks, n_values = halving_blocks(sizes, n_channels, n_filters, 5, normalization)
    return Encoder(blocks, nn.Linear(n_values, latent_dim), bounded=bounded)


def strided_discriminator(
    image_shape: tuple[int, ...], n_filters: int
) -> Discriminator:
    """Make D_v or C of OCGAN, the encoder's convolutions and one logit.

    They have no normalisation, since real and generated images may differ in contrast.
    """
    encoder = convolutional_encoder(image_shape, 1, n_filters, "none")
    return StackDiscriminator(list(encoder.blocks), encoder.head)


def convolutional_decoder(
    latent_dim: int, image_shape: tuple[int, ...], n_filters: int, normalization: str
) -> nn.Module:
    """Make the mirror image of `convolutional_encoder`.

    Parameters
    ----------
    latent_dim, image_shape, n_filters, normalization : object
        As in `convolutional_encoder`.

    Returns
    -------
    decoder : torch.nn.Module
        From (n, latent_dim) to (n, C, H, W) in (-1, 1).
    """
    sizes, n_channels = _map_sizes(image_shape), image_shape[2]
    after = partial(leaky, normalization, n_dim=4)
    return doubling(latent_dim, sizes, n_channels, n_filters, 5, after, bias=True)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Normalise by the batch without changing the running statistics."""
    norms = nn.modules.batchnorm._BatchNorm
    layers = [layer for layer in network.modules() if isinstance(layer, norms)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

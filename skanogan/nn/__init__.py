"""Building blocks of methods: networks, losses, priors, scaling, metrics, search."""

from skanogan.nn._autoencoder import (
    AutoEncoder,
    Encoder,
    convolutional_decoder,
    convolutional_encoder,
    mlp_decoder,
    mlp_encoder,
)
from skanogan.nn._fixed import Fixed
from skanogan.nn._latent_search import descend
from skanogan.nn._losses import discriminator_loss, generator_loss, gradient_penalty
from skanogan.nn._metric import WhitenedMetric, nearest
from skanogan.nn._moving_average import MovingAverage
from skanogan.nn._networks import (
    Discriminator,
    Stack,
    adam,
    as_discriminator,
    build,
    convolutional_discriminator,
    convolutional_generator,
    mlp_discriminator,
    mlp_generator,
)
from skanogan.nn._prior import Prior
from skanogan.nn._rowwise import chunked, floats_kept, share_of_variance
from skanogan.nn._scaling import Scaling

__all__ = [
    "AutoEncoder",
    "Discriminator",
    "Encoder",
    "Fixed",
    "MovingAverage",
    "Prior",
    "Scaling",
    "Stack",
    "WhitenedMetric",
    "adam",
    "as_discriminator",
    "build",
    "chunked",
    "convolutional_decoder",
    "convolutional_discriminator",
    "convolutional_encoder",
    "convolutional_generator",
    "descend",
    "discriminator_loss",
    "floats_kept",
    "generator_loss",
    "gradient_penalty",
    "mlp_decoder",
    "mlp_discriminator",
    "mlp_encoder",
    "mlp_generator",
    "nearest",
    "share_of_variance",
]

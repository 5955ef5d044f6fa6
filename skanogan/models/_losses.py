"""Adversarial losses and the two terms of AnoGAN's search. All on logits."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from skanogan.models._processes import row_gradients

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "feature_matching",
    "gradient_penalty",
    "residual",
]


class AdversarialLoss:
    """The two sides of one adversarial game.

    Parameters
    ----------
    discriminator, generator : callable
        ``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits)``,
        each a scalar to be minimised.
    """

    def __init__(
        self,
        discriminator: Callable[[Tensor, Tensor], Tensor],
        generator: Callable[[Tensor], Tensor],
    ) -> None:
        self.discriminator = discriminator
        self.generator = generator


ADVERSARIAL_LOSSES = {
    # Goodfellow et al. 2014, with the non-saturating generator; softplus(-a) is the
    # cross-entropy of sigmoid(a) against 1, softplus(a) against 0.
    "cross_entropy": AdversarialLoss(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda fake: F.softplus(-fake).mean(),
    ),
    # Lim & Ye 2017; Miyato et al. 2018.
    "hinge": AdversarialLoss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda fake: -fake.mean(),
    ),
    # Mao et al. 2017, LSGAN with targets 1 and 0.
    "least_squares": AdversarialLoss(
        lambda real, fake: (real - 1).square().mean() + fake.square().mean(),
        lambda fake: (fake - 1).square().mean(),
    ),
}


def gradient_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """R1 of Mescheder et al. 2018: the mean squared gradient norm at real rows."""
    real = real.detach().requires_grad_(True)
    gradient = row_gradients(discriminator(real), real)
    return gradient.flatten(1).square().sum(1).mean()


def residual(x: Tensor, drawn: Tensor) -> Tensor:
    """R(z) of AnoGAN's equation 1, sum |x - G(z)|, one number a row."""
    return (x - drawn).abs().flatten(1).sum(1)


def feature_matching(features: Tensor, drawn_features: Tensor) -> Tensor:
    """D(z) of AnoGAN's equation 3, sum |f(x) - f(G(z))|, one number a row."""
    return (features - drawn_features).abs().flatten(1).sum(1)

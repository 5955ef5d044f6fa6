"""The losses of the non-saturating GAN (Goodfellow et al. 2014), on logits."""

import torch.nn.functional as F
from torch import Tensor, nn

from skanogan._runtime.processes import row_gradients

__all__ = ["discriminator_loss", "generator_loss", "gradient_penalty"]

# softplus(-a) is the cross-entropy of sigmoid(a) against 1, softplus(a) against 0.


def discriminator_loss(real_logits: Tensor, drawn_logits: Tensor) -> Tensor:
    """Cross-entropy of real rows against 1 plus that of generated rows against 0.

    Parameters
    ----------
    real_logits, drawn_logits : Tensor of shape (n,)
        Logits for real and for generated rows.

    Returns
    -------
    loss : scalar Tensor
        Sum of the two means.
    """
    return F.softplus(-real_logits).mean() + F.softplus(drawn_logits).mean()


def generator_loss(drawn_logits: Tensor) -> Tensor:
    """Cross-entropy of generated rows against 1.

    Parameters
    ----------
    drawn_logits : Tensor of shape (n,)
        Logits for generated rows.

    Returns
    -------
    loss : scalar Tensor
        The mean.
    """
    return F.softplus(-drawn_logits).mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018), mean squared gradient norm at real rows.

    Parameters
    ----------
    discriminator : torch.nn.Module
        Network from rows to one logit per row.
    real : Tensor of shape (n, ...)
        Real rows on the networks' scale.

    Returns
    -------
    penalty : scalar Tensor
        Differentiable in the weights of the discriminator.
    """
    real = real.detach().requires_grad_(True)
    gradient = row_gradients(discriminator(real), real)
    return gradient.flatten(1).square().sum(1).mean()

"""A generative adversarial network (Goodfellow et al. 2014, algorithm 1).

D tells real rows from generated ones, G draws rows that D takes for real. Scores use a
moving average of G. `AnoGAN` and `FAnoGAN` differ in how they find the latent of a row.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skanogan.models._model import Model, step
from skanogan.nn import (
    Discriminator,
    MovingAverage,
    Prior,
    Scaling,
    WhitenedMetric,
    adam,
    chunked,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    share_of_variance,
)
from skanogan.nn._feature_map import by_features, by_position, position_metrics
from skanogan.nn._networks import frozen

__all__ = ["GAN", "GANParts", "GANTraining"]

COLLAPSE_ROWS = 1024
"""Number of generated rows whose variance is compared with that of the data."""


@dataclass(frozen=True)
class GANTraining:
    """Settings of the GAN's training.

    Parameters
    ----------
    learning_rate : float, default=0.0002
        Learning rate of Adam, for both networks.
    gradient_penalty : float, default=0.0
        Weight of the R1 penalty on D at real rows.
    ema_decay : float, default=0.999
        Decay of the moving average of G; 0 for none.
    """

    learning_rate: float = 2e-4
    gradient_penalty: float = 0.0
    ema_decay: float = 0.999


@dataclass(frozen=True)
class GANParts:
    """Networks and settings of a GAN.

    Parameters
    ----------
    generator : torch.nn.Module
        From (n, latent_dim) to (n, ...) on the scale of `scaling`.
    discriminator : Discriminator
        From (n, ...) to logits (n,), with ``features`` to (n, p).
    scaling : Scaling
        From X's units to the networks' scale.
    prior : Prior
        Distribution of the latent.
    latent_dim : int
        Dimension of the latent.
    training : GANTraining
        Settings of the training.
    """

    generator: nn.Module
    discriminator: Discriminator
    scaling: Scaling
    prior: Prior
    latent_dim: int
    training: GANTraining


class GAN(Model):
    """Generator, discriminator and their training."""

    metric: WhitenedMetric
    position_metrics: nn.ModuleList
    trains_row_by_row = True

    def __init__(self, parts: GANParts) -> None:
        super().__init__()
        self.generator = parts.generator
        self.discriminator = parts.discriminator
        self.scaling = parts.scaling
        self.prior = parts.prior
        self.latent_dim = parts.latent_dim
        self.training_settings = parts.training

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        settings, self._rng = self.training_settings, rng
        rate = settings.learning_rate
        self.train().requires_grad_(True)
        self._average = MovingAverage(self.generator, settings.ema_decay)
        self._generator_optimizer = adam(self.generator, rate)
        self._discriminator_optimizer = adam(self.discriminator, rate)

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        return {
            "n_averaged": self._average.n_updates,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        """Update D once and G once (Goodfellow et al. 2014, algorithm 1, k = 1)."""
        real = self._scaled(x)
        if len(real) == 1:  # batch normalisation needs two rows
            real = real.expand(2, *real.shape[1:])
        n = len(real)

        # 1. D: real rows up, generated rows down.
        with torch.no_grad():
            drawn = self.generator(self._draw_latents(n))
        real_logits = self.discriminator(real)
        drawn_logits = self.discriminator(drawn)
        total = d_loss = discriminator_loss(real_logits, drawn_logits)
        if weight := self.training_settings.gradient_penalty:
            total = d_loss + weight / 2 * gradient_penalty(self.discriminator, real)
        step(self._discriminator_optimizer, total)

        # 2. G: generated rows up, with D frozen.
        with frozen(self.discriminator):
            drawn = self.generator(self._draw_latents(n))
            loss = generator_loss(self.discriminator(drawn))
            g_loss = step(self._generator_optimizer, loss)

        # 3. The moving average of G, which scores use.
        self._average.update(self.generator)
        return {
            "discriminator_loss": d_loss.detach(),
            "generator_loss": g_loss,
            "real_logit": real_logits.detach().mean(),
            "drawn_logit": drawn_logits.detach().mean(),
        }

    def finish_training(self) -> None:
        self.generator.load_state_dict(self._average.network.state_dict())
        del self._average, self._rng
        del self._generator_optimizer, self._discriminator_optimizer
        self.rest()

    def _draw_latents(self, n: int) -> Tensor:
        return self.prior.sample(n, self.latent_dim, self._rng)

    # Shared by all methods on a GAN -------------------------------------------

    @abstractmethod
    def find_latents(self, x: Tensor) -> Tensor:
        """Find the latent of each row.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        latents : Tensor of shape (n, latent_dim)
            Latents whose drawings are close to the rows.
        """

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.scaling.inverse(self.generator(self.find_latents(x)))

    def residual_map(self, x: Tensor) -> Tensor:
        return (self._scaled(x) - self.generator(self.find_latents(x))).abs()

    def feature_map(self, x: Tensor) -> Tensor:
        scaled, drawn = self._scaled(x), self.generator(self.find_latents(x))
        critic, metrics = self.discriminator, self.position_metrics
        if len(metrics):
            return by_position(critic, metrics, scaled, drawn)
        return by_features(critic.features, self.metric, scaled, drawn)

    def embed(self, x: Tensor) -> Tensor:
        return self.discriminator.features(self._scaled(x))

    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        latents = self._fixed_latents(n_samples, rng)
        return chunked(lambda z: self.scaling.inverse(self.generator(z)), latents)

    def collapse(self, x: Tensor) -> float:
        rng = torch.Generator().manual_seed(0)
        drawn = chunked(self.generator, self._fixed_latents(COLLAPSE_ROWS, rng))
        return share_of_variance(drawn, x, self._scaled)

    def _learn_positions(self, scaled: Tensor, latents: Tensor) -> None:
        """Estimate the metrics of `feature_map` from rows and latents near them."""
        drawn = self.generator(latents)
        self.position_metrics = position_metrics(self.discriminator, scaled, drawn)

    def _fixed_latents(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw latents on the CPU, so that they are the same for every device."""
        weight = next(self.generator.parameters())
        return self.prior.sample(n, self.latent_dim, rng).to(weight)

    def _drawn_features(self, z: Tensor) -> Tensor:
        return self.discriminator.features(self.generator(z))

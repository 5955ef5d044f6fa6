"""A generative adversarial network, and an encoder that learns to invert it.

1. The GAN (Goodfellow et al. 2014, algorithm 1): D tells real rows from drawn ones, G
   draws rows that D takes for real. What scores is a moving average of G.
2. The encoder (f-AnoGAN, Schlegl et al. 2019, "izi_f"), where there is one: with G and
   D at rest, E learns the latent whose drawing is its row,

       L(x) = mean |x - G(E(x))|^2 + kappa mean |f(x) - f(G(E(x)))|^2,

   with f the hidden activations of D.

Methods differ in what they make of these networks: `AnoGAN`, `FAnoGAN`.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skanogan.models._averaging import Average
from skanogan.models._feature_map import by_features, by_position, position_metrics
from skanogan.models._losses import ADVERSARIAL_LOSSES, gradient_penalty
from skanogan.models._metric import WhitenedMetric
from skanogan.models._model import Model, chunked, share_of_variance
from skanogan.models._networks import Discriminator, adam
from skanogan.models._prior import Prior
from skanogan.models._scaling import Scaling

__all__ = ["GAN", "EncoderTraining", "GANParts", "Training"]

COLLAPSE_ROWS = 1024
"""Drawn to compare their variance with that of the data."""


@dataclass(frozen=True)
class Training:
    """How the GAN is trained."""

    adversarial_loss: str
    learning_rate: float
    beta_1: float
    gradient_penalty: float
    averaging: float


@dataclass(frozen=True)
class EncoderTraining:
    """How the encoder is trained, and after how many updates of the GAN."""

    after: int
    learning_rate: float = 1e-3
    feature_weight: float = 1.0


@dataclass(frozen=True)
class GANParts:
    """What a method on a GAN is made of.

    Parameters
    ----------
    generator : nn.Module
        (n, latent_dim) to (n, ...) on the scale of `scaling`.
    discriminator : Discriminator
        (n, ...) to logits (n,), with ``features`` to (n, p).
    scaling : Scaling
        X's units to the networks'.
    prior : Prior
        Of the latent.
    latent_dim : int
        Its dimension.
    training : Training
        Settings of the GAN's training.
    encoder : nn.Module, default=None
        (n, ...) to latents (n, latent_dim).
    encoder_training : EncoderTraining, default=None
        Settings of the encoder's training, where there is one.
    """

    generator: nn.Module
    discriminator: Discriminator
    scaling: Scaling
    prior: Prior
    latent_dim: int
    training: Training
    encoder: nn.Module | None = None
    encoder_training: EncoderTraining | None = None


class GAN(Model):
    """Generator, discriminator, perhaps an encoder, and their training."""

    metric: WhitenedMetric
    position_metrics: nn.ModuleList

    def __init__(self, parts: GANParts) -> None:
        super().__init__()
        self.generator = parts.generator
        self.discriminator = parts.discriminator
        self.encoder = parts.encoder
        self.scaling = parts.scaling
        self.prior = parts.prior
        self.latent_dim = parts.latent_dim
        self.training_settings = parts.training
        self.encoder_training = parts.encoder_training

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        settings = self.training_settings
        self.train().requires_grad_(True)
        self._rng = rng
        self._n_updates = torch.zeros((), dtype=torch.int64)
        self._loss = ADVERSARIAL_LOSSES[settings.adversarial_loss]
        self._average = Average(self.generator, settings.averaging)

        rate, beta_1 = settings.learning_rate, settings.beta_1
        self._generator_optimizer = adam(self.generator, rate, beta_1)
        self._discriminator_optimizer = adam(self.discriminator, rate, beta_1)
        if self.encoder is not None and self.encoder_training is not None:
            rate = self.encoder_training.learning_rate
            self._encoder_optimizer = adam(self.encoder, rate, beta_1)

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        parts: dict[str, torch.optim.Optimizer | Tensor] = {
            "n_updates": self._n_updates,
            "n_averaged": self._average.n_updates,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
        }
        if self.encoder is not None:
            parts["encoder_optimizer"] = self._encoder_optimizer
        return parts

    def is_whole_after(self, n_updates: int) -> bool:
        stage_2 = self.encoder_training
        return stage_2 is None or n_updates > stage_2.after

    def resume_training(self) -> None:
        stage_2 = self.encoder_training
        if stage_2 is not None and self._n_updates > stage_2.after:
            self._start_encoder()

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        self._n_updates += 1
        stage_2 = self.encoder_training
        if stage_2 is None or self._n_updates <= stage_2.after:
            return self._train_gan(self._scaled(x))
        if self._n_updates == stage_2.after + 1:
            self._start_encoder()
        return self._train_encoder(x, stage_2)

    def _train_gan(self, real: Tensor) -> dict[str, Tensor]:
        """One update of D, one of G (Goodfellow et al. 2014, algorithm 1, k = 1)."""
        # Batch normalisation needs two rows even where a batch has one.
        n = max(len(real), 2)
        if len(real) == 1:
            real = real.expand(2, *real.shape[1:])

        # 1. D: real rows up, drawn rows down.
        with torch.no_grad():
            drawn = self.generator(self._draw_latents(n))
        real_logits = self.discriminator(real)
        drawn_logits = self.discriminator(drawn)
        d_loss = self._loss.discriminator(real_logits, drawn_logits)
        total = d_loss
        weight = self.training_settings.gradient_penalty
        if weight:
            total = d_loss + weight / 2 * gradient_penalty(self.discriminator, real)
        self._discriminator_optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._discriminator_optimizer.step()

        # 2. G: drawn rows up, through a D that does not move.
        self.discriminator.requires_grad_(False)
        g_loss = self._loss.generator(
            self.discriminator(self.generator(self._draw_latents(n)))
        )
        self._generator_optimizer.zero_grad()
        g_loss.backward()  # type: ignore[no-untyped-call]
        self._generator_optimizer.step()
        self.discriminator.requires_grad_(True)

        # 3. The generator that scores is a moving average of the one that trains.
        self._average.update(self.generator)
        return {
            "discriminator_loss": d_loss.detach(),
            "generator_loss": g_loss.detach(),
            "real_logit": real_logits.detach().mean(),
            "drawn_logit": drawn_logits.detach().mean(),
        }

    def _start_encoder(self) -> None:
        """From here on G (its average) and D are at rest."""
        self.generator.load_state_dict(self._average.network.state_dict())
        self.generator.eval().requires_grad_(False)
        self.discriminator.eval().requires_grad_(False)

    def _train_encoder(self, x: Tensor, settings: EncoderTraining) -> dict[str, Tensor]:
        loss = self._inversion_error(x, settings).mean()
        self._encoder_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._encoder_optimizer.step()
        return {"encoder_loss": loss.detach()}

    def validation_error(self, x: Tensor) -> Tensor | None:
        """The encoder's loss once it trains: a GAN has no error to stop by."""
        stage_2 = self.encoder_training
        if stage_2 is None or self._n_updates <= stage_2.after:
            return None
        return self._inversion_error(x, stage_2)

    def _inversion_error(self, x: Tensor, settings: EncoderTraining) -> Tensor:
        """izi_f (Schlegl et al. 2019), of shape (n,)."""
        scaled = self._scaled(x)
        drawn = self.generator(self.encode(scaled))
        features = self.discriminator.features
        difference = features(scaled) - features(drawn)
        pixels = (scaled - drawn).square().flatten(1).mean(1)
        return pixels + settings.feature_weight * difference.square().mean(1)

    def finish_training(self) -> None:
        self.generator.load_state_dict(self._average.network.state_dict())
        del self._average, self._rng, self._loss, self._n_updates
        del self._generator_optimizer, self._discriminator_optimizer
        if hasattr(self, "_encoder_optimizer"):
            del self._encoder_optimizer
        self.rest()

    def _draw_latents(self, n: int) -> Tensor:
        return self.prior.sample(n, self.latent_dim, self._rng)

    # What every method makes of the networks ----------------------------------

    def encode(self, scaled: Tensor) -> Tensor:
        """E(x).

        Parameters
        ----------
        scaled : Tensor of shape (n, ...)
            Rows on the networks' scale.

        Returns
        -------
        latents : Tensor of shape (n, latent_dim)
            Whose drawings are close to the rows.
        """
        assert self.encoder is not None
        latents: Tensor = self.encoder(scaled)
        return latents

    @abstractmethod
    def find_latents(self, x: Tensor) -> Tensor:
        """The latent of each row.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        latents : Tensor of shape (n, latent_dim)
            Whose drawings are the closest normal things.
        """

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.scaling.inverse(self.generator(self.find_latents(x)))

    def residual_map(self, x: Tensor) -> Tensor:
        return (self._scaled(x) - self.generator(self.find_latents(x))).abs()

    def feature_map(self, x: Tensor) -> Tensor:
        scaled, drawn = self._scaled(x), self.generator(self.find_latents(x))
        if len(self.position_metrics):
            metrics = self.position_metrics
            return by_position(self.discriminator, metrics, scaled, drawn)
        return by_features(self.discriminator.features, self.metric, scaled, drawn)

    def embed(self, x: Tensor) -> Tensor:
        return self._features(x)

    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        latents = self._fixed_latents(n_samples, rng)
        return chunked(lambda z: self.scaling.inverse(self.generator(z)), latents)

    def collapse(self, x: Tensor) -> float:
        rng = torch.Generator().manual_seed(0)
        drawn = chunked(self.generator, self._fixed_latents(COLLAPSE_ROWS, rng))
        return share_of_variance(drawn, x, self._scaled)

    def _learn_positions(self, scaled: Tensor, latents: Tensor) -> None:
        """Learn the metrics of `feature_map` from some rows and latents near them."""
        drawn = self.generator(latents)
        self.position_metrics = position_metrics(self.discriminator, scaled, drawn)
        self.position_metrics.eval()

    def _fixed_latents(self, n: int, rng: torch.Generator) -> Tensor:
        """From a generator on the CPU, so that every device has the same."""
        device, dtype = self._device_and_dtype()
        return self.prior.sample(n, self.latent_dim, rng).to(device, dtype)

    def _scaled(self, x: Tensor) -> Tensor:
        return self.scaling(x, self._device_and_dtype()[1])

    def _features(self, x: Tensor) -> Tensor:
        return self.discriminator.features(self._scaled(x))

    def _drawn_features(self, z: Tensor) -> Tensor:
        return self.discriminator.features(self.generator(z))

    def _device_and_dtype(self) -> tuple[torch.device, torch.dtype]:
        weight = next(self.generator.parameters())
        return weight.device, weight.dtype

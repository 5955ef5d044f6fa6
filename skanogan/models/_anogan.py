"""AnoGAN (Schlegl et al., IPMI 2017, arXiv 1703.05921).

Training is an ordinary GAN on normal rows. For a query x the search looks for the
latent z whose drawing G(z) is closest to x; the score says how close that is:

    R(z) = sum |x - G(z)|                        equation 1, residual loss
    D(z) = sum |f(x) - f(G(z))|                  equation 3, feature matching
    L(z) = (1 - lambda) R(z) + lambda D(z)       equation 4, minimised over z
    A(x) = L at the last z                       equation 5, the score

`whitened`, the default here, replaces L by the squared Mahalanobis length of
f(x) - f(G(z)) under what that difference is for normal rows (`_metric.py`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skanogan.models._averaging import Average
from skanogan.models._inversion import descend
from skanogan.models._losses import (
    ADVERSARIAL_LOSSES,
    feature_matching,
    gradient_penalty,
    residual,
)
from skanogan.models._metric import RANK, WhitenedMetric, nearest
from skanogan.models._model import Model, chunked
from skanogan.models._networks import Discriminator, adam
from skanogan.models._prior import Prior
from skanogan.models._scaling import Scaling

__all__ = ["SCORES", "STARTS", "AnoGAN", "Search", "Training"]

SCORES = ("whitened", "anogan", "residual", "discrimination", "gan_r", "p_d")
STARTS = ("nearest", "random")


@dataclass(frozen=True)
class Training:
    """How the GAN is trained."""

    adversarial_loss: str
    learning_rate: float
    beta_1: float
    gradient_penalty: float
    averaging: float


@dataclass(frozen=True)
class Search:
    """How the latent of a row is searched, and what of it is the score."""

    score: str
    start: str
    n_candidates: int
    n_restarts: int
    n_steps: int
    step_size: float
    discrimination_weight: float
    prior_weight: float
    whitening_floor: float


class AnoGAN(Model):
    """Generator, discriminator, and the search between them.

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
        Settings of the training.
    search : Search
        Settings of the search.
    """

    latents: Tensor
    coordinates: Tensor

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Discriminator,
        scaling: Scaling,
        prior: Prior,
        latent_dim: int,
        training: Training,
        search: Search,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.scaling = scaling
        self.prior = prior
        self.latent_dim = latent_dim
        self.training_settings = training
        self.search = search

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        settings = self.training_settings
        self.train().requires_grad_(True)
        self._rng = rng
        self._loss = ADVERSARIAL_LOSSES[settings.adversarial_loss]
        self._average = Average(self.generator, settings.averaging)

        rate, beta_1 = settings.learning_rate, settings.beta_1
        self._generator_optimizer = adam(self.generator, rate, beta_1)
        self._discriminator_optimizer = adam(self.discriminator, rate, beta_1)

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        """One update of D, one of G (Goodfellow et al. 2014, algorithm 1, k = 1)."""
        real = self._scaled(x)
        # Batch normalisation in the generator needs two rows even where X has one.
        n = max(len(real), 2)

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

    def finish_training(self) -> None:
        self.generator.load_state_dict(self._average.network.state_dict())
        del self._average, self._rng, self._loss
        del self._generator_optimizer, self._discriminator_optimizer
        self.zero_grad(set_to_none=True)
        self.eval().requires_grad_(False)

    def _draw_latents(self, n: int) -> Tensor:
        return self.prior.sample(n, self.latent_dim, self._rng)

    # Scoring ------------------------------------------------------------------

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Draw the starts, and learn the metric from how far x is from its start."""
        device, dtype = self._device_and_dtype()
        search = self.search
        random = search.start == "random"
        n = search.n_restarts if random else search.n_candidates
        latents = self.prior.sample(n, self.latent_dim, rng).to(device, dtype)
        drawn = chunked(self._drawn_features, latents)
        features = chunked(self._features, x)
        floor = search.whitening_floor
        if random:
            differences = features - drawn[:1]
        else:
            centred = features - features.mean(0)
            metric = WhitenedMetric.fit(centred, floor, RANK)
            bank = metric.coordinates(drawn)
            at = chunked(lambda f: nearest(metric.coordinates(f), bank), features)
            differences = features - drawn[at[:, 0]]
        self.metric = WhitenedMetric.fit(differences, floor, RANK).eval()
        self.register_buffer("latents", latents)
        self.register_buffer("coordinates", self.metric.coordinates(drawn))

    def score(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        if self.search.score == "p_d":
            return -self.discriminator(scaled)
        features = self.discriminator.features(scaled)
        z = self._find(scaled, features)
        return self._score_at(z, scaled, features)

    def find_latents(self, x: Tensor) -> Tensor:
        """The search alone: latents of shape (n, latent_dim) for rows in X's units."""
        scaled = self._scaled(x)
        return self._find(scaled, self.discriminator.features(scaled))

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.scaling.inverse(self.generator(self.find_latents(x)))

    def residual_map(self, x: Tensor) -> Tensor:
        return (self._scaled(x) - self.generator(self.find_latents(x))).abs()

    def embed(self, x: Tensor) -> Tensor:
        return self._features(x)

    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        device, dtype = self._device_and_dtype()
        latents = self.prior.sample(n_samples, self.latent_dim, rng).to(device, dtype)
        return chunked(lambda z: self.scaling.inverse(self.generator(z)), latents)

    @property
    def floats_per_row(self) -> int:
        # The distances to the bank, and the activations of one pass, forth and back.
        return len(self.latents) + 8 * self.metric.basis.shape[0]

    def collapse(self, x: Tensor) -> float:
        scaled = self._scaled(x)
        drawn = chunked(self.generator, self.latents)
        variances = [rows.var(0, correction=0).sum() for rows in (drawn, scaled)]
        return float(variances[0] / variances[1].clamp(min=1e-12))

    def _find(self, scaled: Tensor, features: Tensor) -> Tensor:
        """The latent of each row: the best of `n_restarts` starts after `n_steps`."""
        starts = self._starts(features)
        n, n_restarts, latent_dim = starts.shape
        if n_restarts == 1 and self.search.n_steps == 0:
            return starts[:, 0]
        scaled = scaled.repeat_interleave(n_restarts, 0)
        features = features.repeat_interleave(n_restarts, 0)
        z = descend(
            lambda z: self._search_loss(z, scaled, features),
            starts.flatten(0, 1),
            self.search.n_steps,
            self.search.step_size,
        )
        loss = self._search_loss(z, scaled, features).view(n, n_restarts)
        best = loss.argmin(1)
        chosen = z.view(n, n_restarts, latent_dim)
        return chosen[torch.arange(n, device=z.device), best]

    def _starts(self, features: Tensor) -> Tensor:
        """Starts of shape (n, n_restarts, latent_dim), each a function of its row."""
        if self.search.start == "random":
            return self.latents.expand(len(features), -1, -1)
        k = min(self.search.n_restarts, len(self.latents))
        return self.latents[
            nearest(self.metric.coordinates(features), self.coordinates, k)
        ]

    def _search_loss(self, z: Tensor, scaled: Tensor, features: Tensor) -> Tensor:
        """What the search minimises, of shape (n,): equation 4 or its variants."""
        drawn = self.generator(z)
        score, weight = self.search.score, self.search.discrimination_weight
        if score == "whitened":
            difference = features - self.discriminator.features(drawn)
            loss = self.metric.squared_length(difference)
        elif score == "gan_r":
            # Yeh et al. 2017: cross-entropy of D(G(z)) against "real".
            real = nn.functional.softplus(-self.discriminator(drawn))
            loss = (1 - weight) * residual(scaled, drawn) + weight * real
        else:
            matching = feature_matching(features, self.discriminator.features(drawn))
            loss = (1 - weight) * residual(scaled, drawn) + weight * matching
        if self.search.prior_weight:
            loss = loss + self.search.prior_weight * self.prior.penalty(z)
        return loss

    def _score_at(self, z: Tensor, scaled: Tensor, features: Tensor) -> Tensor:
        """A(x), equation 5, or one of its two parts."""
        if self.search.score == "residual":
            return residual(scaled, self.generator(z))
        if self.search.score == "discrimination":
            return feature_matching(features, self._drawn_features(z))
        return self._search_loss(z, scaled, features)

    def _scaled(self, x: Tensor) -> Tensor:
        return self.scaling(x, self._device_and_dtype()[1])

    def _features(self, x: Tensor) -> Tensor:
        return self.discriminator.features(self._scaled(x))

    def _drawn_features(self, z: Tensor) -> Tensor:
        return self.discriminator.features(self.generator(z))

    def _device_and_dtype(self) -> tuple[torch.device, torch.dtype]:
        weight = next(self.generator.parameters())
        return weight.device, weight.dtype

"""OCGAN (Perera, Nallapati & Xiang, CVPR 2019, arXiv 1903.08550).

An auto-encoder whose latent box (-1, 1)^d holds normal rows only: every point of it
shall decode to a normal row, so that an anomaly cannot be reconstructed. The networks
are encoder En and decoder De, latent discriminator D_l, visual discriminator D_v, and a
classifier C outside of the game. Algorithm 1, for each batch x:

    l1 = En(x + n), n ~ N(0, noise_variance)         l2 ~ U(-1, 1)^d
    1. C         De(l1) -> 1, De(l2) -> 0            only C is updated
    2. D_l, D_v  D_l(l2) -> 1, D_l(l1) -> 0,  D_v(x) -> 1, D_v(De(l2)) -> 0
    3. mining    l2 moves to where C(De(l2)) is low  no network is updated
    4. En, De    D_l(l1) -> 1, D_v(De(l2)) -> 1,  weight |x - De(l1)|^2

The score is A(x) = |x - De(En(x))|^2, without noise. Training keeps the state with the
least error on held-out normal rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from skanogan._runtime.processes import draw
from skanogan.models._mining import MiningStart
from skanogan.models._model import Model, step
from skanogan.nn import (
    AutoEncoder,
    Discriminator,
    MovingAverage,
    Prior,
    Scaling,
    WhitenedMetric,
    adam,
    chunked,
    discriminator_loss,
    generator_loss,
    share_of_variance,
)
from skanogan.nn._autoencoder import statistics_kept
from skanogan.nn._feature_map import (
    by_features,
    by_position,
    position_metrics,
    reference_images,
)
from skanogan.nn._networks import frozen, widest_output

__all__ = ["OCGAN", "OCGAN_SCORES", "Game"]

OCGAN_SCORES = (
    "features",
    "whitened",
    "reconstruction",
    "visual",
    "latent",
    "classifier",
)


@dataclass(frozen=True)
class Game:
    """Settings of OCGAN's training.

    Parameters
    ----------
    noise_variance : float, default=0.2
        Variance of the Gaussian noise on the encoder's inputs.
    reconstruction_weight : float, default=100.0
        Weight of the mean squared error.
    latent_weight, visual_weight : float, default=1.0
        Weights of the games with the latent and with the visual discriminator.
    mining_start : int or "auto", default="auto"
        The first update that mines points. "auto" waits until reconstructions and
        generated rows are good enough (`_mining.py`).
    n_mining_steps : int, default=5
        Number of steps of each random point.
    mining_step_size : float, default=0.1
        Length of each step, in a box of side 2.
    learning_rate, discriminator_learning_rate : float
        Learning rates of Adam, for encoder and decoder and for the other networks.
    ema_decay : float, default=0.99
        Decay of the moving average of encoder and decoder; 0 for none.
    """

    noise_variance: float = 0.2
    reconstruction_weight: float = 100.0
    latent_weight: float = 1.0
    visual_weight: float = 1.0
    mining_start: int | str = "auto"
    n_mining_steps: int = 5
    mining_step_size: float = 0.1
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 2e-4
    ema_decay: float = 0.99


class OCGAN(Model):
    """Auto-encoder, two discriminators, and a classifier that mines negatives.

    Parameters
    ----------
    autoencoder : AutoEncoder
        En, from (n, ...) to codes (n, d) in (-1, 1), and De back to (n, ...), on the
        scale of `scaling`.
    latent_discriminator : Discriminator or None
        From (n, d) to logits (n,). None leaves its part of the game out.
    visual_discriminator, classifier : Discriminator or None
        From (n, ...) to logits (n,). Without one of them no points are mined.
    scaling : Scaling
        From X's units to the networks' scale.
    latent_dim : int
        Dimension d of the codes.
    game : Game
        Settings of the training.
    score : str, default="whitened"
        One of "whitened", "reconstruction", "features", "visual", "latent" and
        "classifier".
    shrinkage : float, default=0.1
        Shrinkage of the whitened metrics.
    """

    trains_row_by_row = True
    centre: Tensor
    position_metrics: nn.ModuleList

    def __init__(
        self,
        autoencoder: AutoEncoder,
        latent_discriminator: Discriminator | None,
        visual_discriminator: Discriminator | None,
        classifier: Discriminator | None,
        scaling: Scaling,
        latent_dim: int,
        game: Game,
        score: str = "whitened",
        shrinkage: float = 0.1,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.latent_discriminator = latent_discriminator
        self.visual_discriminator = visual_discriminator
        self.classifier = classifier
        self.scaling = scaling
        self.prior = Prior("uniform")
        self.latent_dim = latent_dim
        self.game = game
        self.anomaly_score = score
        self.shrinkage = shrinkage

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        game = self.game
        self.train().requires_grad_(True)
        self._rng = rng
        self._average = MovingAverage(self.autoencoder, game.ema_decay)
        self._mining = MiningStart(game.mining_start, rng.device)
        self._optimizers = {"autoencoder": adam(self.autoencoder, game.learning_rate)}
        for name in ("latent_discriminator", "visual_discriminator", "classifier"):
            if (network := getattr(self, name)) is not None:
                rate = game.discriminator_learning_rate
                self._optimizers[name] = adam(network, rate)

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        return {
            "n_updates": self._mining.n_updates,
            "n_averaged": self._average.n_updates,
            "mines": self._mining.has_begun,
            "quality": self._mining.means,
            **{f"{name}_optimizer": part for name, part in self._optimizers.items()},
        }

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        """Take the steps of Algorithm 1 for one batch."""
        game, optimizers = self.game, self._optimizers
        encoder, decoder = self.autoencoder.encoder, self.autoencoder.decoder
        latent, visual = self.latent_discriminator, self.visual_discriminator
        x = self._scaled(x)
        if len(x) == 1:  # batch normalisation needs two rows
            x = x.expand(2, *x.shape[1:])
        losses: dict[str, Tensor] = {}

        codes = encoder(x + self._noise_like(x))
        rebuilt = decoder(codes)
        points = self.prior.sample(len(x), self.latent_dim, self._rng)
        if visual is not None or self.classifier is not None:
            with statistics_kept(decoder):
                drawn = decoder(points)

        # 1. C: reconstructions up, decoded random points down.
        if self.classifier is not None:
            loss = discriminator_loss(*_logits(self.classifier, rebuilt, drawn))
            losses["classifier_loss"] = step(optimizers["classifier"], loss)

        # 2. D_l: random points up, codes down. D_v: rows up, decoded points down. Both
        # take points that are not mined, since weaker fakes would teach them less.
        if latent is not None:
            loss = discriminator_loss(*_logits(latent, points, codes))
            losses["latent_loss"] = step(optimizers["latent_discriminator"], loss)
        if visual is not None:
            logits = _logits(visual, x, drawn)
            loss = discriminator_loss(*logits)
            losses["visual_loss"] = step(optimizers["visual_discriminator"], loss)
            belief = logits[1].detach().sigmoid().mean()

        # 3. Mining: random points move to where C is sure that they are negatives.
        error = (x - rebuilt).square().mean()
        if visual is not None and self.classifier is not None:
            mines = self._mining.update(x, error, belief)
            if mines:
                with statistics_kept(decoder):
                    drawn = decoder(self.mine(points))
            losses["mining"] = torch.full((), float(mines), device=x.device)

        # 4. En, De: codes look random, decoded points look real, rows are rebuilt.
        total = game.reconstruction_weight * error
        with frozen(latent, visual):
            if latent is not None:
                total = total + game.latent_weight * generator_loss(latent(codes))
            if visual is not None:
                total = total + game.visual_weight * generator_loss(visual(drawn))
            losses["generator_loss"] = step(optimizers["autoencoder"], total)
        losses["reconstruction_error"] = error.detach()

        # 5. The moving average of the auto-encoder, which scores use.
        self._average.update(self.autoencoder)
        return losses

    def mine(self, points: Tensor) -> Tensor:
        """Move points to where C takes what they decode to for negatives.

        This descends BCE(C(De(l2)), 0) over l2 in the box, in steps of one length.
        Algorithm 1 of the paper names the label 1, which would lead to positives; the
        text and the code of the paper say 0.

        Parameters
        ----------
        points : Tensor of shape (n, d)
            Points in [-1, 1].

        Returns
        -------
        mined : Tensor of shape (n, d)
            Points in [-1, 1].
        """
        classifier, decoder = _present(self.classifier), self.autoencoder.decoder
        with frozen(classifier, decoder, in_eval_mode=True), torch.enable_grad():
            for _ in range(self.game.n_mining_steps):
                points = points.detach().requires_grad_(True)
                loss = softplus(classifier(decoder(points))).sum()
                (gradient,) = torch.autograd.grad(loss, points)
                length = gradient.norm(dim=1, keepdim=True).clamp(min=1e-12)
                moved = points - self.game.mining_step_size * gradient / length
                points = moved.clamp(-1, 1)
        return points.detach()

    def validation_error(self, x: Tensor) -> Tensor:
        """Compute the mean squared error of each row."""
        x = self._scaled(x)
        return _mean_squared_error(x, self._average.network.eval()(x))

    def finish_training(self) -> None:
        self.autoencoder.load_state_dict(self._average.network.state_dict())
        del self._average, self._rng, self._optimizers, self._mining
        self.rest()

    def _noise_like(self, x: Tensor) -> Tensor:
        """Gaussian noise, drawn anew by each call."""
        options = {"generator": self._rng, "device": x.device, "dtype": x.dtype}
        noise = draw(torch.randn, tuple(x.shape), **options)
        return noise * self.game.noise_variance**0.5

    # Scoring ------------------------------------------------------------------

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Estimate the metrics from normal rows and their reconstructions."""
        self._widest = widest_output(self.autoencoder.encoder, self._scaled(x[:1]))
        differences = chunked(self._feature_differences, x)
        self.metric = WhitenedMetric.fit(differences, self.shrinkage)
        some = self._scaled(reference_images(x))
        rebuilt, network = self.autoencoder(some), self._network_of_maps
        self.position_metrics = position_metrics(network, some, rebuilt)
        features = chunked(self._features, x)
        self.register_buffer("centre", features.mean(0))
        # Deviations below a hundredth of the features are no information. Where all
        # rows are equal they are rounding.
        least = 1e-4 * float(features.double().square().mean())
        self.spread = WhitenedMetric.fit(
            features - self.centre, self.shrinkage, least_variance=least
        )

    @property
    def scores_are_lengths(self) -> bool:
        return self.anomaly_score in ("whitened", "features")

    def score(self, x: Tensor) -> Tensor:
        """Compute A(x), or a logit for x, for its code, or for its reconstruction."""
        if self.anomaly_score == "whitened":
            return self.metric.squared_length(self._feature_differences(x))
        if self.anomaly_score == "features":
            return self.spread.squared_length(self._features(x) - self.centre)
        scaled = self._scaled(x)
        if self.anomaly_score == "reconstruction":
            return _mean_squared_error(scaled, self.autoencoder(scaled))
        if self.anomaly_score == "visual":
            return -_present(self.visual_discriminator)(scaled)
        if self.anomaly_score == "latent":
            return -_present(self.latent_discriminator)(self.embed(x))
        return -_present(self.classifier)(self.autoencoder(scaled))

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.scaling.inverse(self.autoencoder(self._scaled(x)))

    def residual_map(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        return (scaled - self.autoencoder(scaled)).abs()

    def feature_map(self, x: Tensor) -> Tensor:
        scaled, metrics = self._scaled(x), self.position_metrics
        rebuilt = self.autoencoder(scaled)
        if len(metrics):
            return by_position(self._network_of_maps, metrics, scaled, rebuilt)
        features = self.autoencoder.encoder.features
        return by_features(features, self.metric, scaled, rebuilt)

    @property
    def _network_of_maps(self) -> nn.Module:
        """The network whose hidden maps are compared position by position.

        The encoder normalises over groups of channels, by which one anomalous place can
        change the features of the whole image. The visual discriminator does not.
        """
        visual = self.visual_discriminator
        return self.autoencoder.encoder if visual is None else visual

    def embed(self, x: Tensor) -> Tensor:
        return self.autoencoder.encoder(self._scaled(x))

    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        weight = next(self.autoencoder.parameters())
        points = self.prior.sample(n_samples, self.latent_dim, rng).to(weight)
        decoder = self.autoencoder.decoder
        return chunked(lambda z: self.scaling.inverse(decoder(z)), points)

    @property
    def floats_per_row(self) -> int:
        # Inputs, outputs and intermediate results of one layer, two feature vectors.
        return 5 * self._widest

    def collapse(self, x: Tensor) -> float:
        rebuilt = chunked(lambda rows: self.autoencoder(self._scaled(rows)), x)
        return share_of_variance(rebuilt, x, self._scaled)

    def _features(self, x: Tensor) -> Tensor:
        return self.autoencoder.encoder.features(self._scaled(x))

    def _feature_differences(self, x: Tensor) -> Tensor:
        """h(x) - h(De(En(x))) for the features h of En, of shape (n, p)."""
        scaled, features = self._scaled(x), self.autoencoder.encoder.features
        return features(scaled) - features(self.autoencoder(scaled))


def _present(network: Discriminator | None) -> Discriminator:
    assert network is not None  # the detector refuses such a score
    return network


def _mean_squared_error(x: Tensor, rebuilt: Tensor) -> Tensor:
    """(n, ...) and (n, ...) to (n,)."""
    return (x - rebuilt).square().flatten(1).mean(1)


def _logits(critic: Discriminator, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Logits for both in one pass, without gradients for the inputs."""
    logits = critic(torch.cat([up.detach(), down.detach()]))
    return logits[: len(up)], logits[len(up) :]

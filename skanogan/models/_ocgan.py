"""OCGAN (Perera, Nallapati & Xiang, CVPR 2019, arXiv 1903.08550).

An auto-encoder whose latent box (-1, 1)^d is made to hold normal rows only: every point
of it is to decode to something normal, so that an anomaly cannot be rebuilt. Players:
encoder En and decoder De, latent discriminator D_l, visual discriminator D_v, and a
classifier C that stays out of the game. Algorithm 1, for each batch x:

    l1 = En(x + n), n ~ N(0, noise_variance)         l2 ~ U(-1, 1)^d
    1. C         De(l1) -> 1, De(l2) -> 0            C alone moves
    2. D_l, D_v  D_l(l2) -> 1, D_l(l1) -> 0,  D_v(x) -> 1, D_v(De(l2)) -> 0
    3. mining    l2 moves to where C(De(l2)) is low  no network moves
    4. En, De    D_l(l1) -> 1, D_v(De(l2)) -> 1,  weight |x - De(l1)|^2

and the score is A(x) = |x - De(En(x))|^2, without noise. The state kept is the one with
the least error on held-out normal rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from skanogan.models._autoencoder import AutoEncoder, statistics_kept
from skanogan.models._averaging import Average
from skanogan.models._feature_map import (
    by_features,
    by_position,
    position_metrics,
    reference_images,
)
from skanogan.models._losses import ADVERSARIAL_LOSSES
from skanogan.models._metric import RANK, WhitenedMetric
from skanogan.models._model import Model, chunked, share_of_variance
from skanogan.models._networks import Discriminator, adam
from skanogan.models._prior import Prior
from skanogan.models._processes import draw, joined_mean, joined_variance
from skanogan.models._scaling import Scaling

__all__ = ["OCGAN", "OCGAN_SCORES", "VISUAL_FAKES", "Game"]

OCGAN_SCORES = (
    "whitened",
    "reconstruction",
    "features",
    "visual",
    "latent",
    "classifier",
)
VISUAL_FAKES = ("samples", "reconstructions")

SMOOTHING = 0.95
"""Of the two running means that decide when mining begins: about 20 updates."""

UNEXPLAINED = 0.5
"""Mining waits until reconstructions leave less than this share of the variance."""

BELIEVED = 0.25
"""And until D_v takes decoded random points for real with this mean probability."""


@dataclass(frozen=True)
class Game:
    """How the networks are trained."""

    noise_variance: float
    visual_fakes: str
    adversarial_loss: str
    reconstruction_weight: float
    latent_weight: float
    visual_weight: float
    mining_start: int | str
    n_mining_steps: int
    mining_step_size: float
    learning_rate: float
    discriminator_learning_rate: float
    beta_1: float
    averaging: float


class OCGAN(Model):
    """Auto-encoder, two discriminators, and a classifier that mines negatives.

    Parameters
    ----------
    autoencoder : AutoEncoder
        En, from (n, ...) to codes (n, d) in (-1, 1), and De back to (n, ...), on the
        scale of `scaling`.
    latent_discriminator : Discriminator or None
        (n, d) to logits (n,); None leaves its part of the game out.
    visual_discriminator : Discriminator or None
        (n, ...) to logits (n,); the same.
    classifier : Discriminator or None
        (n, ...) to logits (n,); None is without mining.
    scaling : Scaling
        X's units to the networks'.
    latent_dim : int
        The d of the codes.
    game : Game
        Settings of the training.
    score : str
        One of `OCGAN_SCORES`.
    whitening_floor : float
        Of the metric of "whitened".
    """

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
        score: str,
        whitening_floor: float,
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
        self.whitening_floor = whitening_floor

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        game = self.game
        self.train().requires_grad_(True)
        self._rng = rng
        self._loss = ADVERSARIAL_LOSSES[game.adversarial_loss]
        self._average = Average(self.autoencoder, game.averaging)
        self._n_updates = torch.zeros((), dtype=torch.int64)
        self._mines = torch.zeros((), dtype=torch.bool)
        self._quality = torch.zeros(3, device=rng.device)

        rate, critics_rate = game.learning_rate, game.discriminator_learning_rate
        self._adams = {"autoencoder": adam(self.autoencoder, rate, game.beta_1)}
        for name in ("latent_discriminator", "visual_discriminator", "classifier"):
            if (critic := getattr(self, name)) is not None:
                self._adams[name] = adam(critic, critics_rate, game.beta_1)

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        return {
            "n_updates": self._n_updates,
            "n_averaged": self._average.n_updates,
            "mines": self._mines,
            "quality": self._quality,
            **{f"{name}_optimizer": part for name, part in self._adams.items()},
        }

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        """Algorithm 1 for one batch."""
        game, loss = self.game, self._loss
        encoder, decoder = self.autoencoder.encoder, self.autoencoder.decoder
        # Whether decoded random points are what D_v has to be fooled by.
        from_box = self.visual_discriminator is not None and (
            game.visual_fakes == "samples"
        )
        x = self._scaled(x)
        if len(x) == 1:  # batch normalisation needs two rows even where X has one
            x = x.expand(2, *x.shape[1:])
        losses: dict[str, Tensor] = {}

        codes = encoder(x + self._noise_like(x))
        rebuilt = decoder(codes)
        points = self.prior.sample(len(x), self.latent_dim, self._rng)
        if from_box or self.classifier is not None:
            with statistics_kept(decoder):
                drawn = decoder(points)

        # 1. C: reconstructions up, decoded random points down.
        if self.classifier is not None:
            c_loss = ADVERSARIAL_LOSSES["cross_entropy"].discriminator(
                *_judge(self.classifier, rebuilt, drawn)
            )
            losses["classifier_loss"] = _step(self._adams["classifier"], c_loss)

        # 2. D_l: random points up, codes down. D_v: rows up, fakes down; un-mined
        # points for both, since weaker fakes would teach them less.
        if self.latent_discriminator is not None:
            l_loss = loss.discriminator(
                *_judge(self.latent_discriminator, points, codes)
            )
            losses["latent_loss"] = _step(self._adams["latent_discriminator"], l_loss)
        if self.visual_discriminator is not None:
            fakes = drawn if from_box else rebuilt
            logits = _judge(self.visual_discriminator, x, fakes)
            v_loss = loss.discriminator(*logits)
            losses["visual_loss"] = _step(self._adams["visual_discriminator"], v_loss)
            belief = logits[1].detach().sigmoid().mean()

        # 3. Mining: random points to where C is sure that they are negatives.
        error = (x - rebuilt).square().mean()
        if from_box and self.classifier is not None:
            if self._mining_has_begun(x, error, belief):
                with statistics_kept(decoder):
                    fakes = decoder(self.mine(points))
            losses["mining"] = torch.full((), float(self._mines), device=x.device)

        # 4. En, De: codes look random, fakes look real, rows are rebuilt.
        total = game.reconstruction_weight * error
        with _frozen(self.latent_discriminator), _frozen(self.visual_discriminator):
            if self.latent_discriminator is not None:
                fooled = loss.generator(self.latent_discriminator(codes))
                total = total + game.latent_weight * fooled
            if self.visual_discriminator is not None:
                fooled = loss.generator(self.visual_discriminator(fakes))
                total = total + game.visual_weight * fooled
            losses["generator_loss"] = _step(self._adams["autoencoder"], total)
        losses["reconstruction_error"] = error.detach()

        # 5. The auto-encoder that scores is a moving average of the one that trains.
        self._average.update(self.autoencoder)
        return losses

    def mine(self, points: Tensor) -> Tensor:
        """Informative negatives: codes whose images C takes for negatives.

        Descends BCE(C(De(l2)), 0) over l2 alone, each step of the length
        `mining_step_size`, inside the box. The paper's Algorithm 1 names the label 1,
        which would lead towards positives; its text and its code say 0.

        Parameters
        ----------
        points : Tensor of shape (n, d)
            In [-1, 1].

        Returns
        -------
        mined : Tensor of shape (n, d)
            In [-1, 1].
        """
        assert self.classifier is not None
        decoder = self.autoencoder.decoder
        with _fixed(self.classifier), _fixed(decoder), torch.enable_grad():
            for _ in range(self.game.n_mining_steps):
                points = points.detach().requires_grad_(True)
                loss = softplus(self.classifier(decoder(points))).sum()
                (gradient,) = torch.autograd.grad(loss, points)
                length = gradient.norm(dim=1, keepdim=True).clamp(min=1e-12)
                moved = points - self.game.mining_step_size * gradient / length
                points = moved.clamp(-1, 1)
        return points.detach()

    def _mining_has_begun(self, x: Tensor, error: Tensor, belief: Tensor) -> bool:
        """Whether drawn rows are good enough to mine among them; for good once so.

        Either from update `mining_start` on, or, with "auto", once running means say
        that reconstructions leave less than `UNEXPLAINED` of the variance of the rows
        and that D_v takes decoded random points for real with a probability of at
        least `BELIEVED`; 0.5 would be a draw.
        """
        self._n_updates += 1
        if self._mines:
            return True
        start = self.game.mining_start
        if start != "auto":
            self._mines.copy_(self._n_updates >= int(start))
            return bool(self._mines)
        variance = joined_variance(x).mean()
        now = joined_mean(torch.stack([error.detach(), variance, belief]))
        self._quality.mul_(SMOOTHING).add_(now, alpha=1 - SMOOTHING)
        # Reading the means stalls a GPU: every tenth update will do.
        if self._n_updates % 10 == 0:
            weight = 1 - SMOOTHING ** int(self._n_updates)
            mean_error, mean_variance, mean_belief = (self._quality / weight).tolist()
            self._mines.fill_(
                mean_error < UNEXPLAINED * mean_variance and mean_belief >= BELIEVED
            )
        return bool(self._mines)

    def validation_error(self, x: Tensor) -> Tensor:
        """Mean squared error of each row; the state with the least is kept."""
        x = self._scaled(x)
        return _mean_squared_error(x, self._average.network.eval()(x))

    def finish_training(self) -> None:
        self.autoencoder.load_state_dict(self._average.network.state_dict())
        del self._average, self._rng, self._loss, self._adams
        del self._n_updates, self._mines, self._quality
        self.rest()

    def _noise_like(self, x: Tensor) -> Tensor:
        """Gaussian noise, fresh at each call."""
        noise = draw(
            torch.randn,
            tuple(x.shape),
            generator=self._rng,
            device=x.device,
            dtype=x.dtype,
        )
        return noise * self.game.noise_variance**0.5

    # Scoring ------------------------------------------------------------------

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Learn how normal rows differ from reconstructions, and from their mean."""
        self._widest = self.autoencoder.encoder.widest(self._scaled(x[:1]))
        floor = self.whitening_floor
        differences = chunked(self._feature_differences, x)
        self.metric = WhitenedMetric.fit(differences, floor, RANK).eval()
        some = self._scaled(reference_images(x))
        rebuilt, network = self.autoencoder(some), self._network_of_maps
        self.position_metrics = position_metrics(network, some, rebuilt).eval()
        features = chunked(self._features, x)
        self.register_buffer("centre", features.mean(0))
        self.spread = WhitenedMetric.fit(features - self.centre, floor, RANK).eval()

    def score(self, x: Tensor) -> Tensor:
        """A(x), or what a critic makes of x, of its code, or of its reconstruction."""
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
        """Whose hidden maps are compared position by position.

        The visual discriminator has no normalisation. That over groups of channels in
        the encoder lets one odd place change the features of the whole image.
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
        # Of one layer what goes in, comes out and lies between; two feature vectors.
        return 5 * self._widest

    def collapse(self, x: Tensor) -> float:
        rebuilt = chunked(lambda rows: self.autoencoder(self._scaled(rows)), x)
        return share_of_variance(rebuilt, x, self._scaled)

    def _features(self, x: Tensor) -> Tensor:
        return self.autoencoder.encoder.features(self._scaled(x))

    def _feature_differences(self, x: Tensor) -> Tensor:
        return self.autoencoder.feature_differences(self._scaled(x))

    def _scaled(self, x: Tensor) -> Tensor:
        return self.scaling(x, next(self.autoencoder.parameters()).dtype)


def _present(network: Discriminator | None) -> Discriminator:
    assert network is not None  # the detector refuses such a score
    return network


def _mean_squared_error(x: Tensor, rebuilt: Tensor) -> Tensor:
    """(n, ...) and (n, ...) to (n,)."""
    return (x - rebuilt).square().flatten(1).mean(1)


def _judge(critic: Discriminator, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """The critic's logits for both, in one pass; neither gets a gradient."""
    logits = critic(torch.cat([up.detach(), down.detach()]))
    return logits[: len(up)], logits[len(up) :]


def _step(optimizer: torch.optim.Adam, loss: Tensor) -> Tensor:
    """One update; the loss it went down, detached."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


@contextmanager
def _frozen(network: nn.Module | None) -> Iterator[None]:
    """Gradients flow through the network, none to it."""
    weights = [] if network is None else list(network.parameters())
    trainable = [weight for weight in weights if weight.requires_grad]
    for weight in trainable:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trainable:
            weight.requires_grad_(True)


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    """Frozen, and in eval mode, so that no running statistic moves either."""
    was_training = network.training
    network.eval()
    try:
        with _frozen(network):
            yield
    finally:
        network.train(was_training)

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

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from skanogan.models._feature_map import reference_images
from skanogan.models._folding import folded
from skanogan.models._gan import GAN, GANParts
from skanogan.models._inversion import descend
from skanogan.models._losses import feature_matching, residual
from skanogan.models._metric import RANK, WhitenedMetric, nearest
from skanogan.models._model import chunked, floats_kept

__all__ = ["SCORES", "STARTS", "AnoGAN", "Search"]

SCORES = ("whitened", "anogan", "residual", "discrimination", "gan_r", "p_d")
STARTS = ("nearest", "encoder", "random")

CACHE_BYTES = 8 * 2**20
"""What the rows of one descent hold on a CPU, if they are at least `CACHE_ROWS`."""

CACHE_ROWS = 64


@dataclass(frozen=True)
class Search:
    """How the latent of a row is searched, and what of it is the score."""

    score: str
    start: str
    n_candidates: int
    n_restarts: int
    n_steps: int
    step_size: float
    tol: float
    discrimination_weight: float
    prior_weight: float
    whitening_floor: float


class AnoGAN(GAN):
    """A GAN and the search of its latents.

    Parameters
    ----------
    parts : GANParts
        With an encoder if the search starts from it.
    search : Search
        Settings of the search.
    """

    latents: Tensor
    coordinates: Tensor

    def __init__(self, parts: GANParts, search: Search) -> None:
        super().__init__(parts)
        self.search = search

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Draw the starts, and learn the metric from how far x is from its start."""
        search = self.search
        features = chunked(self._features, x)
        n_latents = {
            "random": search.n_restarts,
            "nearest": search.n_candidates,
            "encoder": 0,
        }
        latents = self._fixed_latents(n_latents[search.start], rng)
        drawn = chunked(self._drawn_features, latents)
        some = self._scaled(reference_images(x))
        if search.start == "random":
            at_start = drawn[:1]
            self._learn_positions(some, latents[:1].expand(len(some), -1))
        elif search.start == "encoder":
            at_start = chunked(
                lambda x: self._drawn_features(self.encode(self._scaled(x))), x
            )
            self._learn_positions(some, self.encode(some))
        else:
            # No differences are known yet: as if normal rows varied as differences do.
            centred = features - features.mean(0)
            metric = WhitenedMetric.fit(centred, search.whitening_floor, RANK)
            bank = metric.coordinates(drawn)
            at = chunked(lambda f: nearest(metric.coordinates(f), bank), features)
            at_start = drawn[at[:, 0]]
            self._learn_positions(some, latents[reference_images(at)[:, 0]])
        differences = features - at_start
        self.metric = WhitenedMetric.fit(differences, search.whitening_floor, RANK)
        self.metric.eval()
        self.register_buffer("latents", latents)
        self.register_buffer("coordinates", self.metric.coordinates(drawn))
        self._floats_of_a_pass = floats_kept(
            lambda z: self.metric.coordinates(self._drawn_features(z)),
            self._fixed_latents(3, rng),
        )

    # Scoring ------------------------------------------------------------------

    def score(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        if self.search.score == "p_d":
            return -self.discriminator(scaled)
        features = self.discriminator.features(scaled)
        if self._score_is_distance_to_bank:
            coordinates = self.metric.coordinates(features)
            at = nearest(coordinates, self.coordinates)[:, 0]
            return (coordinates - self.coordinates[at]).square().sum(1)
        z = self._find(scaled, features)
        return self._score_at(z, scaled, features)

    def find_latents(self, x: Tensor) -> Tensor:
        """The search alone."""
        scaled = self._scaled(x)
        return self._find(scaled, self.discriminator.features(scaled))

    @property
    def floats_per_row(self) -> int:
        # The distances to the bank, and what one pass through both networks keeps.
        return len(self.latents) + self._floats_of_a_pass

    def try_scoring(self, x: Tensor) -> None:
        whole = self.search
        n_steps = min(whole.n_steps, 1)
        try:
            self.search = replace(whole, n_steps=n_steps, n_restarts=1)
            super().try_scoring(x)
        finally:
            self.search = whole

    @property
    def _score_is_distance_to_bank(self) -> bool:
        """Whether drawing the nearest candidate again would tell nothing new."""
        search = self.search
        looked_up = search.start == "nearest" and search.n_steps == 0
        return looked_up and search.score == "whitened" and search.prior_weight == 0

    def _find(self, scaled: Tensor, features: Tensor) -> Tensor:
        """The latent of each row: the best of `n_restarts` starts after `n_steps`."""
        starts = self._starts(scaled, features)
        if self.search.n_steps == 0:
            return self._best(starts, scaled, features)
        n_restarts = starts.shape[1]
        # Steps on few rows at a time, whose activations stay in the cache: 1.1 times
        # the rate of 1,024 at once on 28 x 28 images, 2 times on 64 x 64.
        length = len(scaled)
        if scaled.device.type == "cpu":
            held = self._floats_of_a_pass * scaled.element_size()
            length = max(1, max(CACHE_ROWS, CACHE_BYTES // held) // n_restarts)
        # Anew for each chunk of rows, as a second copy of the weights would be a
        # second truth; it costs as much as a row.
        generator = folded(self.generator)
        found = [
            self._descend(generator, *rows)
            for rows in zip(
                torch.split(starts, length),
                torch.split(scaled, length),
                torch.split(features, length),
                strict=True,
            )
        ]
        return torch.cat(found)

    def _descend(
        self, generator: nn.Module, starts: Tensor, scaled: Tensor, features: Tensor
    ) -> Tensor:
        n_restarts = starts.shape[1]
        z = descend(
            partial(self._search_loss, generator),
            starts.flatten(0, 1),
            self.search.n_steps,
            self.search.step_size,
            targets=(
                scaled.repeat_interleave(n_restarts, 0),
                features.repeat_interleave(n_restarts, 0),
            ),
            tol=self.search.tol,
        )
        return self._best(z.view_as(starts), scaled, features)

    def _best(self, latents: Tensor, scaled: Tensor, features: Tensor) -> Tensor:
        """Of several latents a row, (n, n_restarts, latent_dim), that of least loss."""
        n, n_restarts, _ = latents.shape
        if n_restarts == 1:
            return latents[:, 0]
        losses = [
            self._search_loss(self.generator, z, scaled, features)
            for z in latents.unbind(1)
        ]
        best = torch.stack(losses, 1).argmin(1)
        return latents[torch.arange(n, device=best.device), best]

    def _starts(self, scaled: Tensor, features: Tensor) -> Tensor:
        """Starts of shape (n, n_restarts, latent_dim), each a function of its row."""
        if self.search.start == "random":
            latents = self.latents[: self.search.n_restarts]
            return latents.expand(len(features), -1, -1)
        if self.search.start == "encoder":
            return self.encode(scaled)[:, None]
        k = min(self.search.n_restarts, len(self.latents))
        return self.latents[
            nearest(self.metric.coordinates(features), self.coordinates, k)
        ]

    def _search_loss(
        self, generator: nn.Module, z: Tensor, scaled: Tensor, features: Tensor
    ) -> Tensor:
        """What the search minimises, of shape (n,): equation 4 or its variants."""
        drawn = generator(z)
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
        return self._search_loss(self.generator, z, scaled, features)

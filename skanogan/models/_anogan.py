"""AnoGAN (Schlegl et al., IPMI 2017, arXiv 1703.05921).

Training is an ordinary GAN on normal rows. For a row x the search looks for the latent
z whose drawing G(z) is closest to x. The score is how close that is:

    R(z) = sum |x - G(z)|                        equation 1, residual loss
    D(z) = sum |f(x) - f(G(z))|                  equation 3, feature matching
    L(z) = (1 - lambda) R(z) + lambda D(z)       equation 4, minimised over z
    A(x) = L at the last z                       equation 5, the score

`whitened`, the default here, replaces L by the squared Mahalanobis length of
f(x) - f(G(z)) under the second moment that this difference has for normal rows
(`nn/_metric.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from skanogan.models._gan import GAN, GANParts
from skanogan.nn import WhitenedMetric, chunked, descend, floats_kept, nearest
from skanogan.nn._feature_map import reference_images
from skanogan.nn._folding import folded

__all__ = ["SCORES", "AnoGAN", "Search"]

SCORES = ("whitened", "anogan", "residual", "discrimination", "gan_r", "p_d")

CACHE_BYTES = 8 * 2**20
"""Memory for the rows of one descent on a CPU, but for at least `CACHE_ROWS`."""

CACHE_ROWS = 64


@dataclass(frozen=True)
class Search:
    """Settings of the search and of the score.

    Parameters
    ----------
    score : str, default="whitened"
        One of "whitened", "anogan", "residual", "discrimination", "gan_r" and "p_d".
    n_candidates : int, default=2048
        Number of latents, of which the search starts from the nearest, in features.
    n_steps : int, default=0
        Number of gradient steps.
    step_size : float, default=0.05
        Learning rate of Adam in the search.
    discrimination_weight : float, default=0.1
        The paper's lambda.
    shrinkage : float, default=0.1
        Shrinkage of the whitened metric.
    """

    score: str = "whitened"
    n_candidates: int = 2048
    n_steps: int = 0
    step_size: float = 0.05
    discrimination_weight: float = 0.1
    shrinkage: float = 0.1


class AnoGAN(GAN):
    """GAN and a search of its latent space.

    Parameters
    ----------
    parts : GANParts
        Networks and settings of the GAN.
    search : Search
        Settings of the search and of the score.
    """

    latents: Tensor
    coordinates: Tensor

    def __init__(self, parts: GANParts, search: Search) -> None:
        super().__init__(parts)
        self.search = search

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Draw the bank of latents and estimate the metric."""
        shrinkage = self.search.shrinkage
        features = chunked(self.embed, x)
        latents = self._fixed_latents(self.search.n_candidates, rng)
        drawn = chunked(self._drawn_features, latents)
        # The differences from the nearest drawings are not known yet. Choose these with
        # the metric that normal rows have about their mean.
        first = WhitenedMetric.fit(features - features.mean(0), shrinkage)
        bank = first.coordinates(drawn)
        at = chunked(lambda f: nearest(first.coordinates(f), bank), features)
        some = self._scaled(reference_images(x))
        self._learn_positions(some, latents[reference_images(at)])
        self.metric = WhitenedMetric.fit(features - drawn[at], shrinkage)
        self.register_buffer("latents", latents)
        self.register_buffer("coordinates", self.metric.coordinates(drawn))
        self._floats_of_a_pass = floats_kept(
            lambda z: self.metric.coordinates(self._drawn_features(z)),
            self._fixed_latents(3, rng),
        )

    # Scoring ------------------------------------------------------------------

    @property
    def scores_are_lengths(self) -> bool:
        return self.search.score == "whitened"

    def score(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        search = self.search
        if search.score == "p_d":
            return -self.discriminator(scaled)
        features = self.discriminator.features(scaled)
        if search.score == "whitened" and search.n_steps == 0:
            # The distance to the bank is known without drawing the candidate again.
            coordinates = self.metric.coordinates(features)
            at = nearest(coordinates, self.coordinates)
            return (coordinates - self.coordinates[at]).square().sum(1)
        z = self._find(scaled, features)
        if search.score == "residual":
            return _absolute_sum(scaled - self.generator(z))
        if search.score == "discrimination":
            return _absolute_sum(features - self._drawn_features(z))
        return self._search_loss(self.generator, z, scaled, features)

    def find_latents(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        return self._find(scaled, self.discriminator.features(scaled))

    @property
    def floats_per_row(self) -> int:
        # The distances to the bank, and what one pass through both networks keeps.
        return len(self.latents) + self._floats_of_a_pass

    @contextmanager
    def in_few_steps(self) -> Iterator[None]:
        whole = self.search
        try:
            self.search = replace(whole, n_steps=min(whole.n_steps, 1))
            yield
        finally:
            self.search = whole

    def _find(self, scaled: Tensor, features: Tensor) -> Tensor:
        """Take the nearest candidate of each row, and `n_steps` from there."""
        coordinates = self.metric.coordinates(features)
        starts = self.latents[nearest(coordinates, self.coordinates)]
        if self.search.n_steps == 0:
            return starts
        # Steps on few rows at a time keep their activations in the cache. The rate is
        # 1.1 times that of 1,024 rows on 28 x 28 images, and twice on 64 x 64.
        length = len(scaled)
        if scaled.device.type == "cpu":
            held = self._floats_of_a_pass * scaled.element_size()
            length = max(CACHE_ROWS, CACHE_BYTES // held)
        # Folded anew for each call, so that the model holds its weights only once. It
        # takes as long as one row.
        loss = partial(self._search_loss, folded(self.generator))
        n_steps, step_size = self.search.n_steps, self.search.step_size
        found = [
            descend(loss, start, n_steps, step_size, (x, f))
            for start, x, f in zip(
                torch.split(starts, length),
                torch.split(scaled, length),
                torch.split(features, length),
                strict=True,
            )
        ]
        return torch.cat(found)

    def _search_loss(
        self, generator: nn.Module, z: Tensor, scaled: Tensor, features: Tensor
    ) -> Tensor:
        """Equation 4 or its variants, of shape (n,)."""
        drawn = generator(z)
        weight = self.search.discrimination_weight
        if self.search.score == "whitened":
            difference = features - self.discriminator.features(drawn)
            return self.metric.squared_length(difference)
        if self.search.score == "gan_r":
            # Yeh et al. 2017: cross-entropy of D(G(z)) against 1.
            other = nn.functional.softplus(-self.discriminator(drawn))
        else:
            other = _absolute_sum(features - self.discriminator.features(drawn))
        return (1 - weight) * _absolute_sum(scaled - drawn) + weight * other


def _absolute_sum(differences: Tensor) -> Tensor:
    """R(z) or D(z) from the differences, (n, ...) to (n,)."""
    return differences.abs().flatten(1).sum(1)

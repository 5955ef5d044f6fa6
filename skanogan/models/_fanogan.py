"""f-AnoGAN (Schlegl et al., Medical Image Analysis 54, 2019).

Where AnoGAN searches the latent of a row, an encoder E that was trained to invert G
names it at once (`_gan.py`, stage 2). The score compares the row with what comes back:

    A_R(x) = mean |x - G(E(x))|^2
    A_D(x) = mean |f(x) - f(G(E(x)))|^2
    A(x)   = A_R(x) + kappa A_D(x)

with f the hidden activations of D. `whitened`, the default here, is the squared
Mahalanobis length of f(x) - f(G(E(x))) under what that difference is for normal rows
(`_metric.py`).
"""

import torch
from torch import Tensor

from skanogan.models._feature_map import reference_images
from skanogan.models._gan import GAN, GANParts
from skanogan.models._metric import RANK, WhitenedMetric
from skanogan.models._model import chunked, floats_kept

__all__ = ["FANOGAN_SCORES", "FAnoGAN"]

FANOGAN_SCORES = ("whitened", "f_anogan", "residual", "discrimination", "latent")


class FAnoGAN(GAN):
    """Generator, discriminator and encoder, and the score between them.

    Parameters
    ----------
    parts : GANParts
        With an encoder.
    score : str
        One of `FANOGAN_SCORES`.
    whitening_floor : float
        Of the whitened metric.
    """

    def __init__(self, parts: GANParts, score: str, whitening_floor: float) -> None:
        super().__init__(parts)
        assert parts.encoder_training is not None
        self.feature_weight = parts.encoder_training.feature_weight
        self.anomaly_score = score
        self.whitening_floor = whitening_floor

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Learn the metric from how far normal rows are from what comes back."""
        differences = chunked(lambda x: self._differences(self._scaled(x)), x)
        floor = self.whitening_floor
        self.metric = WhitenedMetric.fit(differences, floor, RANK).eval()
        some = self._scaled(reference_images(x))
        self._learn_positions(some, self.encode(some))
        self._floats_of_a_pass = floats_kept(self._differences, self._scaled(x[:3]))

    def score(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        if self.anomaly_score == "whitened":
            return self.metric.squared_length(self._differences(scaled))
        if self.anomaly_score == "discrimination":
            return self._differences(scaled).square().mean(1)
        z = self.encode(scaled)
        drawn = self.generator(z)
        if self.anomaly_score == "latent":
            return (z - self.encode(drawn)).square().mean(1)
        pixels = (scaled - drawn).square().flatten(1).mean(1)
        if self.anomaly_score == "residual":
            return pixels
        features = self.discriminator.features
        difference = features(scaled) - features(drawn)
        return pixels + self.feature_weight * difference.square().mean(1)

    def find_latents(self, x: Tensor) -> Tensor:
        return self.encode(self._scaled(x))

    @property
    def floats_per_row(self) -> int:
        return self._floats_of_a_pass

    def _differences(self, scaled: Tensor) -> Tensor:
        """f(x) - f(G(E(x))), of shape (n, p)."""
        features = self.discriminator.features
        return features(scaled) - features(self.generator(self.encode(scaled)))

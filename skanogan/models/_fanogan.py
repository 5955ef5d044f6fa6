"""f-AnoGAN (Schlegl et al., Medical Image Analysis 54, 2019).

AnoGAN searches the latent of a row. Here an encoder E computes it. With the hidden
activations f of D, the score compares a row with G(E(x)):

    A_R(x) = mean |x - G(E(x))|^2
    A_D(x) = mean |f(x) - f(G(E(x)))|^2
    A(x)   = A_R(x) + kappa A_D(x)

Once the GAN is trained, G and D are frozen and E learns to invert G by minimising A
(the paper's "izi_f").

`whitened`, the default here, is the squared Mahalanobis length of f(x) - f(G(E(x)))
under the second moment that this difference has for normal rows (`nn/_metric.py`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skanogan.models._gan import GAN, GANParts
from skanogan.models._model import step
from skanogan.nn import WhitenedMetric, adam, chunked, floats_kept
from skanogan.nn._feature_map import reference_images

__all__ = ["FANOGAN_SCORES", "EncoderTraining", "FAnoGAN"]

FANOGAN_SCORES = ("whitened", "f_anogan", "residual", "discrimination", "latent")


@dataclass(frozen=True)
class EncoderTraining:
    """Settings of the encoder's training.

    Parameters
    ----------
    after : int
        Number of updates of the GAN before the encoder trains.
    learning_rate : float, default=0.001
        Learning rate of Adam.
    feature_weight : float, default=1.0
        The paper's kappa, in the loss and in the score "f_anogan".
    """

    after: int
    learning_rate: float = 1e-3
    feature_weight: float = 1.0


class FAnoGAN(GAN):
    """GAN and an encoder that inverts its generator.

    Parameters
    ----------
    parts : GANParts
        Networks and settings of the GAN.
    encoder : torch.nn.Module
        From (n, ...) on the scale of `parts.scaling` to latents (n, latent_dim).
    encoder_training : EncoderTraining
        Settings of the encoder's training.
    score : str, default="whitened"
        One of "whitened", "f_anogan", "residual", "discrimination" and "latent".
    shrinkage : float, default=0.1
        Shrinkage of the whitened metric.
    """

    def __init__(
        self,
        parts: GANParts,
        encoder: nn.Module,
        encoder_training: EncoderTraining,
        score: str = "whitened",
        shrinkage: float = 0.1,
    ) -> None:
        super().__init__(parts)
        self.encoder = encoder
        self.encoder_training = encoder_training
        self.anomaly_score = score
        self.shrinkage = shrinkage

    # Training -----------------------------------------------------------------

    def start_training(self, rng: torch.Generator) -> None:
        super().start_training(rng)
        self._n_updates = torch.zeros((), dtype=torch.int64)
        rate = self.encoder_training.learning_rate
        self._encoder_optimizer = adam(self.encoder, rate)

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        return {
            "n_updates": self._n_updates,
            **super().training_parts(),
            "encoder_optimizer": self._encoder_optimizer,
        }

    def is_whole_after(self, n_updates: int) -> bool:
        return n_updates > self.encoder_training.after

    def resume_training(self) -> None:
        if self._encoder_trains():
            self._freeze_gan()

    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        """Update the GAN, or the encoder once the updates of the GAN are done."""
        self._n_updates += 1
        if not self._encoder_trains():
            return super().train_step(x)
        if self._n_updates == self.encoder_training.after + 1:
            self._freeze_gan()
        loss = self._inversion_error(x).mean()
        return {"encoder_loss": step(self._encoder_optimizer, loss)}

    def validation_error(self, x: Tensor) -> Tensor | None:
        """Compute the loss of the encoder; a GAN has no error to select a state by."""
        return self._inversion_error(x) if self._encoder_trains() else None

    def finish_training(self) -> None:
        super().finish_training()
        del self._n_updates, self._encoder_optimizer

    def _encoder_trains(self) -> bool:
        return bool(self._n_updates > self.encoder_training.after)

    def _freeze_gan(self) -> None:
        """Freeze D and the moving average of G."""
        self.generator.load_state_dict(self._average.network.state_dict())
        self.generator.eval().requires_grad_(False)
        self.discriminator.eval().requires_grad_(False)

    def _inversion_error(self, x: Tensor) -> Tensor:
        """A(x) of a batch in training, of shape (n,)."""
        scaled = self._scaled(x)
        return self._error(scaled, self.generator(self.encoder(scaled)))

    # Scoring ------------------------------------------------------------------

    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Estimate the metric from f(x) - f(G(E(x))) of normal rows."""
        differences = chunked(lambda x: self._differences(self._scaled(x)), x)
        self.metric = WhitenedMetric.fit(differences, self.shrinkage)
        some = self._scaled(reference_images(x))
        self._learn_positions(some, self.encoder(some))
        self._floats_of_a_pass = floats_kept(self._differences, self._scaled(x[:3]))

    @property
    def scores_are_lengths(self) -> bool:
        return self.anomaly_score == "whitened"

    def score(self, x: Tensor) -> Tensor:
        scaled = self._scaled(x)
        if self.anomaly_score == "whitened":
            return self.metric.squared_length(self._differences(scaled))
        if self.anomaly_score == "discrimination":
            return self._differences(scaled).square().mean(1)
        z = self.encoder(scaled)
        drawn = self.generator(z)
        if self.anomaly_score == "latent":
            return (z - self.encoder(drawn)).square().mean(1)
        if self.anomaly_score == "residual":
            return _mean_squares(scaled - drawn)
        return self._error(scaled, drawn)

    def find_latents(self, x: Tensor) -> Tensor:
        return self.encoder(self._scaled(x))

    @property
    def floats_per_row(self) -> int:
        return self._floats_of_a_pass

    def _differences(self, scaled: Tensor) -> Tensor:
        """f(x) - f(G(E(x))), of shape (n, p)."""
        features = self.discriminator.features
        return features(scaled) - features(self.generator(self.encoder(scaled)))

    def _error(self, scaled: Tensor, drawn: Tensor) -> Tensor:
        """A(x) for drawn = G(E(x)), of shape (n,)."""
        features = self.discriminator.features
        difference = features(scaled) - features(drawn)
        weight = self.encoder_training.feature_weight
        return _mean_squares(scaled - drawn) + weight * difference.square().mean(1)


def _mean_squares(differences: Tensor) -> Tensor:
    """From (n, ...) to (n,)."""
    return differences.square().flatten(1).mean(1)

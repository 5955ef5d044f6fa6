"""GANDetector: the parameters of a GAN and how they become networks."""

import copy
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skanogan._backbone import (
    NETWORK_CONSTRAINTS,
    check_hidden_layer_sizes,
    is_convolutional,
)
from skanogan._base import BaseDetector
from skanogan._compat import Interval, StrOptions
from skanogan._inputs import Rows
from skanogan.exceptions import DiscriminatorWinsWarning
from skanogan.models import _autoencoder as autoencoder
from skanogan.models import _networks as networks
from skanogan.models._gan import EncoderTraining, GANParts, Training
from skanogan.models._networks import Discriminator
from skanogan.models._prior import PRIORS, Prior

__all__ = ["GANDetector"]

WON = 8.0
"""Mean logit of real rows less that of drawn ones, from which on D has won: odds of
3,000 to one. Trainings that go well end between 0 and 4."""


class GANDetector(BaseDetector):
    """What detectors built on a GAN share: its parameters, networks and remarks."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDetector._parameter_constraints,
        **NETWORK_CONSTRAINTS,
        "generator": [nn.Module, None],
        "discriminator": [nn.Module, None],
        "prior": [StrOptions(set(PRIORS))],
        "gradient_penalty": [Interval(Real, 0, None, closed="left")],
        "encoder_max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    _not_of_training = BaseDetector._not_of_training | {
        "anomaly_score",
        "whitening_floor",
    }

    _advice_on_training = "Lower learning_rate, or set gradient_penalty=1."

    backbone: str
    generator: nn.Module | None
    discriminator: nn.Module | None
    hidden_layer_sizes: tuple[int, ...]
    n_filters: int
    latent_dim: int | str
    prior: str
    adversarial_loss: str
    gradient_penalty: float
    learning_rate: float
    beta_1: float
    averaging: float
    encoder_max_iter: int
    whitening_floor: float | str

    def _gan_parts(
        self,
        rows: Rows,
        row_shape: tuple[int, ...],
        rng: torch.Generator | None,
        encoder_training: EncoderTraining | None = None,
        bounded: bool | None = None,
    ) -> GANParts:
        """Build the networks, or copy those that were given, and try them.

        Parameters
        ----------
        rows, row_shape, rng : object
            As in `_make_model`. Networks without weights are not tried.
        encoder_training : EncoderTraining, default=None
            None for a method without an encoder.
        bounded : bool, default=None
            Whether the encoder's latents lie in (-1, 1); by default where the prior
            does.

        Raises
        ------
        ValueError
            If the parameters contradict each other, or a given network does not fit.
        """
        if bounded is None:
            bounded = self.prior == "uniform"
        sizes = check_hidden_layer_sizes(self.hidden_layer_sizes)
        convolutional = is_convolutional(self.backbone, row_shape)
        latent_dim = self._latent_dim(row_shape, convolutional)
        n_filters = self.n_filters

        def make_generator() -> nn.Module:
            if convolutional:
                return networks.convolutional_generator(
                    latent_dim, row_shape, n_filters
                )
            return networks.mlp_generator(latent_dim, row_shape, sizes)

        def make_discriminator() -> Discriminator:
            if convolutional:
                return networks.convolutional_discriminator(row_shape, n_filters)
            return networks.mlp_discriminator(row_shape, sizes)

        def make_encoder() -> nn.Module:
            if convolutional:
                return autoencoder.convolutional_encoder(
                    row_shape, latent_dim, n_filters, "group", bounded
                )
            return autoencoder.mlp_encoder(
                row_shape, latent_dim, sizes, "none", bounded
            )

        if self.generator is None:
            generator = networks.build(make_generator, rng)
        else:
            generator = copy.deepcopy(self.generator).cpu().float()
        if self.discriminator is None:
            discriminator = networks.build(make_discriminator, rng)
        else:
            given = copy.deepcopy(self.discriminator).cpu().float()
            discriminator = networks.as_discriminator(given)
        encoder = networks.build(make_encoder, rng) if encoder_training else None
        if rng is not None:
            _check_shapes(generator, discriminator, latent_dim, row_shape)
        return GANParts(
            generator,
            discriminator,
            rows.scaling(),
            Prior(self.prior),
            latent_dim,
            Training(
                adversarial_loss=self.adversarial_loss,
                learning_rate=self.learning_rate,
                beta_1=self.beta_1,
                gradient_penalty=self.gradient_penalty,
                averaging=self.averaging,
            ),
            encoder,
            encoder_training,
        )

    def _latent_dim(self, row_shape: tuple[int, ...], convolutional: bool) -> int:
        if self.latent_dim != "auto":
            return int(self.latent_dim)
        if self.generator is not None:
            raise ValueError(
                "generator was given and latent_dim='auto': set latent_dim to the "
                "dimension of the latents that your generator takes."
            )
        return 32 if convolutional else min(math.prod(row_shape), 64)

    def _remarks(
        self, history: list[dict[str, float]]
    ) -> list[tuple[type[Warning], str]]:
        of_gan = [record for record in history if "real_logit" in record]
        # The logits of the other losses are not log odds.
        if not of_gan or self.adversarial_loss != "cross_entropy":
            return []
        lead = of_gan[-1]["real_logit"] - of_gan[-1]["drawn_logit"]
        if lead < WON:
            return []
        message = (
            f"The discriminator has won: at the end the mean logit of real rows was "
            f"{lead:.1f} above that of drawn ones, and the generator learns little "
            f"from {WON:g} on. Set gradient_penalty=1, lower learning_rate, or train "
            "on more rows."
        )
        return [(DiscriminatorWinsWarning, message)]


def _check_shapes(
    generator: nn.Module,
    discriminator: Discriminator,
    latent_dim: int,
    row_shape: tuple[int, ...],
) -> None:
    """Try the networks on two latents, so that wrong ones are told at once."""
    shape = row_shape if len(row_shape) == 1 else (row_shape[2], *row_shape[:2])
    generator.eval()
    discriminator.eval()
    latents = torch.zeros(2, latent_dim, dtype=torch.float32)
    drawn = _try(
        f"The generator does not take latents of dimension {latent_dim}: set "
        "latent_dim to what it takes",
        generator,
        latents,
    )
    if drawn.shape != (2, *shape):
        raise ValueError(
            f"The generator draws {tuple(drawn.shape)} from two latents of "
            f"dimension {latent_dim}; {(2, *shape)} was expected."
        )
    refusal = f"The discriminator does not take rows of shape {tuple(drawn.shape)}"
    logits = _try(refusal, discriminator, drawn)
    if logits.shape != (2,):
        raise ValueError(
            f"The discriminator gives {tuple(logits.shape)} for two rows; one logit a "
            "row was expected."
        )
    features = _try(refusal, discriminator.features, drawn)
    if features.ndim != 2 or len(features) != 2:
        raise ValueError(
            f"The discriminator's features have the shape {tuple(features.shape)} for "
            "two rows; one vector a row was expected."
        )


def _try(refusal: str, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        # A layer that is lazy draws its weights here.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            out = network(x)
    except Exception as error:
        raise ValueError(f"{refusal} ({error}).") from error
    if not isinstance(out, Tensor):
        raise ValueError(f"{refusal}: it gives {type(out).__name__}, not a tensor.")
    return out

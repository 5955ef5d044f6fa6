"""GANDetector: the parameters of a GAN, and how they become networks."""

import copy
import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skanogan._runtime.compatibility import Interval, StrOptions
from skanogan._runtime.user_warnings import warn
from skanogan.detectors._base import BaseDetector
from skanogan.detectors._network_parameters import (
    NETWORK_CONSTRAINTS,
    check_hidden_layer_sizes,
    is_convolutional,
    resolve,
)
from skanogan.exceptions import DiscriminatorWinsWarning, ParameterWarning
from skanogan.models import GANParts, GANTraining
from skanogan.nn import (
    Discriminator,
    Prior,
    Scaling,
    as_discriminator,
    build,
    convolutional_discriminator,
    convolutional_generator,
    mlp_discriminator,
    mlp_generator,
)
from skanogan.nn._prior import PRIORS

__all__ = ["GAN_NETWORKS", "GANDetector"]

GAN_NETWORKS = (
    *("backbone", "generator", "discriminator", "hidden_layer_sizes"),
    *("n_filters", "latent_dim", "prior", "image_shape"),
)
"""The group of parameters that choose the networks."""

WON = 8.0
"""If the mean logit of real rows exceeds that of generated rows by this much, D has
won. The odds are then 3,000 to one. Trainings that succeed end between 0 and 4."""


class GANDetector(BaseDetector):
    """Base class of detectors built on a GAN."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseDetector._parameter_constraints,
        **NETWORK_CONSTRAINTS,
        "generator": [nn.Module, None],
        "discriminator": [nn.Module, None],
        "prior": [StrOptions(set(PRIORS))],
        "learning_rate": [StrOptions({"auto"}), *NETWORK_CONSTRAINTS["learning_rate"]],
        "gradient_penalty": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "ema_decay": [StrOptions({"auto"}), *NETWORK_CONSTRAINTS["ema_decay"]],
    }

    _scoring_parameters = BaseDetector._scoring_parameters | {
        "anomaly_score",
        "shrinkage",
    }

    _auto: ClassVar[dict[str, tuple[Any, Any]]] = {
        "n_estimators": (1, 1),
        "max_iter": (100, 600),
        "learning_rate": (2e-3, 1e-3),
        "gradient_penalty": (3.0, 0.0),
        "ema_decay": (0.95, 0.99),
    }

    _training_advice = "Lower learning_rate, or set gradient_penalty=1."

    backbone: str
    generator: nn.Module | None
    discriminator: nn.Module | None
    hidden_layer_sizes: tuple[int, ...]
    n_filters: int
    latent_dim: int | str
    prior: str
    learning_rate: float | str
    gradient_penalty: float | str
    ema_decay: float | str
    shrinkage: float | str

    def _gan_parts(
        self, scaling: Scaling, row_shape: tuple[int, ...], rng: torch.Generator | None
    ) -> GANParts:
        """Build or copy the networks, and try them unless they have no weights."""
        sizes = check_hidden_layer_sizes(self.hidden_layer_sizes)
        convolutional = is_convolutional(self.backbone, row_shape)
        if self.generator is not None and self.latent_dim == "auto":
            raise ValueError(
                "generator was given with latent_dim='auto': set latent_dim to the "
                "dimension of the latents that your generator takes."
            )
        auto = 32 if convolutional else min(math.prod(row_shape), 64)
        latent_dim = resolve(self.latent_dim, auto)
        make_generator: Callable[[], nn.Module]
        if convolutional:
            n = self.n_filters
            make_generator = partial(convolutional_generator, latent_dim, row_shape, n)
            make_discriminator = partial(convolutional_discriminator, row_shape, n)
        else:
            make_generator = partial(mlp_generator, latent_dim, row_shape, sizes)
            make_discriminator = partial(mlp_discriminator, row_shape, sizes)
        if self.generator is None:
            generator = build(make_generator, rng)
        else:
            generator = copy.deepcopy(self.generator).cpu().float()
        if self.discriminator is None:
            discriminator = build(make_discriminator, rng)
        else:
            given = copy.deepcopy(self.discriminator).cpu().float()
            discriminator = as_discriminator(given)
        if rng is not None:
            _check_shapes(generator, discriminator, latent_dim, row_shape)
            if self.discriminator is not None:
                _warn_of_probabilities(discriminator, row_shape)
        settings = ("learning_rate", "gradient_penalty", "ema_decay")
        training = GANTraining(*(float(self._resolved(name)) for name in settings))
        prior = Prior(self.prior)
        return GANParts(generator, discriminator, scaling, prior, latent_dim, training)

    def _training_warnings(
        self, history: list[dict[str, float]]
    ) -> list[tuple[type[Warning], str]]:
        records = [record for record in history if "real_logit" in record]
        if not records:
            return []
        lead = records[-1]["real_logit"] - records[-1]["drawn_logit"]
        if lead < WON:
            return []
        message = (
            "The discriminator has won: at the end of the training the mean logit of "
            f"real rows was {lead:.1f} above that of generated rows. From {WON:g} on "
            "the generator learns little. Set gradient_penalty=1, lower learning_rate, "
            "or train on more rows."
        )
        return [(DiscriminatorWinsWarning, message)]


FAR_ROWS = 1000.0
"""The size of random rows on which a discriminator shows whether it has a bound."""


def _warn_of_probabilities(
    discriminator: Discriminator, row_shape: tuple[int, ...]
) -> None:
    """Warn if a discriminator of the user gives probabilities in place of logits."""
    rng = torch.Generator().manual_seed(0)
    shape = row_shape if len(row_shape) == 1 else (row_shape[2], *row_shape[:2])
    rows = FAR_ROWS * torch.randn(64, *shape, dtype=torch.float32, generator=rng)
    found = _try("The discriminator does not take 64 rows", discriminator, rows)
    least, most = float(found.min()), float(found.max())
    # A sigmoid is saturated on these rows; a network with normalisation stays between.
    if 0 <= least < most <= 1 and (least < 0.01 or most > 0.99):
        warn(
            "The discriminator gives values between 0 and 1 for all of 64 random rows, "
            f"from {least:.2g} to {most:.2g}, as after a sigmoid. Logits are expected, "
            "and the loss has a sigmoid of its own. Leave out the last sigmoid.",
            ParameterWarning,
        )


def _check_shapes(
    generator: nn.Module,
    discriminator: Discriminator,
    latent_dim: int,
    row_shape: tuple[int, ...],
) -> None:
    """Try the networks on two latents, so that wrong ones are refused at once."""
    shape = row_shape if len(row_shape) == 1 else (row_shape[2], *row_shape[:2])
    generator.eval()
    discriminator.eval()
    latents = torch.zeros(2, latent_dim, dtype=torch.float32)
    drawn = _try(
        f"The generator does not take latents of dimension {latent_dim}. Set "
        "latent_dim to the dimension that it takes",
        generator,
        latents,
    )
    if drawn.shape != (2, *shape):
        raise ValueError(
            f"The generator draws {tuple(drawn.shape)} from two latents of "
            f"dimension {latent_dim}; {(2, *shape)} was expected. Change its output."
        )
    refusal = f"The discriminator does not take rows of shape {tuple(drawn.shape)}"
    logits = _try(refusal, discriminator, drawn)
    if logits.shape != (2,):
        raise ValueError(
            f"The discriminator gives {tuple(logits.shape)} for two rows; one logit a "
            "row was expected. Change its output."
        )
    features = _try(refusal, discriminator.features, drawn)
    if features.ndim != 2 or len(features) != 2:
        raise ValueError(
            f"The discriminator's features have the shape {tuple(features.shape)} for "
            "two rows; one vector a row was expected. Change its method features(x)."
        )


def _try(refusal: str, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        # A lazy layer draws its weights here.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            out = network(x)
    except Exception as error:
        raise ValueError(f"{refusal} ({error}).") from error
    if not isinstance(out, Tensor):
        raise ValueError(f"{refusal}: it gives {type(out).__name__}, not a tensor.")
    return out

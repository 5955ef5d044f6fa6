"""The protocol between models, training and detectors."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from skanogan.nn import Scaling
from skanogan.nn._feature_map import by_gradient

__all__ = ["Model", "step"]

SCORING = ("score", "reconstruct", "residual_map", "feature_map", "embed")
"""The methods that score rows."""


class Model(nn.Module, ABC):
    """Base class of methods on tensors.

    Rows come as X holds them: (n, d), or (n, C, H, W) for images, in any numeric dtype
    and in X's units. A detector calls `start_training`, then `train_step` for each
    batch and `validation_error` at intervals, then `finish_training` and
    `prepare_scoring`, and after that the methods that score, in any order.
    """

    scaling: Scaling

    trains_row_by_row: ClassVar[bool] = False
    """Whether `train_step` and `validation_error` treat each row alone, and losses are
    means over rows. The members of an ensemble then train as one network."""

    @abstractmethod
    def start_training(self, rng: torch.Generator) -> None:
        """Make optimisers, averages and whatever else only training needs.

        Parameters
        ----------
        rng : torch.Generator
            Source of all noise of the training, on the model's device.
        """

    @abstractmethod
    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        """Do all alternating updates for one batch, in the order of the paper.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Batch of rows in X's units.

        Returns
        -------
        losses : dict of str to scalar Tensor
            Detached losses on the device.
        """

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        """Collect the state of the training that is not in the networks.

        Returns
        -------
        parts : dict of str to Optimizer or Tensor
            Optimisers, and tensors that training changes in place, for a checkpoint.
        """
        return {}

    def is_whole_after(self, n_updates: int) -> bool:
        """Tell whether so many updates have trained every network.

        Parameters
        ----------
        n_updates : int
            At least 1.

        Returns
        -------
        is_whole : bool
            False if a network has not been trained yet.
        """
        return True

    def resume_training(self) -> None:
        """Restore what follows from the parts that a checkpoint has just restored."""

    def validation_error(self, x: Tensor) -> Tensor | None:
        """Compute errors of held-out rows during training.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Held-out normal rows in X's units.

        Returns
        -------
        errors : Tensor of shape (n,) or None
            Training ends with the state of the least mean error, or with the last state
            if the method has no such error (None).
        """
        return None

    @abstractmethod
    def finish_training(self) -> None:
        """Delete what only training needs, and freeze all networks in eval mode."""

    def rest(self) -> None:
        """Freeze all networks in eval mode."""
        self.zero_grad(set_to_none=True)
        self.eval().requires_grad_(False)

    @abstractmethod
    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        """Fix everything that scores depend on besides the networks.

        Parameters
        ----------
        x : Tensor of shape (m, ...)
            Normal rows in X's units, some of those trained on.
        rng : torch.Generator
            Source of randomness, on the CPU.
        """

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """Compute the anomaly score of each row.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        scores : Tensor of shape (n,)
            Higher is more anomalous.
        """

    @property
    def scores_are_lengths(self) -> bool:
        """Whether `score` is a squared length, never negative, of no fixed unit.

        Detectors then report its logarithm, on the scale of normal rows. Other scores,
        such as published ones, are reported as they are.
        """
        return False

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """Draw the closest normal row that the model can draw.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        drawn : Tensor of shape (n, ...)
            Rows in X's units.
        """

    @abstractmethod
    def residual_map(self, x: Tensor) -> Tensor:
        """Compute the difference of each value from the reconstruction.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        differences : Tensor of shape (n, ...)
            Absolute differences on the networks' scale.
        """

    def feature_map(self, x: Tensor) -> Tensor:
        """Compute what each entry of x adds to its score, by default by its gradient.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        map : Tensor of shape (n, ...) or (n, 1, H, W)
            Non-negative values.
        """
        return by_gradient(self.score, x, self.reconstruct(x))

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Compute the features or codes by which the method compares rows.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        embedding : Tensor of shape (n, p)
            One vector per row.
        """

    @abstractmethod
    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        """Draw new normal rows.

        Parameters
        ----------
        n_samples : int
            Number of rows.
        rng : torch.Generator
            Source of randomness, on the CPU, so that every device draws the same rows.

        Returns
        -------
        rows : Tensor of shape (n_samples, ...)
            Rows in X's units.
        """

    @property
    @abstractmethod
    def floats_per_row(self) -> int:
        """Approximate number of floats held per row while it is scored."""

    def try_scoring(self, x: Tensor) -> None:
        """Call every method that scores once, so that parts which do not fit fail.

        This checks a model that was read from a file, with few steps of a search.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            A few rows in X's units.
        """
        with self.in_few_steps():
            for name in SCORING:
                getattr(self, name)(x)

    def in_few_steps(self) -> AbstractContextManager[None]:
        """Take at most one step of a search meanwhile.

        Returns
        -------
        context : context manager
            By default without effect: most methods have no search.
        """
        return nullcontext()

    @property
    def n_weights(self) -> int:
        """Number of weights of all networks."""
        return sum(weights.numel() for weights in self.parameters())

    @abstractmethod
    def collapse(self, x: Tensor) -> float:
        """Compare the variance of generated rows with that of real rows.

        Parameters
        ----------
        x : Tensor of shape (m, ...)
            Normal rows in X's units.

        Returns
        -------
        ratio : float
            Near 0 if all generated rows are alike.
        """

    def _scaled(self, x: Tensor) -> Tensor:
        """Rows on the networks' scale and in their dtype."""
        return self.scaling(x, next(self.parameters()).dtype)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """Take one step and return the loss before it, detached."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()

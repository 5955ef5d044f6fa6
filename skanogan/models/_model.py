"""What a method must offer: the protocol between models, training and detectors."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from skanogan.models._feature_map import by_gradient

__all__ = ["Model", "chunked", "floats_kept", "share_of_variance"]

CHUNK = 256
"""Rows drawn or encoded at once where a model does so for itself, at fit."""


class Model(nn.Module, ABC):
    """A method as its paper writes it, on tensors.

    Rows come in as X holds them: (n, d), or (n, C, H, W) for images, in any numeric
    dtype and in X's units. A detector calls, in this order: `start_training`,
    `train_step` for each batch and now and then `validation_error`, `finish_training`,
    `prepare_scoring`, and then `score`, `reconstruct`, `embed` and `sample` as often as
    it likes.
    """

    @abstractmethod
    def start_training(self, rng: torch.Generator) -> None:
        """Make what only training needs: optimisers, averages, the random stream.

        Parameters
        ----------
        rng : torch.Generator
            On the model's device; all noise of training comes from it.
        """

    @abstractmethod
    def train_step(self, x: Tensor) -> dict[str, Tensor]:
        r"""All alternating updates of one batch, in the order of the paper.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            The batch.

        Returns
        -------
        losses : dict of str to scalar Tensor
            Detached, on the device: reading them is left to the caller.
        """

    def training_parts(self) -> dict[str, torch.optim.Optimizer | Tensor]:
        """What training holds beside the networks, by name.

        Returns
        -------
        parts : dict of str to Optimizer or Tensor
            Optimisers, and counters and running means as tensors, which training
            changes in place: with them a training is stopped and gone on with
            (checkpoints).
        """
        return {}

    def is_whole_after(self, n_updates: int) -> bool:
        """Whether a training of so many updates has trained every network.

        Parameters
        ----------
        n_updates : int
            At least 1.

        Returns
        -------
        is_whole : bool
            False where a network is trained only later.
        """
        return True

    def resume_training(self) -> None:
        """Bring what follows from the parts just restored up to them."""

    def validation_error(self, x: Tensor) -> Tensor | None:
        """Errors of shape (n,) on rows that are not trained on, during training.

        The state with the least mean is the one that training ends with.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Held-out normal rows.

        Returns
        -------
        errors : Tensor of shape (n,) or None
            None where a method has no such error: the last state is kept.
        """
        return None

    @abstractmethod
    def finish_training(self) -> None:
        """Drop what only training needs; freeze everything in eval mode."""

    def rest(self) -> None:
        """Freeze everything in eval mode."""
        self.zero_grad(set_to_none=True)
        self.eval().requires_grad_(False)

    @abstractmethod
    def prepare_scoring(self, x: Tensor, rng: torch.Generator) -> None:
        r"""Fix everything that scores depend on beside the networks.

        Parameters
        ----------
        x : Tensor of shape (m, ...)
            Normal rows, some of those trained on.
        rng : torch.Generator
            On the CPU.
        """

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """How anomalous each row is.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Any rows.

        Returns
        -------
        scores : Tensor of shape (n,)
            Higher is more anomalous.
        """

    @abstractmethod
    def reconstruct(self, x: Tensor) -> Tensor:
        """The closest normal thing.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Any rows.

        Returns
        -------
        drawn : Tensor of shape (n, ...)
            In the units of x.
        """

    @abstractmethod
    def residual_map(self, x: Tensor) -> Tensor:
        """How far each value is from the closest normal thing.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Any rows.

        Returns
        -------
        differences : Tensor of shape (n, ...)
            Absolute, on the model's scale.
        """

    def feature_map(self, x: Tensor) -> Tensor:
        """What each entry of x adds to its score, in the shape of x or (n, 1, H, W).

        By the score's gradient, where a method has no features with positions.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units.

        Returns
        -------
        map : Tensor of shape (n, ...) or (n, 1, H, W)
            Not negative.
        """
        return by_gradient(self.score, x, self.reconstruct(x))

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Features or codes.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Any rows.

        Returns
        -------
        embedding : Tensor of shape (n, p)
            What the method compares rows by.
        """

    @abstractmethod
    def sample(self, n_samples: int, rng: torch.Generator) -> Tensor:
        """New normal rows.

        Parameters
        ----------
        n_samples : int
            How many.
        rng : torch.Generator
            On the CPU, so that every device draws the same.

        Returns
        -------
        rows : Tensor of shape (n_samples, ...)
            In the units of X.
        """

    @property
    @abstractmethod
    def floats_per_row(self) -> int:
        """Roughly the numbers held for each row while it is scored."""

    def try_scoring(self, x: Tensor) -> None:
        """Send rows every way once, so that parts which do not fit fail at once.

        For a model that was put together from a file, at the cost of a few rows,
        whatever the settings of a search.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            A few rows.
        """
        for function in (
            self.score,
            self.reconstruct,
            self.residual_map,
            self.feature_map,
            self.embed,
        ):
            function(x)

    @property
    def n_weights(self) -> int:
        """Of all networks together."""
        return sum(weights.numel() for weights in self.parameters())

    @abstractmethod
    def collapse(self, x: Tensor) -> float:
        """Compare the variance of what the model draws with that of real rows.

        Parameters
        ----------
        x : Tensor of shape (m, ...)
            Normal rows.

        Returns
        -------
        ratio : float
            0 where all that is drawn is one point.
        """


def chunked(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a row-wise function to `CHUNK` rows at a time and join the results."""
    chunks = torch.split(rows, CHUNK)
    return torch.cat([function(chunk) for chunk in chunks])


def share_of_variance(
    drawn: Tensor, x: Tensor, scaled: Callable[[Tensor], Tensor]
) -> float:
    """The variance of drawn rows, summed over entries, as a share of that of real ones.

    Parameters
    ----------
    drawn : Tensor of shape (k, ...)
        On the networks' scale.
    x : Tensor of shape (m, ...)
        Real rows in X's units.
    scaled : callable
        From X's units to the networks' scale, chunk by chunk: X may be of uint8, an
        eighth of what it is once scaled.

    Returns
    -------
    share : float
    """
    centre = drawn.mean(0)
    # On the CPU, as mps has no float64.
    moments = torch.zeros(2, *centre.shape, dtype=torch.float64)
    for chunk in torch.split(x, CHUNK):
        rows = scaled(chunk) - centre
        moments += torch.stack([rows.sum(0), rows.square().sum(0)]).cpu()
    mean, square = moments / len(x)
    variance = (square - mean.square()).sum()
    return float(drawn.var(0, correction=0).sum() / variance.clamp(min=1e-12))


def floats_kept(function: Callable[[Tensor], Tensor], rows: Tensor) -> int:
    """Numbers that a gradient through a row-wise function keeps for each row.

    Parameters
    ----------
    function : callable
        (n, ...) to (n, ...).
    rows : Tensor of shape (n, ...)
        A few rows to try it on.
    """
    once, out = _kept(function, rows)
    twice, _ = _kept(function, torch.cat((rows, rows)))
    # Weights are kept as well, and do not grow with the rows.
    grown = [more - less for less, more in zip(once, twice, strict=False)]
    # The last output and its gradient, and the widest gradient on the way.
    return (sum(grown) + 2 * out + max(grown, default=0)) // len(rows)


def _kept(function: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[list[int], int]:
    """Sizes of what autograd keeps, and of the output."""
    kept: dict[int, Tensor] = {}

    def count(tensor: Tensor) -> None:
        # Held, so that no other takes its place in memory. Without its history: what a
        # node of the graph keeps must not lead back to the node, or both are there for
        # ever (2 MB a fit, of images).
        kept[tensor.data_ptr()] = tensor.detach()

    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing)
    with torch.enable_grad(), hooks:
        out = function(rows.detach().requires_grad_(True))
    return [tensor.numel() for tensor in kept.values()], out.numel()

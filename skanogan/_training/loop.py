"""The training loop, a generator of records. The caller keeps them and may stop."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from skanogan._runtime import processes
from skanogan._runtime.exit import may_stop
from skanogan.models import Model

__all__ = ["BatchSource", "Diverged", "Progress", "shuffled_batches", "train"]


VALIDATION_CHUNK = 256
"""Held-out rows that are reconstructed at once."""


class BatchSource(Protocol):
    """The interface of the rows that training needs."""

    def __len__(self) -> int:
        """The number of rows."""

    def batch(self, at: Tensor) -> Tensor:
        """The rows at these positions."""


class Diverged(Exception):
    """Losses or weights stopped being finite.

    Parameters
    ----------
    update : int
        The update after which it was noticed.
    kept : int or None
        The update whose state the model has again, with frozen networks. None where
        there is no such state: before the first record, or before the first record of
        the last network.
    """

    def __init__(self, update: int, kept: int | None) -> None:
        super().__init__(update, kept)
        self.update = update
        self.kept = kept


@dataclass
class Progress:
    """The state of a training at its last record, except for the model.

    Parameters
    ----------
    n_iter : int
        Updates done.
    kept : int or None
        The update of the best state so far, which the training would end with now.
    least : float
        The validation error of that state, where the model has one.
    kept_state : dict of str to Tensor
        The weights of that state.
    seconds : float
        Of training so far.
    stop : bool
        Set by the caller to end the training at this record.
    """

    n_iter: int = 0
    kept: int | None = None
    least: float = math.inf
    kept_state: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    stop: bool = False


def shuffled_batches(
    n_rows: int, batch_size: int, rng: torch.Generator
) -> Iterator[Tensor]:
    """Yield positions of endless shuffled epochs, each cut into nearly equal batches.

    Every row occurs once in an epoch, and no batch is a remainder of one row: 130 rows
    and a batch size of 128 give one batch of 130.
    """
    n_batches = _batches_an_epoch(n_rows, batch_size)
    while True:
        yield from torch.randperm(n_rows, generator=rng).tensor_split(n_batches)


def _batches_an_epoch(n_rows: int, batch_size: int) -> int:
    at_least = min(batch_size, 2)
    return max(1, min(round(n_rows / batch_size), n_rows // at_least))


def train(
    model: Model,
    rows: BatchSource,
    *,
    n_updates: int,
    batch_size: int,
    report_every: int,
    batch_rng: torch.Generator,
    noise_rng: torch.Generator,
    held_out: Tensor | None = None,
    progress: Progress | None = None,
) -> Iterator[dict[str, float]]:
    """Train a model for a number of updates that does not depend on the rows.

    If a process group is initialised, all its processes train one model. Each process
    calls this function with the same rows and seeds, and takes its own part of every
    batch.

    Parameters
    ----------
    model : Model
        Trained in place. Frozen and in eval mode once the iterator is exhausted.
    rows : BatchSource
    n_updates, batch_size : int
    report_every : int
        Updates between two records.
    batch_rng, noise_rng : torch.Generator
        The first on the CPU, the second on the model's device.
    held_out : Tensor, default=None
        Rows for the `validation_error` of the model, if it has one. The state with the
        least mean error among those at the records is kept.
    progress : Progress, default=None
        Kept up to date. If it has already begun, training resumes there: the model is
        then in training, and the model and `noise_rng` have the state of that record.

    Yields
    ------
    record : dict of str to float
        ``n_iter``, the number of updates so far; the mean of each loss since the last
        record; ``validation_error``, where the model has one; ``seconds`` since the
        start.

    Raises
    ------
    Diverged
        If a loss or a weight is not finite at a record.
    ValueError
        If a batch has fewer than two rows for each of several processes.
    """
    _check_batches(len(rows), batch_size)
    processes.copied_from_first(model)
    progress = progress or Progress()
    started = time.perf_counter() - progress.seconds
    if progress.n_iter == 0:
        model.start_training(noise_rng)
    sums: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()
    positions = shuffled_batches(len(rows), batch_size, batch_rng)
    # The seed fixes the order of the rows. Skip the batches that were already used.
    positions = itertools.islice(positions, progress.n_iter, None)
    last = progress.n_iter if progress.stop else n_updates
    for update in range(progress.n_iter + 1, last + 1):
        may_stop()
        with processes.own_rows(next(positions), model) as own:
            losses = processes.weighted(model.train_step(rows.batch(own)))
        # Sums stay on the device, because reading them at every update would stall it.
        # Each loss has its own count, because stages of a training have different ones.
        sums |= {name: sums.get(name, 0) + loss for name, loss in losses.items()}
        counts.update(losses.keys())
        if update % report_every and update != n_updates:
            continue
        sums = processes.summed(sums)
        record = {name: float(value) / counts[name] for name, value in sums.items()}
        error = _validation_error(model, held_out)
        if error is not None:
            record["validation_error"] = error
        finite = all(map(math.isfinite, record.values())) and _all_finite(model)
        # All processes must take the same decision on whether to continue and which
        # state to keep.
        record, error, finite = processes.from_first(
            (record, error, finite), noise_rng.device
        )
        if not finite:
            kept = progress.kept
            if kept is None or not model.is_whole_after(kept):
                raise Diverged(update, None)
            model.load_state_dict(progress.kept_state)
            model.finish_training()
            raise Diverged(update, kept)
        if error is None or error < progress.least:
            progress.least = math.inf if error is None else error
            progress.kept = update
            state = model.state_dict()
            progress.kept_state = {k: value.clone() for k, value in state.items()}
        progress.n_iter = update
        progress.seconds = time.perf_counter() - started
        sums, counts = {}, Counter()
        yield {"n_iter": update, **record, "seconds": progress.seconds}
        if progress.stop:
            break
    model.load_state_dict(progress.kept_state)
    model.finish_training()


def _check_batches(n_rows: int, batch_size: int) -> None:
    n_processes = processes.n_processes()
    smallest = n_rows // _batches_an_epoch(n_rows, batch_size)
    needed = processes.ROWS_EACH * n_processes
    if n_processes > 1 and smallest < needed:
        raise ValueError(
            f"batch_size={batch_size} makes batches of {smallest} of these {n_rows} "
            f"rows, but {n_processes} processes need batches of {needed} rows or more, "
            f"{processes.ROWS_EACH} for each. Increase batch_size or use fewer "
            "processes."
        )


def _validation_error(model: Model, held_out: Tensor | None) -> float | None:
    """Compute the mean error on these rows, if the model has an error."""
    if held_out is None:
        return None
    sums = []
    with torch.no_grad():
        for chunk in torch.split(held_out, VALIDATION_CHUNK):
            errors = model.validation_error(chunk)
            if errors is None:
                return None
            sums.append(errors.sum(dtype=torch.float32))
    return float(torch.stack(sums).sum()) / len(held_out)


def _all_finite(model: Model) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())

"""The training loop, a generator of records. Whoever drives it keeps them or stops."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from skanogan.models import Model, _processes
from skanogan.models._exit import may_stop

__all__ = ["BatchSource", "Diverged", "Progress", "shuffled_batches", "train"]


VALIDATION_CHUNK = 256
"""Held-out rows rebuilt at once."""


class BatchSource(Protocol):
    """What training needs of the rows."""

    def __len__(self) -> int:
        """How many rows there are."""

    def batch(self, at: Tensor) -> Tensor:
        """The rows at these positions."""


class Diverged(Exception):
    """Losses or weights stopped being finite.

    Parameters
    ----------
    update : int
        The update by which it was noticed.
    kept : int or None
        The update whose state the model is back in, and frozen; None where there is no
        such state: before the first record, or the first of the last network.
    """

    def __init__(self, update: int, kept: int | None) -> None:
        super().__init__(update, kept)
        self.update = update
        self.kept = kept


@dataclass
class Progress:
    """Where a training stands at its last record, beside the model itself.

    Parameters
    ----------
    n_iter : int
        Updates done.
    kept : int or None
        The update whose state the training would end with now.
    least : float
        Its validation error, where the model has one.
    kept_state : dict of str to Tensor
        That state.
    seconds : float
        Of training so far.
    stop : bool
        Set by whoever drives the training: it ends at this record.
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
    """Positions of endless shuffled epochs, each cut into nearly equal batches.

    Every row comes once an epoch and no batch is a remainder of one row: 130 rows and
    a batch size of 128 give one batch of 130.

    Parameters
    ----------
    n_rows, batch_size : int
    rng : torch.Generator
        On the CPU.

    Yields
    ------
    positions : Tensor of int64
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
    """Train a model for a budget of updates, whatever the number of rows.

    Where a process group is initialised, all its processes train one model: each calls
    this with the same rows and seeds, and takes its own part of every batch.

    Parameters
    ----------
    model : Model
        Trained in place; frozen and in eval mode once the iterator is exhausted.
    rows : BatchSource
    n_updates, batch_size : int
    report_every : int
        Updates between two records.
    batch_rng, noise_rng : torch.Generator
        The first on the CPU, the second on the model's device.
    held_out : Tensor, default=None
        Rows for the model's `validation_error`, if it has one: of the states at the
        records, the one with the least mean error is the one that is kept.
    progress : Progress, default=None
        Kept up to date. One that has begun is gone on from: the model is then in
        training, and it and `noise_rng` are in the state of that record.

    Yields
    ------
    record : dict of str to float
        ``n_iter``, the updates done; the mean of each loss since the last record;
        ``validation_error``, where the model has one; ``seconds`` since the start.

    Raises
    ------
    Diverged
        When a loss or a weight is not finite at the time of a record.
    ValueError
        When a batch has fewer than two rows for each of several processes.
    """
    _check_batches(len(rows), batch_size)
    _processes.copied_from_first(model)
    progress = progress or Progress()
    started = time.perf_counter() - progress.seconds
    if progress.n_iter == 0:
        model.start_training(noise_rng)
    sums: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()
    positions = shuffled_batches(len(rows), batch_size, batch_rng)
    # The order of the rows is that of the seed: batches that were seen are passed over.
    positions = itertools.islice(positions, progress.n_iter, None)
    last = progress.n_iter if progress.stop else n_updates
    for update in range(progress.n_iter + 1, last + 1):
        may_stop()
        with _processes.own_rows(next(positions), model) as own:
            losses = _processes.weighted(model.train_step(rows.batch(own)))
        # Sums stay on the device: reading them each time would stall it.
        # A loss has a count of its own, as stages of a training have different ones.
        sums |= {name: sums.get(name, 0) + loss for name, loss in losses.items()}
        counts.update(losses.keys())
        if update % report_every and update != n_updates:
            continue
        sums = _processes.summed(sums)
        record = {name: float(value) / counts[name] for name, value in sums.items()}
        error = _validation_error(model, held_out)
        if error is not None:
            record["validation_error"] = error
        finite = all(map(math.isfinite, record.values())) and _all_finite(model)
        # Whether to go on and which state to keep must be one decision for all.
        record, error, finite = _processes.from_first(
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
    n_processes = _processes.n_processes()
    smallest = n_rows // _batches_an_epoch(n_rows, batch_size)
    needed = _processes.ROWS_EACH * n_processes
    if n_processes > 1 and smallest < needed:
        raise ValueError(
            f"{n_processes} processes need batches of {needed} rows or more, "
            f"{_processes.ROWS_EACH} for each: batch_size={batch_size} makes batches "
            f"of {smallest} of these {n_rows} rows. Increase batch_size or use fewer "
            "processes."
        )


def _validation_error(model: Model, held_out: Tensor | None) -> float | None:
    """The mean error on these rows, if there are rows and the model has an error."""
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

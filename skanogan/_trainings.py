"""A training: done, gone on with from a file, or found in a cache."""

import copy
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from joblib import Memory
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_memory
from torch import nn

from skanogan._callbacks import FitTasks
from skanogan._identity import arrays, digest, identity
from skanogan._inputs import Rows
from skanogan._persistence import checkpoint
from skanogan._progress import progress_bar
from skanogan._training import Diverged, Progress, train
from skanogan.exceptions import DivergenceError, DivergenceWarning
from skanogan.models import Model, _processes

__all__ = ["Job", "Training", "carry_out"]

N_RECORDS = 20
"""Rows of `history_` for a fit."""

History = list[dict[str, float]]
Remark = tuple[type[Warning], str]


@dataclass(frozen=True)
class Job:
    """A training to be done.

    Parameters
    ----------
    model : Model
        On its device, with its first weights.
    rows, held_out : Rows
        To train on, and to compare states on.
    n_updates, batch_size : int
    n_iter_no_change : int or None
        Updates without a lower validation error after which it ends.
    seeds : ndarray of shape (2,)
        Of the batches, and of the noise.
    parameters : dict
        What it depends on beside all this.
    advice : str
        What to change when it diverges.
    name : str
        For the progress bar.
    verbose : int
    repeatable : bool
        Whether the same training may be asked for again.
    memory, checkpoint : object
        The detector's parameters.
    """

    model: Model
    rows: Rows
    held_out: Rows
    n_updates: int
    batch_size: int
    n_iter_no_change: int | None
    seeds: np.ndarray
    parameters: dict[str, Any]
    advice: str
    name: str
    verbose: int
    repeatable: bool
    memory: Any
    checkpoint: Any

    @property
    def report_every(self) -> int:
        """Updates between two records."""
        return max(1, self.n_updates // N_RECORDS)

    @property
    def n_records(self) -> int:
        """At most."""
        return -(-self.n_updates // self.report_every)

    def identity(self) -> str:
        """Equal for trainings that end with the same weights."""
        return identity(
            parameters=self.parameters,
            start=digest(arrays(self.model.state_dict())),
            rows=self.rows.digest(),
            held_out=self.held_out.digest(),
            seeds=self.seeds.tolist(),
            device=self.rows.device.type,
            n_processes=_processes.n_processes(),
        )


@dataclass
class Training:
    """What a training leaves beside the trained model.

    Parameters
    ----------
    history : list of dict
        Its records.
    remarks : list of (type of Warning, str)
        What the user is to be told of it, each time it is used.
    state : dict of str to ndarray
        Weights, running statistics and scaling of the model, for the cache.
    was_asked_to_stop : bool
        By a callback, before it had come to its end.
    """

    history: History = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    was_asked_to_stop: bool = False


class _NotToBeKept(Exception):
    """Out of the cache comes a training that other fits are not to be given."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.training = training


def carry_out(
    job: Job, tasks: FitTasks, ready: Callable[[Model, History], dict[str, Any]]
) -> Training:
    """Train the model, or give it the weights of the same training in the cache.

    Parameters
    ----------
    job : Job
    tasks : FitTasks
        Told of each record.
    ready : callable
        From a model whose training has ended and its records to the attributes of a
        fitted detector, for callbacks that ask for one on the way.

    Returns
    -------
    training : Training
    """
    # Nothing is kept where nobody can ask for it again, nor in several processes, which
    # would have to find it all at once.
    if job.memory is None or not job.repeatable or _processes.n_processes() > 1:
        return _train(job, tasks, ready)

    def train_and_keep() -> Training:
        training = _train(job, tasks, ready)
        if training.was_asked_to_stop:
            raise _NotToBeKept(training)
        training.state = arrays(job.model.state_dict())
        return training

    memory = job.memory
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    try:
        training = _cached(check_memory(memory), job.identity(), train_and_keep)
    except _NotToBeKept as ended:
        return ended.training
    state = {k: torch.from_numpy(v.copy()) for k, v in training.state.items()}
    job.model.load_state_dict(state)
    job.model.rest()
    return training


def _train(
    job: Job, tasks: FitTasks, ready: Callable[[Model, History], dict[str, Any]]
) -> Training:
    """Drive the training loop: collect records, draw the bar, write checkpoints."""
    device = job.rows.device
    noise_rng = torch.Generator(device).manual_seed(int(job.seeds[1]))
    progress = Progress()
    training = Training()
    keeper = None
    if job.checkpoint is not None:
        keeper = checkpoint.Keeper(job.checkpoint, job.identity())
        training.history = keeper.resume(job.model, progress, noise_rng, device)
    loop = train(
        job.model,
        job.rows,
        n_updates=job.n_updates,
        batch_size=job.batch_size,
        report_every=job.report_every,
        batch_rng=torch.Generator().manual_seed(int(job.seeds[0])),
        noise_rng=noise_rng,
        held_out=job.held_out.all(),
        progress=progress,
    )

    def as_if_stopped() -> dict[str, Any]:
        # The random stream goes on in the model that trains, and cannot be copied.
        stopped = copy.deepcopy(job.model, {id(noise_rng): noise_rng})
        stopped.load_state_dict(progress.kept_state)
        stopped.finish_training()
        return ready(stopped, training.history)

    verbose = job.verbose if _processes.is_first() else 0
    try:
        with (
            torch.enable_grad(),
            _own_randomness(job) as seed_torch,
            progress_bar(job.name, job.n_updates, verbose) as report,
        ):
            if not progress.stop:
                tasks.record_begins()
            seed_torch(progress.n_iter)
            for record in loop:
                report(record)
                training.history.append(record)
                asked = tasks.record_ends(as_if_stopped)
                settled = _has_settled(record, progress, job.n_iter_no_change)
                progress.stop = settled or progress.n_iter == job.n_updates
                # What a callback ends, another fit goes on from: it may have none.
                if keeper is not None:
                    keeper.write(job.model, progress, noise_rng, training.history)
                training.was_asked_to_stop = asked and not progress.stop
                progress.stop |= asked
                if not progress.stop:
                    tasks.record_begins()
                seed_torch(progress.n_iter)
    except Diverged as error:
        if error.kept is None:
            raise DivergenceError(
                f"Training became non-finite within its first {error.update} "
                f"updates, before there was a state to go back to. {job.advice}"
            ) from error
        # The one that began, and has no record.
        tasks.record_ends(lambda: ready(job.model, training.history))
        message = (
            f"Training became non-finite by update {error.update} of "
            f"{job.n_updates}; the detector keeps the state of update "
            f"{error.kept}. {job.advice}"
        )
        training.remarks.append((DivergenceWarning, message))
    if not job.model.is_whole_after(progress.n_iter):
        message = (
            f"Training was stopped after {progress.n_iter} of {job.n_updates} updates, "
            "before the encoder's began: scores mean nothing. Stop it later, or lower "
            "max_iter, the updates of the GAN."
        )
        training.remarks.append((ConvergenceWarning, message))
    return training


@contextmanager
def _own_randomness(job: Job) -> Iterator[Callable[[int], None]]:
    """Around the training of a user's networks, which may draw from torch's streams.

    Those of networks made here draw nothing outside of their generators. Dropout does:
    what is yielded seeds torch's own streams by the seed of the noise and the updates
    done, so that a training that was interrupted goes on as it would have. Afterwards
    the streams are where they were.
    """
    if not any(isinstance(value, nn.Module) for value in job.parameters.values()):
        yield lambda n_iter: None
        return
    device = job.rows.device
    on_cuda = device.type == "cuda"
    index = (device.index or 0) if on_cuda else 0

    def seed_torch(n_iter: int) -> None:
        entropy = np.random.SeedSequence((int(job.seeds[1]), n_iter))
        seed = int(entropy.generate_state(1)[0])
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            torch.cuda.default_generators[index].manual_seed(seed)

    with torch.random.fork_rng(devices=[index] if on_cuda else []):
        yield seed_torch


def _has_settled(
    record: dict[str, float], progress: Progress, patience: int | None
) -> bool:
    """Whether the validation error has not fallen for that many updates."""
    if patience is None or "validation_error" not in record or progress.kept is None:
        return False
    return progress.n_iter - progress.kept >= patience


def _cached(memory: Memory, name: str, train: Callable[[], Training]) -> Training:
    """The training of this name from the cache, or a new one that is put there."""
    stored = memory.cache(_kept, ignore=["train"])
    # joblib computes an entry anew that it cannot read, with a warning of its own; one
    # that can be read and holds other numbers it does not notice.
    training, written = stored(name, train)
    if digest(training.state) != written:
        warnings.warn(
            f"The cached training {name} was altered on disk: training again.",
            stacklevel=6,
        )
        stored.call_and_shelve(name, train).clear()
        training, _ = stored(name, train)
    return training


def _kept(name: str, train: Callable[[], Training]) -> tuple[Training, str]:
    training = train()
    return training, digest(training.state)

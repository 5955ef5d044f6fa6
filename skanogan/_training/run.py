"""Run a training, resume it from a checkpoint, or load it from the cache."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skanogan._data.rows import Rows
from skanogan._runtime import processes
from skanogan._training.cache import CachedTraining, TrainingCache
from skanogan._training.cache_key import arrays, cache_key, digest
from skanogan._training.checkpoint import Checkpoint
from skanogan._training.loop import Diverged, Progress, train
from skanogan._training.progress import progress_bar
from skanogan.exceptions import DivergenceError, DivergenceWarning
from skanogan.models import Ensemble

__all__ = ["TrainingPlan", "TrainingRun"]

N_RECORDS = 20
"""Records of a fit in `history_`."""


@dataclass(frozen=True)
class TrainingPlan:
    """A training that has not begun, and everything that its result depends on.

    Parameters
    ----------
    model : Ensemble
        On its device, with its first weights.
    rows, held_out : Rows
        Rows to train on, and rows that states are compared on.
    n_updates, batch_size : int
        Updates in all, and rows per update.
    n_iter_no_change : int or None
        Training ends after so many updates without a lower validation error.
    batch_seed, noise_seed : int
        Seeds of the order of the rows, and of the noise.
    parameters : dict
        Parameters of the detector that the weights depend on.
    advice : str
        What the user can change if the training diverges.
    """

    model: Ensemble
    rows: Rows
    held_out: Rows
    n_updates: int
    batch_size: int
    n_iter_no_change: int | None
    batch_seed: int
    noise_seed: int
    parameters: dict[str, Any]
    advice: str

    @property
    def report_every(self) -> int:
        """Updates between two records."""
        return max(1, self.n_updates // N_RECORDS)

    @property
    def n_records(self) -> int:
        """The largest number of records."""
        return -(-self.n_updates // self.report_every)

    def cache_key(self) -> str:
        """Name the training: equal for trainings that end with the same weights."""
        return cache_key(
            parameters=self.parameters,
            start=digest(arrays(self.model.state_dict())),
            rows=self.rows.digest(),
            held_out=self.held_out.digest(),
            seeds=[self.batch_seed, self.noise_seed],
            device=self.rows.device.type,
            n_processes=processes.n_processes(),
        )


class TrainingRun:
    """A training that its owner advances from one record to the next.

    ::

        with TrainingRun(plan, ...) as run:
            while not run.is_over:
                run.advance()
            run.finish()

    The model of the plan is trained in place. `memory` and `checkpoint` are the
    parameters of the detector; `name` labels the progress bar. `history` has the
    records so far, and `remarks` the warnings for the user. `is_over` is True at once
    where the cache has the training.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        memory: Any,
        checkpoint: Any,
        name: str,
        verbose: int,
    ) -> None:
        self._plan = plan
        self._name = name
        self._verbose = verbose if processes.is_first() else 0
        self._exit = ExitStack()
        self.history: list[dict[str, float]] = []
        self.remarks: list[tuple[type[Warning], str]] = []
        self.is_over = False
        self._progress = Progress()
        self._stopped_early = False
        self._diverged = False
        self._cache = None
        # Several processes would all have to find the entry.
        if memory is not None and processes.n_processes() == 1 and plan.n_updates:
            self._cache = TrainingCache(memory, plan.cache_key())
        self._cached = None if self._cache is None else self._cache.find()
        self._checkpoint: Checkpoint | None = None
        if plan.n_updates == 0:
            self.is_over = True
        elif self._cached is None:
            self._start(checkpoint)
        else:
            self.history, self.remarks = self._cached.history, self._cached.remarks
            self.is_over = True

    def _start(self, checkpoint: Any) -> None:
        plan, device = self._plan, self._plan.rows.device
        self._noise_rng = torch.Generator(device).manual_seed(plan.noise_seed)
        if checkpoint is not None:
            self._checkpoint = Checkpoint(checkpoint, plan.cache_key())
            self.history = self._checkpoint.resume(
                plan.model, self._progress, self._noise_rng, device
            )
            self.is_over = self._progress.stop
        self._loop = train(
            plan.model,
            plan.rows,
            n_updates=plan.n_updates,
            batch_size=plan.batch_size,
            report_every=plan.report_every,
            batch_rng=torch.Generator().manual_seed(plan.batch_seed),
            noise_rng=self._noise_rng,
            held_out=plan.held_out.all(),
            progress=self._progress,
        )

    def __enter__(self) -> "TrainingRun":
        if not self.is_over:
            self._report = self._exit.enter_context(
                progress_bar(self._name, self._plan.n_updates, self._verbose)
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def advance(self) -> None:
        """Train up to the next record, and write it to the checkpoint."""
        plan, progress = self._plan, self._progress
        try:
            with torch.enable_grad(), self._own_randomness():
                record = next(self._loop)
        except Diverged as error:
            self._remark_on_divergence(error)
            return
        self._report(record)
        self.history.append(record)
        progress.stop = self._has_settled(record) or progress.n_iter == plan.n_updates
        # Written before a callback can stop the training: another fit, which may have
        # no callback, continues from here.
        if self._checkpoint is not None:
            self._checkpoint.write(plan.model, progress, self._noise_rng, self.history)
        self.is_over = progress.stop

    def stop(self) -> None:
        """End the training at this record."""
        if not self.is_over:
            self._progress.stop = self._stopped_early = self.is_over = True

    def model_now(self) -> Ensemble:
        """Copy the model as if the training had ended at the last record.

        Where the training has ended, this is the model itself.
        """
        if self._diverged or self._cached is not None:
            return self._plan.model
        # The training still uses the random stream, and a Generator cannot be copied.
        stopped = copy.deepcopy(
            self._plan.model, {id(self._noise_rng): self._noise_rng}
        )
        stopped.load_state_dict(self._progress.kept_state)
        stopped.finish_training()
        return stopped

    def finish(self) -> None:
        """Freeze the model in the state that the training ends with."""
        plan, n_iter = self._plan, self._progress.n_iter
        if plan.n_updates == 0:
            plan.model.rest()
            return
        if self._cached is not None:
            state = {
                k: torch.from_numpy(v.copy()) for k, v in self._cached.state.items()
            }
            plan.model.load_state_dict(state)
            plan.model.rest()
            return
        next(self._loop, None)
        if n_iter < plan.n_updates and not plan.model.is_whole_after(n_iter):
            message = (
                f"Training was stopped after {n_iter} of {plan.n_updates} updates, "
                "before the encoder's training began. The scores have no meaning. Stop "
                "the training later, or lower max_iter, the updates of the GAN."
            )
            self.remarks.append((ConvergenceWarning, message))
        # Other fits are not to end where a callback of this one ended.
        if self._cache is not None and not self._stopped_early:
            state_now = arrays(plan.model.state_dict())
            self._cache.keep(CachedTraining(state_now, self.history, self.remarks))

    def _remark_on_divergence(self, error: Diverged) -> None:
        plan = self._plan
        if error.kept is None:
            raise DivergenceError(
                f"Training became non-finite within its first {error.update} updates, "
                f"and no earlier state was kept. {plan.advice}"
            ) from error
        message = (
            f"Training became non-finite by update {error.update} of "
            f"{plan.n_updates}. The detector keeps the state of update {error.kept}. "
            f"{plan.advice}"
        )
        self.remarks.append((DivergenceWarning, message))
        self._diverged = self.is_over = True

    def _has_settled(self, record: dict[str, float]) -> bool:
        """Whether the validation error has stopped falling (`n_iter_no_change`)."""
        patience, kept = self._plan.n_iter_no_change, self._progress.kept
        if patience is None or kept is None or "validation_error" not in record:
            return False
        return self._progress.n_iter - kept >= patience

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Seed torch's global streams for a user's networks, and restore them after.

        Networks that this package makes draw only from their generators. A user's
        dropout draws from the global streams. Their seed depends on the seed of the
        noise and on the updates done, so that a resumed training draws as it would
        have.
        """
        plan = self._plan
        if not any(isinstance(value, nn.Module) for value in plan.parameters.values()):
            yield
            return
        device = plan.rows.device
        on_cuda = device.type == "cuda"
        index = (device.index or 0) if on_cuda else 0
        entropy = np.random.SeedSequence((plan.noise_seed, self._progress.n_iter))
        seed = int(entropy.generate_state(1)[0])
        with torch.random.fork_rng(devices=[index] if on_cuda else []):
            torch.default_generator.manual_seed(seed)
            if on_cuda:
                torch.cuda.default_generators[index].manual_seed(seed)
            yield

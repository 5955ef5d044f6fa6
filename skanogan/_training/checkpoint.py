"""A checkpoint: a training in progress, written to a file at each record."""

import math
import os
from typing import Any

import torch
from torch import Tensor

from skanogan._persistence import model_file
from skanogan._persistence.files import write_atomically
from skanogan._runtime import processes
from skanogan._training.loop import Progress
from skanogan._training.state import restore_training, training_state
from skanogan.exceptions import CheckpointError, ModelFileError
from skanogan.models import Model

__all__ = ["Checkpoint"]

ENTRIES = {"training", "n_iter", "kept", "least", "seconds", "stop", "history"}
"""The entries of a description."""

KEPT = "kept/"
"""Prefix of the names of the state that is kept, where it is not the last one."""

NOISE = "noise"
"""Name of the state of the random stream."""

Content = tuple[dict[str, Any], dict[str, Tensor]]


class Checkpoint:
    """A file that a training is written to and resumed from.

    Parameters
    ----------
    path : str or path
        The file, in an existing folder, or an existing folder. In a folder, each
        training has a file of its own, named by its cache key.
    training : str
        The cache key of the training. A file of another training is left as it is.
    """

    def __init__(self, path: "str | os.PathLike[str]", training: str) -> None:
        self._path = os.fspath(path)
        if os.path.isdir(self._path):
            self._path = os.path.join(self._path, f"{training}.checkpoint")
        self._training = training

    def resume(
        self,
        model: Model,
        progress: Progress,
        noise_rng: torch.Generator,
        device: torch.device,
    ) -> list[dict[str, float]]:
        """Bring a training that has not begun to the state in the file.

        The model, the progress and the random stream are changed in place. The records
        so far are returned; there are none if there is no file. CheckpointError is
        raised if the file is damaged or belongs to another training.
        """
        content = self._read_by_first(device)
        if content is None:
            return []
        description, tensors = content
        kept = {
            name.removeprefix(KEPT): tensors.pop(name)
            for name in list(tensors)
            if name.startswith(KEPT)
        }
        model.start_training(noise_rng)
        noise_rng.set_state(tensors.pop(NOISE))
        restore_training(model, tensors)
        progress.n_iter = description["n_iter"]
        progress.kept = description["kept"]
        least = description["least"]
        progress.least = math.inf if least is None else least
        progress.seconds = description["seconds"]
        progress.stop = description["stop"]
        now = model.state_dict()
        progress.kept_state = {
            name: kept[name].to(value.device) if kept else value.clone()
            for name, value in now.items()
        }
        history: list[dict[str, float]] = description["history"]
        return history

    def write(
        self,
        model: Model,
        progress: Progress,
        noise_rng: torch.Generator,
        history: list[dict[str, float]],
    ) -> None:
        """Replace the content of the file by the training as it is now.

        On failure, CheckpointError is raised and the previous content is kept.
        """
        if not processes.is_first():
            return
        description = {
            "training": self._training,
            "n_iter": progress.n_iter,
            "kept": progress.kept,
            "least": progress.least if math.isfinite(progress.least) else None,
            "seconds": progress.seconds,
            "stop": progress.stop,
            "history": history,
        }
        tensors = {**training_state(model), NOISE: noise_rng.get_state()}
        if progress.kept != progress.n_iter:
            tensors |= {KEPT + k: value for k, value in progress.kept_state.items()}
        try:
            write_atomically(self._path, model_file.pack(description, tensors))
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint {self._path!r} could not be written after update "
                f"{progress.n_iter} ({error}). Its previous content is unchanged. Free "
                "some space and call fit again to resume from there."
            ) from error

    def _read_by_first(self, device: torch.device) -> Content | None:
        """Read the file in the first process, for all processes."""
        found: Content | CheckpointError | None = None
        if processes.is_first():
            try:
                found = self._read()
            except CheckpointError as error:
                found = error
        found = processes.from_first(found, device)
        if isinstance(found, CheckpointError):
            raise found
        return found

    def _read(self) -> Content | None:
        try:
            description, tensors = model_file.unpack(model_file.read(self._path))
        except FileNotFoundError as error:
            if not os.path.isdir(os.path.dirname(os.path.realpath(self._path))):
                # Raised now rather than after a twentieth of the training.
                raise CheckpointError(
                    f"checkpoint={self._path!r} is in a folder that does not exist. "
                    "Create the folder first."
                ) from error
            return None
        except (ModelFileError, OSError) as error:
            raise CheckpointError(
                f"checkpoint={self._path!r} exists, but training cannot be resumed "
                f"from it: {error} Delete the file to start again, or name another "
                "file."
            ) from error
        if set(description) != ENTRIES or description["training"] != self._training:
            raise CheckpointError(
                f"checkpoint={self._path!r} belongs to another training: the rows, "
                "parameters, seeds, versions or the device differ. Name another file, "
                "or delete this one. For several trainings, as in a search, name an "
                "existing folder, in which each training has its own file."
            )
        return description, tensors

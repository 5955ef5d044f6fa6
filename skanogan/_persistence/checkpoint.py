"""A training that is under way, in a file: written at each record, gone on from."""

import math
import os
from typing import Any

import torch
from torch import Tensor

from skanogan._persistence import model_file
from skanogan._persistence.files import write_atomically
from skanogan._training import Progress
from skanogan.exceptions import CheckpointError, ModelFileError
from skanogan.models import Model, _processes
from skanogan.models._training_state import restore_training, training_state

__all__ = ["Keeper"]

ENTRIES = {"training", "n_iter", "kept", "least", "seconds", "stop", "history"}
"""Of a description."""

KEPT = "kept/"
"""Prefix of the state that the training would end with, where it is not the last."""

NOISE = "noise"
"""The state of the random stream."""

Content = tuple[dict[str, Any], dict[str, Tensor]]


class Keeper:
    """Writes a training to one file, over and over, and takes it up from there.

    Parameters
    ----------
    path : str or path
        In a folder that is there.
    training : str
        The identity of the training: a file of another one is not touched.
    """

    def __init__(self, path: "str | os.PathLike[str]", training: str) -> None:
        self._path = os.fspath(path)
        self._training = training

    def resume(
        self,
        model: Model,
        progress: Progress,
        noise_rng: torch.Generator,
        device: torch.device,
    ) -> list[dict[str, float]]:
        """Put a training that has not begun where the file says it was.

        Parameters
        ----------
        model : Model
            With its first weights.
        progress : Progress
            At its beginning.
        noise_rng : torch.Generator
        device : torch.device
            Of the model.

        Returns
        -------
        history : list of dict
            The records so far; none where there is no file.

        Raises
        ------
        CheckpointError
            If the file is damaged, or belongs to another training.
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
        """Put the training as it is in the place of what the file held.

        Raises
        ------
        CheckpointError
            If it cannot be written. What was there before still is.
        """
        if not _processes.is_first():
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
                f"{progress.n_iter} ({error}). One that was written before is as it "
                "was: make room, and fit again to go on from there."
            ) from error

    def _read_by_first(self, device: torch.device) -> Content | None:
        """What the first process finds in the file, for all of them."""
        found: Content | CheckpointError | None = None
        if _processes.is_first():
            try:
                found = self._read()
            except CheckpointError as error:
                found = error
        found = _processes.from_first(found, device)
        if isinstance(found, CheckpointError):
            raise found
        return found

    def _read(self) -> Content | None:
        try:
            description, tensors = model_file.unpack(model_file.read(self._path))
        except FileNotFoundError as error:
            if not os.path.isdir(os.path.dirname(os.path.realpath(self._path))):
                # Now rather than after a twentieth of the training.
                raise CheckpointError(
                    f"checkpoint={self._path!r} is in a folder that is not there: "
                    "make it first."
                ) from error
            return None
        except (ModelFileError, OSError) as error:
            raise CheckpointError(
                f"checkpoint={self._path!r} is there and cannot be gone on from: "
                f"{error} Remove it to begin anew, or name another file."
            ) from error
        if set(description) != ENTRIES or description["training"] != self._training:
            raise CheckpointError(
                f"checkpoint={self._path!r} is of another training: other rows, "
                "parameters, seeds, versions or device. Name another file for this "
                "one, or remove it."
            )
        return description, tensors

"""Trainings that are told apart by all they depend on, and kept in a joblib cache."""

import hashlib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sklearn
import torch
from joblib import Memory
from torch import nn

__all__ = ["Training", "cached", "identity"]


@dataclass
class Training:
    """What a training leaves.

    Parameters
    ----------
    state : dict of str to ndarray
        Weights, running statistics and scaling of the trained model, where they are
        to be kept outside of it.
    history : list of dict
        Its records.
    warning : str or None
        What the user is to be told of it, each time it is used.
    """

    state: dict[str, np.ndarray] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    warning: str | None = None

    def digest(self) -> str:
        """Of the weights, to notice a file that was altered."""
        found = hashlib.blake2b(digest_size=16)
        for name, value in self.state.items():
            found.update(f"{name} {value.dtype} {value.shape}".encode())
            found.update(np.ascontiguousarray(value).data)
        return found.hexdigest()


def identity(**depends_on: Any) -> str:
    """A name for a training, equal where everything that it depends on is.

    Parameters
    ----------
    **depends_on : dict
        Parameters, seeds and digests of rows. Networks count with their weights and
        their source code. The versions of skanogan, scikit-learn and torch are added.

    Returns
    -------
    identity : str
    """
    from skanogan import __version__

    versions = (__version__, sklearn.__version__, torch.__version__)
    told = hashlib.blake2b(repr(versions).encode(), digest_size=16)
    for name, value in sorted(depends_on.items()):
        told.update(f"{name}={_told(value)};".encode())
    return told.hexdigest()


def cached(memory: Memory, name: str, train: Callable[[], Training]) -> Training:
    """The training of this name from the cache, or a new one that is put there.

    Parameters
    ----------
    memory : joblib.Memory
    name : str
        Of `identity`.
    train : callable
        Does the training.

    Returns
    -------
    training : Training
    """
    stored = memory.cache(_train, ignore=["train"])
    # joblib computes an entry anew that it cannot read, with a warning of its own; one
    # that can be read and holds other numbers it does not notice.
    training, digest = stored(name, train)
    if training.digest() != digest:
        warnings.warn(
            f"The cached training {name} was altered on disk: training again.",
            stacklevel=6,
        )
        stored.call_and_shelve(name, train).clear()
        training, _ = stored(name, train)
    return training


def _train(name: str, train: Callable[[], Training]) -> tuple[Training, str]:
    training = train()
    return training, training.digest()


def _told(value: Any) -> str:
    """A text that is equal for values that mean the same."""
    if isinstance(value, nn.Module):
        kinds = {type(module) for module in value.modules()}
        state = {k: v.cpu().numpy() for k, v in value.state_dict().items()}
        return repr((value, sorted(map(_source, kinds)), Training(state).digest()))
    if isinstance(value, dict):
        return repr({key: _told(each) for key, each in sorted(value.items())})
    return repr(value.item() if isinstance(value, np.generic) else value)


def _source(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name.startswith("torch."):
        return name
    try:
        return name + inspect.getsource(kind)
    except (OSError, TypeError):  # defined in a console
        return name

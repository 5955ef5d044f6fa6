"""Trained weights in a joblib cache, found by the cache key of their training."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_memory

from skanogan._runtime.user_warnings import warn
from skanogan._training.cache_key import digest

__all__ = ["CachedTraining", "TrainingCache"]


@dataclass(frozen=True)
class CachedTraining:
    """What a cache keeps of a training: weights, records, and warnings to repeat."""

    state: dict[str, np.ndarray]
    history: list[dict[str, float]]
    remarks: list[tuple[type[Warning], str]]


class TrainingCache:
    """The entry of one cache key in the cache that the parameter `memory` names."""

    def __init__(self, memory: Any, key: str) -> None:
        if isinstance(memory, os.PathLike):
            memory = os.fspath(memory)
        self._entry = check_memory(memory).cache(_stored, ignore=["training"])
        self._key = key

    def find(self) -> CachedTraining | None:
        """Read the training. None means that the cache does not have it."""
        try:
            training, written = self._entry(self._key, None)
        except _NotCached:
            return None
        # joblib discards entries that cannot be read, with a warning of its own. It
        # does not notice an entry that can be read but holds other numbers.
        if digest(training.state) == written:
            found: CachedTraining = training
            return found
        warn(
            f"The cached training {self._key} was altered on disk. It is discarded, "
            "and the training is repeated.",
            UserWarning,
        )
        self._entry.call_and_shelve(self._key, None).clear()
        return None

    def keep(self, training: CachedTraining) -> None:
        """Write the training to the cache."""
        self._entry(self._key, training)


class _NotCached(Exception):
    """The cache does not have the training."""


def _stored(key: str, training: CachedTraining | None) -> tuple[CachedTraining, str]:
    """Return the training and its digest. joblib keeps the result under `key`."""
    if training is None:
        raise _NotCached  # joblib keeps nothing of a call that raises
    return training, digest(training.state)

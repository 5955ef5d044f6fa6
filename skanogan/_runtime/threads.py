"""Limit the threads that torch uses for one operation, and restore the limit after."""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeVar

import torch
from joblib.parallel import get_active_backend

from skanogan._runtime.exit import computing
from skanogan._runtime.modes import own_modes

__all__ = [
    "at_most_threads",
    "at_work",
    "threads_beside_others",
    "threads_to_score",
    "threads_to_train",
]

SMALL_ROW = 256
"""Rows with fewer entries are small: tables, and images below 16 x 16 pixels."""

SMALL_MODEL = 2**20
"""Models with at most this many weights are small."""

FEW_ROWS = 1024
"""One thread scores up to this many rows of a table (60 ms with the defaults)."""

Value = TypeVar("Value")

_changing = threading.Lock()

_forked: int | None = None
"""The first thread of this process, if the process was forked."""


@contextmanager
def at_work() -> Iterator[None]:
    """Make calls of torch safe in any thread, forked process and mode of torch.

    The interpreter does not exit inside the block (`computing`). In the first thread of
    a forked process, torch uses one thread: GNU OpenMP would wait for ever for the
    threads that it had in the parent process. Threads that are started in the fork have
    OpenMP threads of their own and are not limited.
    """
    is_fork = threading.get_ident() == _forked
    with computing(), own_modes(), at_most_threads(1) if is_fork else nullcontext():
        yield


def threads_to_train(row_shape: tuple[int, ...], n_weights: int) -> int:
    """Return how many threads a training on a CPU may use.

    The rounding of a sum over a batch depends on the number of threads, and the network
    depends on the rounding. A small model gains little from more threads (an update
    takes at most 10 ms on one), so it is trained on one. The result is then the same
    with any number of cores and with any joblib backend.
    """
    return 1 if _is_small(row_shape, n_weights) else threads_beside_others()


def threads_to_score(row_shape: tuple[int, ...], n_weights: int, n_rows: int) -> int:
    """Return how many threads may score rows on a CPU.

    Threads change the rounding here too: on 16 threads, the scores of 2,000 rows of a
    table differed by 1e-15 from those on one thread. Small work is therefore scored on
    one thread, as in `threads_to_train`. Small images always are, because their latents
    are searched 64 at a time.
    """
    few = len(row_shape) == 3 or n_rows <= FEW_ROWS
    alone = few and _is_small(row_shape, n_weights)
    return 1 if alone else threads_beside_others()


def threads_beside_others() -> int:
    """Return how many threads torch may use in this thread.

    In a worker thread of joblib it is 1, since every worker would use all cores. joblib
    limits its worker processes itself.
    """
    in_worker = bool(get_active_backend()[0].nesting_level)
    if in_worker and threading.current_thread() is not threading.main_thread():
        return 1
    return torch.get_num_threads()


@contextmanager
def at_most_threads(most: int) -> Iterator[None]:
    """Limit the threads of torch in the current thread, and keep a lower limit."""
    # threadpoolctl cannot see the MKL inside torch. Once torch.set_num_threads was
    # called in the process, MKL has a limit of its own, and a matrix product would
    # still use every core.
    with _changing:
        before = torch.get_num_threads()
        if before > most:
            _set_for_this_thread(most)
    try:
        yield
    finally:
        if before > most:
            with _changing:
                _set_for_this_thread(before)


def _set_for_this_thread(n_threads: int) -> None:
    # torch.set_num_threads sets the limit of this thread and the default of threads
    # that have not used torch yet. The default belongs to the whole process, so a new
    # thread reads it before and restores it after. Since Python 3.12, no thread can be
    # started once the main thread has ended.
    default = None
    with suppress(RuntimeError):
        default = _in_new_thread(torch.get_num_threads)
    torch.set_num_threads(n_threads)
    if default is not None:
        with suppress(RuntimeError):
            _in_new_thread(partial(torch.set_num_threads, default))


def _in_new_thread(function: Callable[[], Value]) -> Value:
    found: list[Value] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def _is_small(row_shape: tuple[int, ...], n_weights: int) -> bool:
    return math.prod(row_shape) < SMALL_ROW and n_weights <= SMALL_MODEL


def _begin_after_fork() -> None:
    global _changing, _forked
    # Another thread of the parent may hold the lock.
    _changing, _forked = threading.Lock(), threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)

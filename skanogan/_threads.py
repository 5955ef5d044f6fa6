"""How many threads torch takes for one operation, held for a while and given back."""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeVar

import torch
from joblib.parallel import get_active_backend

from skanogan.models._exit import computing

__all__ = [
    "at_most_threads",
    "at_work",
    "threads_beside_others",
    "threads_to_score",
    "threads_to_train",
]

SMALL_ROW = 256
"""Rows of fewer entries (tables, images below 16 x 16) ..."""

SMALL_MODEL = 2**20
"""... and networks of no more weights are held to fewer threads than there may be."""

FEW_ROWS = 1024
"""Rows of a table that one thread scores alone: in 60 ms, by default."""

Value = TypeVar("Value")

_changing = threading.Lock()

_forked: int | None = None
"""The thread that this process began with, if it was made by fork."""


@contextmanager
def at_work() -> Iterator[None]:
    """Around all calls of torch, in a thread and a process of which nothing is known.

    The interpreter does not exit in the middle of one (`computing`). And a process made
    by fork holds torch to one thread: GNU's OpenMP keeps a team of threads for each
    thread that has needed one, and in the fork waits for ever for a team that stayed
    behind. Threads started in the fork make teams of their own, and are not held.
    """
    is_fork = threading.get_ident() == _forked
    with computing(), at_most_threads(1) if is_fork else nullcontext():
        yield


def threads_to_train(row_shape: tuple[int, ...], n_weights: int) -> int:
    """How many threads one training on a CPU may take.

    Sums over a batch are split among threads, and rounded as they are split: another
    number of threads is another network after some updates. Where updates are too small
    to gain much (about 10 ms on one thread, at the limit), one thread makes the same
    network whatever the process was given, and so in any back end of joblib.

    Parameters
    ----------
    row_shape : tuple of int
        (d,) or (H, W, C).
    n_weights : int
        Of all networks.

    Returns
    -------
    most : int
        At least 1.
    """
    return 1 if _is_small(row_shape, n_weights) else threads_beside_others()


def threads_to_score(row_shape: tuple[int, ...], n_weights: int, n_rows: int) -> int:
    """How many threads may score so many rows at once on a CPU.

    The sums of a row are seldom split, but they are: by 16 threads, scores of 2,000
    rows of a table differed by 1e-15 from those by one, and by 8 threads those of 3
    rows did. So one thread where no more are needed, as in `threads_to_train`. Small
    images are searched 64 at a time.

    Parameters
    ----------
    row_shape : tuple of int
        (d,) or (H, W, C).
    n_weights : int
        Of all networks.
    n_rows : int

    Returns
    -------
    most : int
        At least 1.
    """
    few = len(row_shape) == 3 or n_rows <= FEW_ROWS
    alone = few and _is_small(row_shape, n_weights)
    return 1 if alone else threads_beside_others()


def threads_beside_others() -> int:
    """How many threads this one may use: one, if joblib runs others at its side.

    joblib limits the threads within its worker processes by their environment. Of its
    worker threads each would use all cores.
    """
    in_worker = bool(get_active_backend()[0].nesting_level)
    if in_worker and threading.current_thread() is not threading.main_thread():
        return 1
    return torch.get_num_threads()


@contextmanager
def at_most_threads(most: int) -> Iterator[None]:
    """Hold torch to this many threads in the thread that enters, and in no other.

    A limit from outside, such as ``OMP_NUM_THREADS=1``, is never raised.

    Parameters
    ----------
    most : int
        At least 1.
    """
    # threadpoolctl is not enough: it sets OpenMP's count but cannot see the MKL inside
    # torch, whose count is its own once torch.set_num_threads was called anywhere in
    # the process. A product of matrices then still takes every core.
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
    # torch.set_num_threads sets two things: the count of the calling thread, and what
    # threads that have not used torch yet will begin with. The second belongs to the
    # whole process, where blocks begin and end in any order: a thread that is new takes
    # it up and writes it back at once.
    # Since Python 3.12 no thread is new any more once the main thread has ended.
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
    # A lock that another thread held stays locked.
    _changing, _forked = threading.Lock(), threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)

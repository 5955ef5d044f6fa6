"""How many threads torch takes for one operation, held for a while and given back."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

__all__ = ["at_most_threads"]

_changing = threading.Lock()


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
    with ThreadPoolExecutor(1) as new:
        default = new.submit(torch.get_num_threads).result()
        torch.set_num_threads(n_threads)
        new.submit(torch.set_num_threads, default).result()

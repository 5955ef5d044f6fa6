"""Threads that compute while the interpreter exits.

Python ends a daemon thread at exit wherever it next asks for the interpreter's lock, by
unwinding its stack. Inside a call of torch that is C++ which must not be unwound, and
the process aborts (10 of 10 programs that ended while their threads scored). Here exit
waits until such threads are between two calls, and there they stay, as all do since
Python 3.14. The threads of ``multiprocessing.pool.ThreadPool`` are of this kind, and so
are those of joblib.
"""

import atexit
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["computing", "may_stop"]

PATIENCE = 60.0
"""Seconds that exit waits at most: a step of a large network may take some."""

_changed = threading.Condition()
_computing: Counter[int] = Counter()
"""By thread, how many calls of `computing` it is in."""

_is_ending = False


@contextmanager
def computing() -> Iterator[None]:
    """Where a thread calls torch: the interpreter does not exit in the middle."""
    # Other threads are joined before the interpreter exits, or make it exit.
    if not threading.current_thread().daemon:
        yield
        return
    thread = threading.get_ident()
    with _changed:
        _computing[thread] += 1
    may_stop()
    try:
        yield
    finally:
        with _changed:
            if not _is_ending:
                _computing[thread] -= 1
                if not _computing[thread]:
                    del _computing[thread]
        # Not on to the caller, who frees tensors, or calls torch again.
        may_stop()


def may_stop() -> None:
    """Between two calls of torch: stay here for ever if the interpreter is exiting."""
    if _is_ending and threading.current_thread().daemon:
        with _changed:
            _computing.pop(threading.get_ident(), None)
            _changed.notify_all()
        threading.Event().wait()


def _end() -> None:
    global _is_ending
    with _changed:
        _is_ending = True
        _changed.wait_for(lambda: not _computing, PATIENCE)


def _begin_after_fork() -> None:
    """The threads that computed stayed behind, and with them perhaps the lock."""
    global _changed
    _changed = threading.Condition()
    _computing.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)

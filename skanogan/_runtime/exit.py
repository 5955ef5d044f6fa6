"""Let the interpreter exit only while no daemon thread is inside a call of torch.

Before Python 3.14, a daemon thread ends at exit where it next requests the interpreter
lock, and its stack is unwound. Inside torch this unwinds C++ code, and the process
aborts (10 of 10 programs that ended while threads scored). Therefore exit waits until
these threads are between two calls of torch, and they stop there. The threads of
``multiprocessing.pool.ThreadPool`` and of joblib are daemon threads.
"""

import atexit
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["computing", "may_stop"]

PATIENCE = 60.0
"""The longest time in seconds that exit waits. One step of a large network can take
several."""

_changed = threading.Condition()
_computing: Counter[int] = Counter()
"""The number of calls of `computing` that each thread is in."""

_is_ending = False


@contextmanager
def computing() -> Iterator[None]:
    """Keep the interpreter from exiting while this thread is inside the block."""
    # Threads that are not daemons are joined before the interpreter exits.
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
        # The caller would free tensors or call torch again.
        may_stop()


def may_stop() -> None:
    """Block a daemon thread for good if the interpreter is exiting."""
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
    global _changed
    # The threads of the parent do not exist here, and one of them may hold the lock.
    _changed = threading.Condition()
    _computing.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)

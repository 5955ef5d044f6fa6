"""Progress bars, in a terminal and in a notebook, and warnings of long work."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import LongRunWarning

__all__ = ["long_training_warns", "progress_bar", "with_bar"]

Item = TypeVar("Item")

LONG = 60.0
"""Work that is expected to take more than so many further seconds gets a warning."""

clock: Callable[[], float] = time.monotonic
"""Returns the time in seconds. Tests replace it."""

_training_advice: ContextVar[str] = ContextVar("_training_advice", default="")
"""What the warning of a long training advises. Without advice there is no warning."""


@contextmanager
def long_training_warns(advice: str) -> Iterator[None]:
    """Warn of trainings inside the block that are expected to take long."""
    before = _training_advice.set(advice)
    try:
        yield
    finally:
        _training_advice.reset(before)


@contextmanager
def progress_bar(
    name: str, total: int, verbose: "bool | int"
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Show a tqdm bar over updates, and yield the function that reports a record.

    With ``verbose=0`` nothing is shown, and tqdm is not imported.
    """
    expect = _Expectation(f"The training of {name}", total, _training_advice.get())
    if not verbose:
        yield lambda record: expect(int(record["n_iter"]), record["seconds"])
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=name, unit="update") as bar:

        def report(record: dict[str, float]) -> None:
            losses = {k: v for k, v in record.items() if k.endswith("loss")}
            bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
            bar.update(int(record["n_iter"]) - bar.n)
            expect(int(record["n_iter"]), record["seconds"])

        yield report


def with_bar(
    items: Iterable[Item],
    total: "int | None",
    name: str,
    verbose: "bool | int",
    advice: str = "",
) -> Iterator[Item]:
    """Yield images, with a tqdm bar if `verbose` is above 0.

    With advice, a warning names the expected time if it is long.
    """
    expect = _Expectation(name, total or 0, advice)
    if verbose:
        from tqdm.auto import tqdm

        items = tqdm(items, total=total, desc=name, unit="image")
    started = clock()
    for n_done, item in enumerate(items, 1):
        yield item
        expect(n_done, clock() - started)


class _Expectation:
    """Called with the number of steps done and their seconds, warn once if the others
    are expected to take long.
    """

    def __init__(self, name: str, total: int, advice: str) -> None:
        self._name = name
        self._total = total
        self._advice = advice

    def __call__(self, n_done: int, seconds: float) -> None:
        more = seconds / n_done * (self._total - n_done)
        # The first seconds are not typical: libraries are loaded, files are cached.
        if not self._advice or seconds < LONG / 12 or more <= LONG:
            return
        minutes = round(more / 60)
        expected = f"{minutes} minutes" if minutes > 1 else f"{more:.0f} seconds"
        message = f"{self._name} is expected to take {expected} more. {self._advice}"
        self._advice = ""
        warn(message, LongRunWarning)

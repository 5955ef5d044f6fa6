"""One bar for a fit, in a terminal and in a notebook; nothing at all by default."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    name: str, total: int, verbose: "bool | int"
) -> Iterator[Callable[[dict[str, float]], None]]:
    """A tqdm bar over updates that shows the losses of each record.

    Parameters
    ----------
    name : str
        What is written before the bar.
    total : int
        Updates in all.
    verbose : bool or int
        False or 0: silent, and tqdm is not even imported.

    Yields
    ------
    report : callable
        To be called with each record of the training.
    """
    if not verbose:
        yield lambda record: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=name, unit="update") as bar:

        def report(record: dict[str, float]) -> None:
            losses = {k: v for k, v in record.items() if k.endswith("loss")}
            bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
            bar.update(int(record["n_iter"]) - bar.n)

        yield report

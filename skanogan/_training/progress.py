"""A progress bar for a fit, in a terminal and in a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    name: str, total: int, verbose: "bool | int"
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Show a tqdm bar over updates, and yield the function that reports a record.

    With ``verbose=0`` nothing is shown, and tqdm is not imported.
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

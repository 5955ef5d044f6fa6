"""Run every detector on every task.

A cell is one detector on one task with one seed. Its result is written to a file as
soon as the cell has finished: an interrupted run resumes where it stopped.
"""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import joblib
from tqdm.auto import tqdm

from skanogan.benchmark._cell import Cell, failed, run_cell
from skanogan.benchmark._detectors import DetectorSpec, find_detectors
from skanogan.benchmark._tasks import Task, load_tasks

__all__ = ["CELLS", "default_jobs", "finished_rows", "run_benchmark"]

CELLS = "cells.jsonl"
"""Name of the file in the output folder, with one JSON line for each cell."""

_MOST_JOBS = 8
_PROCESS_ENDED = "the process ended: it crashed or ran out of memory"


def run_benchmark(
    tasks: str | Iterable[str] | Sequence[Task] = "embedded",
    detectors: str | Iterable[str] | Sequence[DetectorSpec] = "all",
    *,
    seeds: Iterable[int] = (0,),
    device: str | None = None,
    out: str | Path = "benchmark-results",
    jobs: int | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Measure detectors on tasks.

    Parameters
    ----------
    tasks : list of Task, or data as `load_tasks` takes it, default="embedded"
        The tasks.
    detectors : str or list of str, default="all"
        Names, import paths, "all", "package", "untrained" or "baselines".
    seeds : iterable of int, default=(0,)
        Each is the seed of the splits and the `random_state` of the detectors.
    device : str, default=None
        `device` of the detectors that have this parameter. None is their default.
    out : str or Path, default="benchmark-results"
        Folder for the results. Finished cells in it are not run again, unless they
        failed.
    jobs : int, default=None
        Number of processes, which share the cores. None is one for each core, at most
        8, and 1 on a GPU. 1 runs everything in this process.
    fresh : bool, default=False
        Delete the results in `out` first.
    progress : bool, default=True
        Show a progress bar on the standard error stream.

    Returns
    -------
    rows : list of dict
        One for each cell, ordered by seed, task and detector. A failed cell has the
        message of the exception under "error", and None for each measurement.
    """
    given: list[Any] = [tasks] if isinstance(tasks, str) else list(tasks)
    if any(isinstance(task, str) for task in given):
        given = load_tasks(given)
    specs: list[Any] = [detectors] if isinstance(detectors, str) else list(detectors)
    if any(isinstance(spec, str) for spec in specs):
        specs = find_detectors(specs)
    planned = (Cell(*cell, device) for cell in itertools.product(seeds, given, specs))
    cells = list({cell.key: cell for cell in planned}.values())

    path = Path(out) / CELLS
    path.parent.mkdir(parents=True, exist_ok=True)
    if fresh:
        path.unlink(missing_ok=True)
    done = finished_rows(path)
    rows = {cell.key: done[cell.key] for cell in cells if cell.key in done}
    pending = [cell for cell in cells if cell.key not in rows]
    with (
        _opened_to_append(path) as file,
        tqdm(
            total=len(cells),
            initial=len(cells) - len(pending),
            unit="cell",
            disable=not progress or not pending,
            mininterval=0.1 if sys.stderr.isatty() else 20,  # fewer lines in logs
        ) as bar,
    ):
        for row in _run_all(pending, jobs or default_jobs(device)):
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows[row["key"]] = row
            bar.set_postfix_str(f"{row['detector']}, {row['task']}", refresh=False)
            bar.update()
    return [rows[cell.key] for cell in cells]


def default_jobs(device: str | None = None) -> int:
    """Choose the number of processes: one for each core, at most 8, and 1 on a GPU.

    Small networks gain little from a second thread. More processes use all cores.
    """
    if device in (None, "auto"):
        torch = sys.modules.get("torch")  # None if no detector has imported it
        on_gpu = torch is not None and torch.cuda.is_available()
    else:
        on_gpu = device != "cpu"
    return 1 if on_gpu else min(int(joblib.cpu_count()), _MOST_JOBS)


def finished_rows(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read the cells of earlier runs that did not fail, by their keys.

    Incomplete lines of a killed run are ignored.
    """
    rows = {}
    path = Path(path)
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            if row["error"] is None:
                rows[row["key"]] = row
        except (ValueError, TypeError, KeyError):
            continue
    return rows


def _opened_to_append(path: Path) -> TextIO:
    is_incomplete = path.exists() and not path.read_bytes().endswith(b"\n")
    file = path.open("a", encoding="utf-8")
    if is_incomplete:  # the next result needs a line of its own
        file.write("\n")
    return file


def _run_all(cells: list[Cell], jobs: int) -> Iterator[dict[str, Any]]:
    """Run the cells and yield their results in the order in which they finish."""
    if jobs == 1:
        yield from map(run_cell, cells)
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting = {cell.key: cell for cell in cells}
    while waiting:
        try:
            for row in _in_processes(list(waiting.values()), jobs):
                del waiting[row["key"]]
                yield row
        except TerminatedWorkerError:
            # Cells start in order: the cell that ended its process is among the first
            # `jobs` cells. Each of these now gets its own process.
            for cell in list(waiting.values())[:jobs]:
                try:
                    (row,) = _in_processes([cell], 2)
                except TerminatedWorkerError:
                    row = failed(cell, _PROCESS_ENDED)
                del waiting[cell.key]
                yield row


def _in_processes(cells: list[Cell], jobs: int) -> Iterator[dict[str, Any]]:
    threads = max(1, joblib.cpu_count() // jobs)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(joblib.delayed(run_cell)(cell) for cell in cells)

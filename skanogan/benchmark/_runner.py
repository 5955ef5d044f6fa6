"""Run every detector on every task, one line of results a cell, never losing any.

A cell is one detector on one task with one seed. Its line is written as soon as it has
finished, so that an interrupted run goes on where it stopped.
"""

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
"""The file in the output folder that holds one JSON line for each finished cell."""

_MOST_JOBS = 8
_PROCESS_ENDED = "the process ended: it crashed, or was killed for its memory"


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
    tasks : list of Task, or what `load_tasks` takes, default="embedded"
        What to detect.
    detectors : list of str, or str, default="all"
        Names, import paths, "all", "package" or "baselines".
    seeds : iterable of int, default=(0,)
        Each decides the split and is the `random_state` of the detectors.
    device : str, default=None
        The `device` of the detectors that have one; None leaves their default.
    out : str or Path, default="benchmark-results"
        Folder for the results. Cells already there are not run again; failed ones are.
    jobs : int, default=None
        Processes, each with its share of the cores as threads; None for `default_jobs`.
        1 runs everything in this process.
    fresh : bool, default=False
        Forget the cells in `out`.
    progress : bool, default=True
        Draw a progress bar on the standard error stream.

    Returns
    -------
    rows : list of dict
        One for each cell in the order seed, task, detector. A cell that failed has the
        error's text under "error" and None for what was not measured.
    """
    given = [tasks] if isinstance(tasks, str) else list(tasks)
    names = [task for task in given if isinstance(task, str)]
    all_tasks = [task for task in given if isinstance(task, Task)]
    all_tasks += load_tasks(names) if names else []
    asked = [detectors] if isinstance(detectors, str) else list(detectors)
    named = [detector for detector in asked if isinstance(detector, str)]
    specs = [detector for detector in asked if isinstance(detector, DetectorSpec)]
    specs += find_detectors(named) if named else []
    planned = (
        Cell(task, spec, seed, device)
        for seed in seeds
        for task in all_tasks
        for spec in specs
    )
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
            mininterval=0.1 if sys.stderr.isatty() else 20,  # logs keep every line
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
    """How many processes to run: one a core, at most 8, but one alone on a GPU.

    Parameters
    ----------
    device : str, default=None
        The device the detectors were told to use.

    Returns
    -------
    jobs : int
        Small networks gain little from a second thread, cells gain all of it.
    """
    if device in (None, "auto"):
        torch = sys.modules.get("torch")  # not there, if no detector asked for it
        on_gpu = torch is not None and torch.cuda.is_available()
    else:
        on_gpu = device != "cpu"
    if on_gpu:
        return 1
    return min(int(joblib.cpu_count()), _MOST_JOBS)


def finished_rows(path: str | Path) -> dict[str, dict[str, Any]]:
    """Results of earlier runs, by the key of the cell.

    Parameters
    ----------
    path : str or Path
        The file of JSON lines. A torn line, which a killed run may leave, is ignored.

    Returns
    -------
    rows : dict of str to dict
        Without the cells that failed.
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
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    file = path.open("a", encoding="utf-8")
    if torn:  # else the next line would be glued to it and be lost as well
        file.write("\n")
    return file


def _run_all(cells: list[Cell], jobs: int) -> Iterator[dict[str, Any]]:
    """Rows as the cells finish, in any order; each cell gives exactly one."""
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
            # Cells start in order, so the one that ended its process is among the
            # first. Each of these gets a process that it can only end for itself.
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

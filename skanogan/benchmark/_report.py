"""From cells to tables and files: means over tasks, ranks, failures."""

import csv
import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["detector_table", "summarise", "task_scores", "task_table", "write_files"]

_MEANS = (
    "auroc",
    "average_precision",
    "false_alarms",
    "detected",
    "fit_seconds",
    "score_seconds",
)

Rows = Iterable[dict[str, Any]]


def task_scores(rows: Rows, metric: str = "auroc") -> dict[str, dict[str, float]]:
    """One metric for each detector and task, the mean over the seeds.

    Parameters
    ----------
    rows : iterable of dict
        Cells from `run_benchmark`.
    metric : str, default="auroc"
        The name of the measurement.

    Returns
    -------
    scores : dict of str to dict of str to float
        By detector, then by task; NaN where all seeds failed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        seeds = found.setdefault(row["detector"], {}).setdefault(row["task"], [])
        if row[metric] is not None:
            seeds.append(row[metric])
    return {
        detector: {
            task: float(np.mean(seeds)) if seeds else math.nan
            for task, seeds in tasks.items()
        }
        for detector, tasks in found.items()
    }


def summarise(rows: Rows) -> list[dict[str, Any]]:
    """One line for each detector.

    Parameters
    ----------
    rows : iterable of dict
        Cells from `run_benchmark`.

    Returns
    -------
    summary : list of dict
        Sorted by "auroc", best first. Measurements are means over seeds, then over the
        tasks in "tasks"; "rank" is the mean rank by AUROC over all tasks (1 is best, a
        detector that failed on a task is last there); "failures" counts cells.
    """
    from scipy.stats import rankdata

    rows = list(rows)
    by_metric = {metric: task_scores(rows, metric) for metric in _MEANS}
    detectors = list(by_metric["auroc"])
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    auroc = np.array(
        [
            [by_metric["auroc"][d].get(task, math.nan) for task in tasks]
            for d in detectors
        ]
    )
    ranks = rankdata(-np.nan_to_num(auroc, nan=-1.0), axis=0)
    summary = []
    for i, detector in enumerate(detectors):
        own = [row for row in rows if row["detector"] == detector]
        line: dict[str, Any] = {"detector": detector, "family": own[0]["family"]}
        for metric in _MEANS:
            values = np.array(list(by_metric[metric][detector].values()))
            known = values[~np.isnan(values)]
            line[metric] = float(known.mean()) if len(known) else None
        line["rank"] = float(ranks[i].mean())
        line["tasks"] = int(np.sum(~np.isnan(auroc[i])))
        line["failures"] = sum(row["error"] is not None for row in own)
        summary.append(line)
    return sorted(
        summary, key=lambda line: -math.inf if line["auroc"] is None else line["auroc"]
    )[::-1]


def detector_table(summary: Sequence[dict[str, Any]]) -> str:
    """The summary as text.

    Parameters
    ----------
    summary : list of dict
        From `summarise`.

    Returns
    -------
    table : str
        One line for each detector, aligned.
    """
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "detector": lambda line: line["detector"],
        "AUROC": lambda line: _number(line["auroc"], ".3f"),
        "mean rank": lambda line: _number(line["rank"], ".1f"),
        "average precision": lambda line: _number(line["average_precision"], ".3f"),
        "false alarms": lambda line: _number(line["false_alarms"], ".1%"),
        "anomalies found": lambda line: _number(line["detected"], ".1%"),
        "fit s": lambda line: _seconds(line["fit_seconds"]),
        "score s": lambda line: _seconds(line["score_seconds"]),
        "tasks": lambda line: str(line["tasks"]),
        "failed cells": lambda line: str(line["failures"] or ""),
    }
    if not any(line["failures"] for line in summary):
        del columns["failed cells"]
    body = [[cell(line) for cell in columns.values()] for line in summary]
    return _aligned([name.split() for name in columns], body)


def task_table(rows: Rows, detectors: Sequence[str]) -> str:
    """AUROC of each task and detector as text.

    Parameters
    ----------
    rows : iterable of dict
        Cells from `run_benchmark`.
    detectors : sequence of str
        The order of the columns.

    Returns
    -------
    table : str
        One line for each task; ``*`` marks the best, to three digits.
    """
    scores = task_scores(rows)
    body = []
    for task in dict.fromkeys(task for d in detectors for task in scores[d]):
        line = [round(scores[d].get(task, math.nan), 3) for d in detectors]
        best = max((value for value in line if not math.isnan(value)), default=None)
        body.append(
            [task] + [f"{_number(v, '.3f')}{'*' if v == best else ' '}" for v in line]
        )
    headings = [["task"]] + [_words(detector) for detector in detectors]
    return _aligned(headings, body)


def write_files(
    folder: str | Path,
    rows: Rows,
    arguments: dict[str, Any] | None = None,
) -> list[Path]:
    """Write ``results.csv``, ``summary.csv`` and ``results.json``.

    Parameters
    ----------
    folder : str or Path
        Where to.
    rows : iterable of dict
        Cells from `run_benchmark`.
    arguments : dict, default=None
        What was asked for, to be kept beside the results.

    Returns
    -------
    paths : list of Path
        The files.
    """
    rows, folder = list(rows), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(rows)
    _write_csv(folder / "results.csv", rows)
    _write_csv(folder / "summary.csv", summary)
    everything = {
        "versions": _versions(),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "arguments": arguments or {},
        "summary": summary,
        "cells": rows,
    }
    path = folder / "results.json"
    path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return [folder / "results.csv", folder / "summary.csv", path]


def _write_csv(path: Path, lines: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for line in lines for name in line))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for line in lines:
            writer.writerow(
                {
                    name: json.dumps(value) if isinstance(value, dict | list) else value
                    for name, value in line.items()
                }
            )


def _versions() -> dict[str, str | None]:
    import skanogan

    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "skanogan": getattr(skanogan, "__version__", None),
    }
    for package in ("scikit-learn", "torch", "numpy", "scipy", "joblib"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _seconds(value: float | None) -> str:
    return _number(value, ".3f" if value is not None and value < 10 else ".1f")


def _words(name: str) -> list[str]:
    """``IsolationForest`` as ``["Isolation", "Forest"]``, to make columns narrow."""
    stem, bracket, arguments = name.partition("(")
    stem = re.split(r"[.:]", stem)[-1]
    words = re.split(r"(?<=[A-Za-z0-9])(?=[A-Z][a-z])", stem)
    return words + (
        [f"({piece.strip('() ')})" for piece in arguments.split(",")] if bracket else []
    )


def _aligned(headings: list[list[str]], body: list[list[str]]) -> str:
    """A table; headings may take several lines, the first column is text."""
    height = max(map(len, headings))
    top = [[""] * (height - len(words)) + words for words in headings]
    lines = [[column[i] for column in top] for i in range(height)] + body
    widths = [max(len(line[k]) for line in lines) for k in range(len(headings))]
    rule = ["-" * width for width in widths]
    lines.insert(height, rule)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )

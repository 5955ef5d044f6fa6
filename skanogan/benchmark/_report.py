"""Summarise cells in tables and files: means over tasks, ranks, failures."""

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
from scipy.stats import rankdata

from skanogan import __version__
from skanogan.benchmark._cell import MEASURED

__all__ = ["detector_table", "summarise", "task_scores", "task_table", "write_files"]

Results = Iterable[dict[str, Any]]


def task_scores(rows: Results, *metrics: str) -> dict[str, dict[str, float]]:
    """Average the sum of measurements over seeds, by detector and then by task.

    The mean is NaN if all seeds failed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        seeds = found.setdefault(row["detector"], {}).setdefault(row["task"], [])
        if row["error"] is None:
            seeds.append(sum(row[metric] for metric in metrics))
    return {
        detector: {
            task: float(np.mean(seeds)) if seeds else math.nan
            for task, seeds in tasks.items()
        }
        for detector, tasks in found.items()
    }


def summarise(rows: Results) -> list[dict[str, Any]]:
    """Summarise the results of each detector.

    Parameters
    ----------
    rows : iterable of dict
        Cells from `run_benchmark`.

    Returns
    -------
    summary : list of dict
        One for each detector, sorted by "auroc", best first. Measurements are means
        over seeds, then over the tasks that did not fail; "tasks" is their number.
        "rank" is the mean rank by AUROC over all tasks: 1 is best, and a detector that
        failed on a task is last there. "failures" is the number of failed cells.
    """
    rows = list(rows)
    by_metric = {metric: task_scores(rows, metric) for metric in MEASURED}
    scores = by_metric["auroc"]
    tasks = dict.fromkeys(row["task"] for row in rows)
    auroc = np.array([[scores[d].get(t, math.nan) for t in tasks] for d in scores])
    ranks = rankdata(-np.nan_to_num(auroc, nan=-1.0), axis=0)
    summary = []
    for i, detector in enumerate(scores):
        own = [row for row in rows if row["detector"] == detector]
        line: dict[str, Any] = {"detector": detector, "family": own[0]["family"]}
        for metric in MEASURED:
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
    """Format the result of `summarise` as text, one line for each detector."""
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


def task_table(rows: Results, detectors: Sequence[str]) -> str:
    """Format the AUROC of each task and detector as text.

    ``*`` marks the best detectors of a task to three digits.
    """
    scores = task_scores(rows, "auroc")
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
    folder: Path, rows: list[dict[str, Any]], arguments: dict[str, Any]
) -> list[Path]:
    """Write ``results.csv``, ``summary.csv`` and ``results.json``."""
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
        "arguments": arguments,
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
    versions: dict[str, str | None] = {"python": platform.python_version()}
    versions["skanogan"] = __version__
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
    """Split ``IsolationForest`` into ``["Isolation", "Forest"]``: narrow columns."""
    stem, bracket, arguments = name.partition("(")
    stem = re.split(r"[.:]", stem)[-1]
    words = re.split(r"(?<=[A-Za-z0-9])(?=[A-Z][a-z])", stem)
    return words + (
        [f"({piece.strip('() ')})" for piece in arguments.split(",")] if bracket else []
    )


def _aligned(headings: list[list[str]], body: list[list[str]]) -> str:
    """Align a table. A heading has several lines, and the first column is text."""
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

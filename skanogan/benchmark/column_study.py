"""Which column of a row was changed? Maps of tables, measured: ``python -m`` this.

A detector is fitted on normal rows. In each of some new normal rows one column, drawn
at random, is moved up or down by 1.5 to 4 of its standard deviations. The figure is how
the map ranks that column among the others of its row: the AUROC a row, and its mean.

    python -m skanogan.benchmark.column_study adbench/
"""

import argparse
import sys
import warnings
from typing import Any
from unittest.mock import patch

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.benchmark._tasks import Task, load_tasks

__all__ = ["changed", "main", "rank_of_column", "study_task"]

DETECTORS = {
    "AnoGAN": AnoGANDetector,
    "f-AnoGAN": FAnoGANDetector,
    "OCGAN": OCGANDetector,
}

N_GRADIENTS = (1, 4, 16)
"""Points on the way from the closest normal row at which gradients are taken."""

N_ROWS = 200
COLUMNS = (4, 100)
"""Fewest and most columns of the tables that are looked at."""


def changed(X: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Rows with one column moved, and which.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Standardised.
    rng : RandomState

    Returns
    -------
    rows : ndarray of shape (n, d)
    columns : ndarray of shape (n,), int
    """
    columns = rng.randint(X.shape[1], size=len(X))
    distances = rng.choice([-1, 1], len(X)) * rng.uniform(1.5, 4, len(X))
    rows = X.copy()
    rows[np.arange(len(X)), columns] += distances
    return rows, columns


def rank_of_column(maps: np.ndarray, columns: np.ndarray) -> float:
    """Share of the other columns that lie below the changed one; ties count half.

    Parameters
    ----------
    maps : ndarray of shape (n, d)
    columns : ndarray of shape (n,), int

    Returns
    -------
    share : float
        The mean of each row's AUROC.
    """
    value = np.take_along_axis(maps, columns[:, None], 1)
    below = (maps < value).sum(1) + ((maps == value).sum(1) - 1) / 2
    return float(below.mean() / (maps.shape[1] - 1))


def study_task(
    task: Task, seed: int, max_iter: int
) -> dict[str, dict[str, float]] | None:
    """Figures by detector and kind of map.

    Parameters
    ----------
    task : Task
        Of a table.
    seed : int
        Of the split, the changes and the detectors.
    max_iter : int
        Updates of each network.

    Returns
    -------
    figures : dict of str to dict, or None
        None for images, and for tables of few or many columns.
    """
    X_train, X_test, y_test = task.split(seed)
    if X_train.ndim != 2 or not COLUMNS[0] <= X_train.shape[1] <= COLUMNS[1]:
        return None
    rng = np.random.RandomState(seed)
    normal = X_test[y_test == 1]
    rows, columns = changed(normal[rng.permutation(len(normal))[:N_ROWS]], rng)
    figures: dict[str, dict[str, float]] = {}
    for name, make in DETECTORS.items():
        detector: Any = make(max_iter=max_iter, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            detector.fit(X_train)
        maps = {"residual": detector.anomaly_map(rows)}
        for n in N_GRADIENTS:
            with patch("skanogan.models._feature_map.N_GRADIENTS", n):
                found = detector.anomaly_map(rows, kind="features")
            maps[f"features, {n} point{'s' if n > 1 else ''}"] = found
        figures[name] = {k: rank_of_column(m, columns) for k, m in maps.items()}
    return figures


def main(argv: "list[str] | None" = None) -> int:
    """Run the study and print its table.

    Parameters
    ----------
    argv : list of str, default=None
        The command line by default.

    Returns
    -------
    code : int
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skanogan.benchmark.column_study",
        description="How well maps of tables find the column that was changed.",
    )
    parser.add_argument("data", help="tables, as the benchmark takes them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=1000, help="rows to train on")
    parser.add_argument("--updates", type=int, default=500)
    arguments = parser.parse_args(argv)
    runs = []
    for task in tqdm(load_tasks(arguments.data, limit=arguments.limit), unit="table"):
        found = study_task(task, arguments.seed, arguments.updates)
        if found is not None:
            runs.append(found)
    kinds = list(next(iter(runs[0].values())))
    print(f"| mean of {len(runs)} tables | {' | '.join(kinds)} |")
    print("|---" * (len(kinds) + 1) + "|")
    for name in DETECTORS:
        cells = (np.mean([run[name][kind] for run in runs]) for kind in kinds)
        print(f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

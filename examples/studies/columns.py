"""Which column of a row was changed? Anomaly maps of tables, and `explain`.

A detector is fitted to normal rows. In each of some new normal rows one column, drawn
at random, is moved up or down by 1.5 to 4 of its standard deviations. The result is how
high the map, or `explain`, ranks this column among the others: the AUROC of a row,
averaged over rows. Beside it stand `explain` with an IsolationForest, and the plain
deviation from the mean.

    python examples/studies columns adbench/
"""

import argparse
import warnings
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.benchmark import Task, load_tasks
from skanogan.inspection import explain

__all__ = ["changed", "main", "rank_of_column", "study_task"]

DETECTORS = {
    "AnoGAN": AnoGANDetector,
    "f-AnoGAN": FAnoGANDetector,
    "OCGAN": OCGANDetector,
}

KINDS = ("residual", "features", "explain")
"""Kinds of anomaly maps, and the contributions of `explain`."""

N_ROWS = 200
COLUMNS = (4, 100)
"""Smallest and largest number of columns of the tables that are used."""


def changed(X: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Move one column of each row.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Standardised rows.
    rng : RandomState

    Returns
    -------
    rows : ndarray of shape (n, d)
        The changed rows.
    columns : ndarray of shape (n,), int
        The column that was moved in each row.
    """
    columns = rng.randint(X.shape[1], size=len(X))
    distances = rng.choice([-1, 1], len(X)) * rng.uniform(1.5, 4, len(X))
    rows = X.copy()
    rows[np.arange(len(X)), columns] += distances
    return rows, columns


def rank_of_column(maps: np.ndarray, columns: np.ndarray) -> float:
    """Compute the share of the other columns below the changed one; ties count half.

    Parameters
    ----------
    maps : ndarray of shape (n, d)
    columns : ndarray of shape (n,), int

    Returns
    -------
    share : float
        Mean AUROC of the rows.
    """
    value = np.take_along_axis(maps, columns[:, None], 1)
    below = (maps < value).sum(1) + ((maps == value).sum(1) - 1) / 2
    return float(below.mean() / (maps.shape[1] - 1))


def explained(
    detector: Any, rows: np.ndarray, X_normal: np.ndarray, columns: np.ndarray
) -> float:
    """Compute `rank_of_column` of the contributions of `explain`.

    Parameters
    ----------
    detector : object
        A fitted detector.
    rows, X_normal : ndarray of shape (n, d) and (m, d)
    columns : ndarray of shape (n,), int

    Returns
    -------
    share : float
    """
    return rank_of_column(explain(detector, rows, X_normal).contributions, columns)


def study_task(
    task: Task, seed: int, max_iter: "int | str"
) -> dict[str, dict[str, float]] | None:
    """Measure the maps of each detector on one table.

    Parameters
    ----------
    task : Task
    seed : int
        Seed of the split, the changes and the detectors.
    max_iter : int or "auto"
        Updates of each network.

    Returns
    -------
    auroc : dict of str to dict, or None
        By detector and kind. None for images, and for tables with too few or too many
        columns.
    """
    X_train, X_test, y_test = task.split(seed)
    if X_train.ndim != 2 or not COLUMNS[0] <= X_train.shape[1] <= COLUMNS[1]:
        return None
    rng = np.random.RandomState(seed)
    normal = X_test[y_test == 1]
    rows, columns = changed(normal[rng.permutation(len(normal))[:N_ROWS]], rng)
    # The rows are standardised: their absolute values are deviations from the mean.
    found = {
        "deviation from the mean": {"residual": rank_of_column(abs(rows), columns)}
    }
    forest = IsolationForest(random_state=seed).fit(X_train)
    found["IsolationForest"] = {"explain": explained(forest, rows, X_train, columns)}
    for name, make in DETECTORS.items():
        detector: Any = make(max_iter=max_iter, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            detector.fit(X_train)
        found[name] = {
            kind: rank_of_column(detector.anomaly_map(rows, kind=kind), columns)
            for kind in ("residual", "features")
        }
        found[name]["explain"] = explained(detector, rows, X_train, columns)
    return found


def main(argv: list[str]) -> int:
    """Run the study and print its table.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python examples/studies columns",
        description="How well anomaly maps of tables find the column that was changed.",
    )
    parser.add_argument("data", help="tables, as for python -m skanogan benchmark")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=1000, help="training rows at most")
    parser.add_argument("--updates", default="auto", help="of each network")
    arguments = parser.parse_args(argv)
    updates = (
        arguments.updates if arguments.updates == "auto" else int(arguments.updates)
    )
    runs = []
    for task in tqdm(load_tasks(arguments.data, limit=arguments.limit), unit="table"):
        found = study_task(task, arguments.seed, updates)
        if found is not None:
            runs.append(found)
    if not runs:
        parser.error(
            f"{arguments.data} has no table of {COLUMNS[0]} to {COLUMNS[1]} columns"
        )
    print(f"| mean of {len(runs)} tables | {' | '.join(KINDS)} |")
    print("|---" * (len(KINDS) + 1) + "|")
    for name, kinds in runs[0].items():
        means = {kind: np.mean([run[name][kind] for run in runs]) for kind in kinds}
        cells = [f"{means[kind]:.3f}" if kind in means else "" for kind in KINDS]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0

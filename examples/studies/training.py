"""What training brings: ranking, closest normal rows, columns, samples, seconds.

Each detector is fitted with several budgets. 0 updates leave the networks as they are
made. Beside the AUROC the study measures what a generator is for:

- error: mean squared error of the closest normal row of new normal rows, divided by
  their variance;
- column: how high `anomaly_map(kind="features")` ranks a changed column (tables only,
  see the study `columns`);
- sample: AUROC of a classifier (extremely randomised trees, cross-validated) that tells
  rows of `sample` from real ones. 0.5 is best.

    python examples/studies training adbench/ --limit 1000 --jobs 2
    python examples/studies training mnist.npz --protocol p2 --classes 2,5,8 --jobs 2
"""

import argparse
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.benchmark import Task, load_tasks
from studies.columns import changed, rank_of_column

__all__ = ["DETECTORS", "main", "study_task", "two_sample_auroc"]

DETECTORS: dict[str, Any] = {
    "AnoGAN": AnoGANDetector,
    "f-AnoGAN": FAnoGANDetector,
    "OCGAN": OCGANDetector,
    "AnoGAN without penalty": partial(
        AnoGANDetector,
        n_estimators=1,
        learning_rate=2e-4,
        gradient_penalty=0.0,
        ema_decay=0.999,
    ),
}
"""The detectors with the settings of their training. The last one trains as DCGAN."""

BUDGETS = (0, 30, 100, 300, 1000)
N_ROWS = 500
"""Largest number of new normal rows for the measurements other than the ranking."""


def two_sample_auroc(real: np.ndarray, drawn: np.ndarray) -> float:
    """Measure how well a classifier tells drawn rows from real ones.

    Parameters
    ----------
    real, drawn : ndarray of shape (n, ...)

    Returns
    -------
    auroc : float
        About 0.5 if the rows have the same distribution.
    """
    rows = np.concatenate([real, drawn]).reshape(len(real) + len(drawn), -1)
    labels = np.repeat([0, 1], [len(real), len(drawn)])
    # Leaves of five rows, as pure ones rank rows of one distribution the wrong way.
    trees = ExtraTreesClassifier(50, min_samples_leaf=5, random_state=0)
    return float(cross_val_score(trees, rows, labels, cv=3, scoring="roc_auc").mean())


def study_task(
    task: Task, seed: int, name: str, budget: "int | str", parameters: dict[str, Any]
) -> dict[str, float]:
    """Measure one detector with one budget on one task.

    Parameters
    ----------
    task : Task
    seed : int
        Seed of the split, the changes and the detector.
    name : str
        Name of a detector in `DETECTORS`.
    budget : int or "auto"
        Updates of each network.
    parameters : dict
        Other parameters of the detector.

    Returns
    -------
    measured : dict of str to float
        AUROC, error, column, sample and seconds of the fit.
    """
    X_train, X_test, y_test = task.split(seed)
    detector = DETECTORS[name](random_state=seed, **parameters)
    budgets = {"max_iter": budget, "encoder_max_iter": budget}
    known = detector.get_params()
    detector.set_params(**{k: v for k, v in budgets.items() if k in known})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        detector.fit(X_train)
        seconds = time.perf_counter() - start
    rng = np.random.RandomState(seed)
    normal = X_test[y_test == 1]
    normal = normal[rng.permutation(len(normal))[:N_ROWS]].astype(float)
    closest = detector.reconstruct(normal)
    measured = {
        "AUROC": roc_auc_score(y_test, detector.score_samples(X_test)),
        "error": ((closest - normal) ** 2).mean() / normal.var(0).mean(),
        "sample": two_sample_auroc(normal, detector.sample(len(normal), seed)),
        "fit s": seconds,
    }
    if normal.ndim == 2 and normal.shape[1] > 1:
        rows, columns = changed(normal, rng)
        maps = detector.anomaly_map(rows, kind="features")
        measured["column"] = rank_of_column(maps, columns)
    return {key: float(value) for key, value in measured.items()}


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
        prog="python examples/studies training",
        description="What training brings, by the number of updates.",
    )
    parser.add_argument("data", nargs="+", help="as for python -m skanogan benchmark")
    parser.add_argument("--protocol", default="auto")
    parser.add_argument("--classes", help="only these normal classes, such as 2,3,8")
    parser.add_argument("--detectors", default=",".join(DETECTORS))
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)))
    parser.add_argument("--neighbors", default="auto", help="n_neighbors, or auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="training and test rows at most")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    arguments = parser.parse_args(argv)
    classes = arguments.classes and arguments.classes.split(",")
    tasks = load_tasks(
        arguments.data,
        protocol=arguments.protocol,
        classes=classes,
        limit=arguments.limit,
    )
    names = arguments.detectors.split(",")
    budgets = [b if b == "auto" else int(b) for b in arguments.budgets.split(",")]
    given = arguments.neighbors
    parameters = {"n_neighbors": given if given == "auto" else int(given)}
    lines = [(name, budget) for name in names for budget in budgets]
    cells = [(line, task) for task in tasks for line in lines]
    runs = Parallel(n_jobs=arguments.jobs, return_as="generator")(
        delayed(study_task)(task, arguments.seed, *line, parameters)
        for line, task in cells
    )
    found: dict[tuple[str, Any], list[dict[str, float]]] = {line: [] for line in lines}
    for (line, _), run in zip(cells, tqdm(runs, total=len(cells)), strict=True):
        found[line].append(run)
    columns = ["AUROC", "error", "column", "sample", "fit s"]
    columns = [
        c for c in columns if all(c in run for runs in found.values() for run in runs)
    ]
    print(f"| mean of {len(tasks)} tasks | updates | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for (name, budget), each in found.items():
        values = (f"{np.mean([run[c] for run in each]):.3f}" for c in columns)
        print(f"| {name} | {budget} | {' | '.join(values)} |")
    return 0

"""Measure thresholds, and a search with a cache of trainings.

    python examples/studies selection conformal breast_cancer
    python examples/studies selection threshold digits
    python examples/studies selection memory
    python examples/studies selection pooled

- `conformal` has the false alarms of a conformal threshold and of the threshold of the
  detector, over random splits of a table.
- `threshold` has the F1 of the anomalies by a threshold that was tuned on other rows,
  and by the threshold of the detector.
- `memory` has the time of a search over parameters of the score, with and without a
  cache of trainings, and says whether the scores are equal.
- `pooled` has the AUROC of each fold of breast_cancer, and of all folds in one array.
"""

import argparse
import tempfile
import time
import warnings
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.benchmark import Task, load_tasks
from skanogan.conformal import ConformalDetector
from skanogan.metrics import (
    outlier_f1_score,
    outlier_f1_scorer,
    outlier_roc_auc_score,
    outlier_roc_auc_scorer,
)
from skanogan.model_selection import NoveltyClassifier, NoveltyKFold

__all__ = [
    "SCORING_GRID",
    "compare_thresholds",
    "count_false_alarms",
    "main",
    "pool_folds",
    "time_search",
]

SCORING_GRID: dict[str, list[Any]] = {
    "anomaly_score": ["whitened", "anogan", "residual"],
    "n_steps": [0, 5],
    "n_candidates": [512, 2048],
}
"""Twelve settings, none of which changes the training."""

ANOMALIES_PER_NORMAL_ROW = 0.25


def make_detector(name: str, n_updates: int | None, seed: int) -> Any:
    """Make a detector with its default parameters and a budget.

    Parameters
    ----------
    name : {"AnoGANDetector", "IsolationForest"}
    n_updates : int or None
        Updates of the GAN. None is the default.
    seed : int

    Returns
    -------
    detector : object
    """
    if name == "IsolationForest":
        return IsolationForest(random_state=seed)
    detector = AnoGANDetector(random_state=seed)
    return detector if n_updates is None else detector.set_params(max_iter=n_updates)


def count_false_alarms(
    task: Task, detector: str, n_updates: int | None, alpha: float, seed: int
) -> dict[str, float]:
    """Measure the false alarms of two thresholds on one random split.

    Parameters
    ----------
    task : Task
    detector : str
        As in `make_detector`.
    n_updates : int or None
    alpha : float
        False alarm rate of the conformal threshold.
    seed : int
        Seed of the split, of the rows that calibrate, and of the detector.

    Returns
    -------
    found : dict of str to float
        Shares of new normal rows that are labelled as outliers, by the "conformal"
        threshold and by the detector's "own"; "exact", the expected share of the
        conformal threshold.
    """
    X_train, X_test, y_test = task.split(seed)
    new = X_test[y_test == 1]
    inner = make_detector(detector, n_updates, seed)
    conformal = ConformalDetector(inner, alpha=alpha, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        conformal.fit(X_train)
    n = len(conformal.calibration_scores_)
    return {
        "conformal": float(np.mean(conformal.predict(new) == -1)),
        "own": float(np.mean(conformal.estimator_.predict(new) == -1)),
        "exact": int(alpha * (n + 1) * (1 + 1e-12)) / (n + 1),
    }


def compare_thresholds(
    task: Task, n_updates: int | None, n_folds: int, seed: int
) -> dict[str, float]:
    """Measure the F1 of the anomalies in test rows by two thresholds.

    Half of the normal rows, and a quarter as many anomalies, are the rows to tune on.
    The others are the test rows. The threshold is chosen by folds of the first half,
    with detectors that are fitted to their normal rows. The last fit has all normal
    rows of that half.

    Parameters
    ----------
    task : Task
    n_updates : int or None
    n_folds : int
    seed : int
        Seed of the split and of the detector.

    Returns
    -------
    found : dict of str to float
        F1 by the "default" and the "tuned" threshold, and "AUROC" of the scores.
    """
    X_train, X_test, y_test = task.split(seed)
    X = np.concatenate([X_train, X_test])
    y = np.concatenate([np.ones(len(X_train), int), y_test])
    rng = np.random.RandomState(seed)
    normal, others = (rng.permutation(np.flatnonzero(y == kind)) for kind in (1, -1))
    others = others[: int(ANOMALIES_PER_NORMAL_ROW * len(normal))]
    tune = np.concatenate([normal[::2], others[::2]])
    test = np.concatenate([normal[1::2], others[1::2]])
    tuned = TunedThresholdClassifierCV(
        NoveltyClassifier(make_detector("AnoGANDetector", n_updates, seed)),
        scoring=outlier_f1_scorer,
        # In equal steps from the lowest to the highest score, which is far away.
        thresholds=1000,
        cv=n_folds,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        tuned.fit(X[tune], y[tune])
    classifier = tuned.estimator_
    return {
        "default": outlier_f1_score(y[test], classifier.predict(X[test])),
        "tuned": outlier_f1_score(y[test], tuned.predict(X[test])),
        "AUROC": outlier_roc_auc_score(y[test], classifier.decision_function(X[test])),
    }


def time_search(n_updates: int | None, n_folds: int) -> dict[str, Any]:
    """Time a search over `SCORING_GRID` on digits with `memory` and without.

    Parameters
    ----------
    n_updates : int or None
    n_folds : int

    Returns
    -------
    found : dict
        "seconds" and "CPU seconds", each without `memory` and with it; "equal", whether
        all scores of all folds are equal to the bit; "best", the best parameters.
    """
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.images))
    eights = order[digits.target[order] == 8]
    at = np.concatenate([eights, order[digits.target[order] != 8][:100]])
    X, y = digits.images[at], np.where(digits.target[at] == 8, 1, -1)
    detector = make_detector("AnoGANDetector", n_updates, 0)
    searches, wall, cpu = [], [], []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for memory in (None, folder):
            search = GridSearchCV(
                detector.set_params(memory=memory),
                SCORING_GRID,
                scoring=outlier_roc_auc_scorer,
                cv=NoveltyKFold(n_folds, shuffle=True, random_state=0),
                refit=False,
                error_score="raise",
            )
            started = time.perf_counter(), time.process_time()
            searches.append(search.fit(X, y))
            wall.append(time.perf_counter() - started[0])
            cpu.append(time.process_time() - started[1])
    without, cached = (search.cv_results_ for search in searches)
    folds = [f"split{k}_test_score" for k in range(n_folds)]
    return {
        "seconds": wall,
        "CPU seconds": cpu,
        "equal": all(np.array_equal(without[k], cached[k]) for k in folds),
        "best": searches[1].best_params_,
    }


def pool_folds(
    detector: Any, X: np.ndarray, y: np.ndarray, n_folds: int = 5
) -> dict[str, Any]:
    """Compare the AUROC of each fold with that of all folds in one array.

    Parameters
    ----------
    detector : object
        An unfitted detector.
    X : ndarray of shape (n, d)
        Rows.
    y : ndarray of shape (n,)
        1 normal, -1 anomaly.
    n_folds : int, default=5
        Number of folds.

    Returns
    -------
    found : dict
        "folds", the list of their AUROC, "score_samples" and "decision_function".
    """
    folds, scores, decisions = [], np.empty(len(y)), np.empty(len(y))
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    for train, test in splitter.split(X, y):
        fitted = NoveltyClassifier(detector).fit(X[train], y[train])
        scores[test] = fitted.score_samples(X[test])
        decisions[test] = fitted.decision_function(X[test])
        folds.append(outlier_roc_auc_score(y[test], scores[test]))
    return {
        "folds": folds,
        "score_samples": outlier_roc_auc_score(y, scores),
        "decision_function": outlier_roc_auc_score(y, decisions),
    }


def main(argv: list[str]) -> int:
    """Run one of the measurements and print its table.

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
        prog="python examples/studies selection",
        description="Measure thresholds, and a search with a cache of trainings.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    conformal = commands.add_parser("conformal", help="false alarms of thresholds")
    conformal.add_argument("data", nargs="*", default=["breast_cancer"])
    conformal.add_argument("--alpha", type=float, default=0.05)
    conformal.add_argument("--splits", type=int, default=100)
    conformal.add_argument("--detectors", default="IsolationForest,AnoGANDetector")
    threshold = commands.add_parser("threshold", help="F1 of a tuned threshold")
    threshold.add_argument("data", nargs="*", default=["digits"])
    threshold.add_argument("--classes", help="only these, such as 2,3,8")
    threshold.add_argument("--seeds", default="0", help="such as 0,1,2")
    threshold.add_argument("--folds", type=int, default=5)
    memory = commands.add_parser("memory", help="time of a search with a cache")
    memory.add_argument("--folds", type=int, default=3)
    pooled = commands.add_parser("pooled", help="AUROC of all folds in one array")
    for command in (conformal, threshold, memory, pooled):
        command.add_argument("--updates", type=int, help="of a GAN")
    for command in (conformal, threshold):
        command.add_argument("--jobs", type=int, default=1, help="number of processes")
    arguments = parser.parse_args(argv)
    {
        "conformal": _conformal,
        "threshold": _threshold,
        "memory": _memory,
        "pooled": _pooled,
    }[arguments.command](arguments)
    return 0


def _conformal(arguments: argparse.Namespace) -> None:
    tasks = load_tasks(arguments.data)
    print(
        f"| table | detector | false alarms at alpha = {arguments.alpha} | +- two "
        "standard errors | expected | its own threshold |\n|---|---|---|---|---|---|"
    )
    for task in tasks:
        for detector in arguments.detectors.split(","):
            options = (detector, arguments.updates, arguments.alpha)
            found = _in_parallel(
                arguments.jobs,
                [
                    delayed(count_false_alarms)(task, *options, seed)
                    for seed in range(arguments.splits)
                ],
            )
            rates = [run["conformal"] for run in found]
            error = 2 * np.std(rates, ddof=1) / np.sqrt(len(rates))
            own = np.mean([run["own"] for run in found])
            print(
                f"| {task.name} | {detector} | {np.mean(rates):.4f} | {error:.4f} | "
                f"{found[0]['exact']:.4f} | {own:.4f} |"
            )


def _threshold(arguments: argparse.Namespace) -> None:
    classes = arguments.classes and arguments.classes.split(",")
    tasks = load_tasks(arguments.data, classes=classes)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    found = _in_parallel(
        arguments.jobs,
        [
            delayed(compare_thresholds)(task, arguments.updates, arguments.folds, seed)
            for task in tasks
            for seed in seeds
        ],
    )
    print("| normal | AUROC | F1, default threshold | F1, tuned |\n|---|---|---|---|")
    for k, task in enumerate(tasks):
        _print_means(task.name, found[k * len(seeds) : (k + 1) * len(seeds)])
    _print_means("mean", found)
    better = np.sign([run["tuned"] - run["default"] for run in found])
    counts = [int((better == sign).sum()) for sign in (1, 0, -1)]
    print("\nTuned higher, equal, lower: {} / {} / {} runs".format(*counts))


def _print_means(name: str, runs: list[dict[str, float]]) -> None:
    columns = ("AUROC", "default", "tuned")
    means = [np.mean([run[column] for run in runs]) for column in columns]
    print(f"| {name} | {' | '.join(f'{value:.3f}' for value in means)} |")


def _memory(arguments: argparse.Namespace) -> None:
    found = time_search(arguments.updates, arguments.folds)
    print("| | without memory | with | ratio |\n|---|---|---|---|")
    for name in ("seconds", "CPU seconds"):
        without, cached = found[name]
        print(f"| {name} | {without:.1f} | {cached:.1f} | {cached / without:.3f} |")
    print(f"\nscores equal to the bit: {found['equal']}. Best: {found['best']}")


def _pooled(arguments: argparse.Namespace) -> None:
    X, benign = load_breast_cancer(return_X_y=True)
    y = np.where(benign == 1, 1, -1)
    budget = {} if arguments.updates is None else {"max_iter": arguments.updates}
    print(
        "| detector | AUROC of the folds | score_samples, pooled | decision_function, "
        "pooled |\n|---|---|---|---|"
    )
    for detector_class in (AnoGANDetector, FAnoGANDetector, OCGANDetector):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pool_folds(detector_class(random_state=0, **budget), X, y)
        folds = found["folds"]
        print(
            f"| {detector_class.__name__} | {np.mean(folds):.3f} ({min(folds):.3f} to "
            f"{max(folds):.3f}) | {found['score_samples']:.3f} | "
            f"{found['decision_function']:.3f} |",
            flush=True,
        )


def _in_parallel(n_jobs: int, calls: list[Any]) -> list[Any]:
    runs = Parallel(n_jobs=n_jobs, return_as="generator")(calls)
    return list(tqdm(runs, total=len(calls)))

"""What each part and each parameter of OCGANDetector brings.

Each variant is trained once for each task and seed. The three scores that need no
discriminator use the same networks. No parameter is chosen for a single task.

    python examples/studies ocgan mnist.npz --jobs 2
    python examples/studies ocgan digits --only parameters
    python examples/studies ocgan mnist.npz --classes 2,5,8 --only updates

`ladder` is the ablation of the paper. `parameters` are the defaults with one thing
changed. `updates` stops the training of the defaults early. Test rows are used for the
tables only, never to choose a state.
"""

import argparse
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan import OCGANDetector
from skanogan.benchmark import Task, load_tasks

__all__ = ["LADDER", "PARAMETERS", "UPDATES", "main", "study_variant"]

LADDER: dict[str, dict[str, Any]] = {
    "auto-encoder": {
        "latent_discriminator": False,
        "visual_discriminator": False,
    },
    "+ latent discriminator": {"visual_discriminator": False},
    "+ visual discriminator (the default)": {},
    "+ mining": {"n_mining_steps": 5},
}
"""Name of a row of the paper's table 4, and its parameters other than the defaults."""

SCORES = ("reconstruction", "whitened", "features")
"""Scores of the same networks."""

_PAPER = {
    "n_mining_steps": 5,
    "normalization": "batch",
    "reconstruction_weight": 10.0,
    "ema_decay": 0.0,
    "noise_variance": 0.2,
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "the default": {},
    "normalization='batch'": {"normalization": "batch"},
    "reconstruction_weight=10": {"reconstruction_weight": 10.0},
    "reconstruction_weight=1000": {"reconstruction_weight": 1000.0},
    "noise_variance=0": {"noise_variance": 0.0},
    "noise_variance=0.04": {"noise_variance": 0.04},
    "noise_variance=0.2": {"noise_variance": 0.2},
    "noise_variance=1": {"noise_variance": 1.0},
    "ema_decay=0": {"ema_decay": 0.0},
    "learning_rate=2e-4": {"learning_rate": 2e-4},
    "n_mining_steps=5": {"n_mining_steps": 5},
    "the paper's text": _PAPER,
    "the paper's code": {
        **_PAPER,
        "noise_variance": 0.04,
        "n_mining_steps": 1,
        "learning_rate": 2e-4,
    },
}
"""Name of a variant, and its parameters other than the defaults."""

UPDATES: dict[str, dict[str, Any]] = {
    f"{n} updates": {"max_iter": n} for n in (100, 200, 300, 500, 700, 1000)
}
"""Name of a budget, and its parameters other than the defaults."""

VARIANTS = {"ladder": LADDER, "parameters": PARAMETERS, "updates": UPDATES}


def study_variant(
    task: Task, seed: int, parameters: dict[str, Any]
) -> dict[str, float]:
    """Train one variant on one split and measure its scores.

    Parameters
    ----------
    task : Task
    seed : int
        Seed of the split and of the detector.
    parameters : dict
        Parameters other than the defaults.

    Returns
    -------
    measured : dict of str to float
        AUROC by score, false alarms of the default score, the least validation error,
        and seconds of the training.
    """
    X_train, X_test, y_test = task.split(seed)
    measured = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        detector = OCGANDetector(random_state=seed, memory=folder, **parameters)
        started = time.perf_counter()
        detector.fit(X_train)
        measured["seconds"] = time.perf_counter() - started
        errors = [record["validation_error"] for record in detector.history_]
        measured["validation error"] = min(errors)
        is_outlier = detector.predict(X_test) == -1
        measured["false alarms"] = float(is_outlier[y_test == 1].mean())
        for score in SCORES:
            # The cache in the folder has the training.
            detector.set_params(anomaly_score=score).fit(X_train)
            auroc = roc_auc_score(y_test, detector.score_samples(X_test))
            measured[score] = float(auroc)
    return measured


def main(argv: list[str]) -> int:
    """Run the study and print its tables.

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
        prog="python examples/studies ocgan",
        description="What each part and each parameter of OCGANDetector brings.",
    )
    parser.add_argument("data", nargs="+", help="as for python -m skanogan benchmark")
    parser.add_argument("--classes", help="only these normal classes, such as 2,5,8")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--limit", type=int, help="training and test rows at most")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--only", choices=list(VARIANTS), default="ladder", help="default: ladder"
    )
    arguments = parser.parse_args(argv)
    classes = arguments.classes and arguments.classes.split(",")
    tasks = load_tasks(arguments.data, classes=classes, limit=arguments.limit)
    variants = VARIANTS[arguments.only]
    # Variant after variant: an interrupted run has finished rows of the table.
    cells = [
        (name, task, int(seed))
        for name in variants
        for task in tasks
        for seed in arguments.seeds.split(",")
    ]
    runs = Parallel(n_jobs=arguments.jobs, return_as="generator")(
        delayed(study_variant)(task, seed, variants[name]) for name, task, seed in cells
    )
    found = []
    for (name, task, _), run in zip(cells, tqdm(runs, total=len(cells)), strict=True):
        found.append(run)
        tqdm.write(f"{name}, {task.name}: {run}", file=sys.stderr)
    _print_tables(cells, found)
    return 0


def _print_tables(
    cells: list[tuple[str, Task, int]], found: list[dict[str, float]]
) -> None:
    tasks = list(dict.fromkeys(task.name for _, task, _ in cells))
    variants = list(dict.fromkeys(name for name, _, _ in cells))

    def mean(measurement: str, variant: str, *tasks: str) -> float:
        values = [
            run[measurement]
            for (name, task, _), run in zip(cells, found, strict=True)
            if name == variant and task.name in tasks
        ]
        return float(np.mean(values))

    for score in SCORES:
        print(f"\nAUROC, anomaly_score={score!r}\n")
        print("| | mean | " + " | ".join(tasks) + " |")
        print("|---" * (len(tasks) + 2) + "|")
        for variant in variants:
            means = [mean(score, variant, task) for task in tasks]
            columns = " | ".join(f"{value:.3f}" for value in [np.mean(means), *means])
            print(f"| {variant} | {columns} |")
    others = ("validation error", "false alarms", "seconds")
    print("\n| | " + " | ".join(others) + " |\n|---|---|---|---|")
    for variant in variants:
        columns = " | ".join(f"{mean(name, variant, *tasks):.3g}" for name in others)
        print(f"| {variant} | {columns} |")

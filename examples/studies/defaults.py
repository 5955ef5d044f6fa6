"""How the defaults of AnoGANDetector were chosen.

Each task is trained once for each variant of the training. The variants of the score
use the networks of the default training. The table has the mean AUROC over tasks and
seeds, and the lowest one. No parameter is chosen for a single task: all tables have one
setting, and all images one.

    python examples/studies defaults digits --classes 3,8
    python examples/studies defaults path/to/tables --seeds 0 --limit 2000
    python examples/studies defaults mnist.npz --classes 2,3,8 --limit 2000
"""

import argparse
import tempfile
import warnings
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan import AnoGANDetector
from skanogan.benchmark import Task, load_tasks

__all__ = ["SCORING", "TRAINING", "main", "study_task"]

TRAINING: dict[str, dict[str, Any]] = {
    "default": {},
    "prior=uniform": {"prior": "uniform"},
    "ema_decay=0": {"ema_decay": 0.0},
    "n_estimators=1": {"n_estimators": 1},
    "max_iter=0": {"max_iter": 0},
    "max_iter=100": {"max_iter": 100},
    "max_iter=2000": {"max_iter": 2000},
    "learning_rate=2e-4": {"learning_rate": 2e-4},
    "learning_rate=2e-3": {"learning_rate": 2e-3},
    "gradient_penalty=1": {"gradient_penalty": 1.0},
}
"""Name of a variant, and its parameters of the training other than the defaults."""

SCORING: dict[str, dict[str, Any]] = {
    **{f"n_candidates={n}": {"n_candidates": n} for n in (512, 8192)},
    **{f"shrinkage={share}": {"shrinkage": share} for share in (0.001, 0.01, 0.1, 1.0)},
    **{f"{n} steps": {"n_steps": n} for n in (10, 50)},
    **{
        f"{score}, {n} steps": {"anomaly_score": score, "n_steps": n}
        for score in ("anogan", "residual", "discrimination", "gan_r")
        for n in (0, 50)
    },
    **{
        f"anogan, one candidate, {n} steps": {
            "anomaly_score": "anogan",
            "n_candidates": 1,
            "n_steps": n,
        }
        for n in (50, 500)
    },
    "p_d": {"anomaly_score": "p_d"},
}
"""Name of a variant, and its parameters of the score other than the defaults."""


def study_task(
    task: Task, seed: int, scoring: bool = True, training: bool = True
) -> dict[str, float]:
    """Measure the AUROC of every variant on one split of one task.

    Parameters
    ----------
    task : Task
    seed : int
        Seed of the split and of the detector.
    scoring, training : bool, default=True
        Whether to measure the variants of the score and of the training.

    Returns
    -------
    auroc : dict of str to float
        By variant.
    """
    X_train, X_test, y_test = task.split(seed)
    variants = {"default": {}, **(SCORING if scoring else {})}
    variants |= TRAINING if training else {}
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, parameters in variants.items():
            # The cache in the folder trains once for all variants of the score.
            detector = AnoGANDetector(random_state=seed, memory=folder, **parameters)
            scores = detector.fit(X_train).score_samples(X_test)
            found[name] = float(roc_auc_score(y_test, scores))
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
        prog="python examples/studies defaults",
        description="How the defaults of AnoGANDetector were chosen.",
    )
    parser.add_argument("data", nargs="+", help="as for python -m skanogan benchmark")
    parser.add_argument("--classes", help="only these normal classes, such as 2,3,8")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--limit", type=int, help="training and test rows at most")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument("--only", choices=["scoring", "training"])
    arguments = parser.parse_args(argv)
    classes = arguments.classes and arguments.classes.split(",")
    tasks = load_tasks(arguments.data, classes=classes, limit=arguments.limit)
    cells = [(task, int(s)) for task in tasks for s in arguments.seeds.split(",")]
    scoring, training = (arguments.only in (None, k) for k in ("scoring", "training"))
    runs = Parallel(n_jobs=arguments.jobs, return_as="generator")(
        delayed(study_task)(task, seed, scoring, training) for task, seed in cells
    )
    found = list(tqdm(runs, total=len(cells), unit="task"))
    print(f"| variant ({len(cells)} runs) | mean AUROC | against default | lowest |")
    print("|---|---|---|---|")
    default = np.array([run["default"] for run in found])
    for name in found[0]:
        aurocs = np.array([run[name] for run in found])
        gain = aurocs.mean() - default.mean()
        print(f"| {name} | {aurocs.mean():.4f} | {gain:+.4f} | {aurocs.min():.3f} |")
    return 0

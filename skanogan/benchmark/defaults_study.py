"""How the defaults of AnoGANDetector were chosen: ``python -m`` this module.

Each task is trained once per training variant; the variants of the score are read off
the default training. Mean AUROC over tasks and seeds, and the worst task. Nothing is
chosen per task: one setting serves all tables, one all images.

    python -m skanogan.benchmark.defaults_study digits
    python -m skanogan.benchmark.defaults_study path/to/tables --seeds 0 --limit 2000
    python -m skanogan.benchmark.defaults_study mnist.npz --classes 2,3,8 --limit 2000

`--limit` bounds the test rows, and for tables the training rows, of each task.
"""

import argparse
import dataclasses
import sys
import warnings
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan import AnoGANDetector
from skanogan._base import REFERENCE_ROWS
from skanogan._inputs import Rows
from skanogan.benchmark._tasks import Task, load_tasks

__all__ = ["SCORING", "TRAINING", "main", "study_task"]

TRAINING: dict[str, dict[str, Any]] = {
    "default": {},
    "prior=uniform": {"prior": "uniform"},
    "averaging=0": {"averaging": 0.0},
    "max_iter=500": {"max_iter": 500},
    "max_iter=1000": {"max_iter": 1000},
    "max_iter=4000": {"max_iter": 4000},
    "learning_rate=5e-4": {"learning_rate": 5e-4},
    "learning_rate=1e-3": {"learning_rate": 1e-3},
    "gradient_penalty=1": {"gradient_penalty": 1.0},
    "adversarial_loss=hinge": {"adversarial_loss": "hinge"},
    "adversarial_loss=least_squares": {"adversarial_loss": "least_squares"},
}
"""Name of a training variant, and its parameters beside the defaults."""

_PUBLISHED = {"score": "anogan", "start": "random"}

SCORING: dict[str, dict[str, Any]] = {
    **{f"n_candidates={n}": {"n_candidates": n} for n in (512, 8192)},
    **{f"whitening_floor={f}": {"whitening_floor": f} for f in (0.001, 0.01, 0.1, 1.0)},
    "n_restarts=8, 10 steps": {"n_restarts": 8, "n_steps": 10},
    **{f"{n} steps": {"n_steps": n} for n in (10, 50)},
    **{f"{n} steps, prior": {"n_steps": n, "prior_weight": 1.0} for n in (10, 50)},
    **{
        f"{score}, nearest, {n} steps": {"score": score, "n_steps": n}
        for score in ("anogan", "residual", "discrimination", "gan_r")
        for n in (0, 50)
    },
    **{f"anogan, random, {n} steps": {**_PUBLISHED, "n_steps": n} for n in (50, 500)},
    "p_d": {"score": "p_d"},
}
"""Name of a scoring variant, and the fields of the search that it changes."""


def study_task(
    task: Task, seed: int, scoring: bool = True, training: bool = True
) -> dict[str, float]:
    """AUROC of every variant on one split of one task.

    Parameters
    ----------
    task : Task
        Any.
    seed : int
        Of the split and of the detector.
    scoring, training : bool, default=True
        Whether to try the variants of each kind.

    Returns
    -------
    auroc : dict of str to float
        By variant; nan where training failed.
    """
    X_train, X_test, y_test = task.split(seed)
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, parameters in TRAINING.items() if training else [("default", {})]:
            detector = AnoGANDetector(random_state=seed, **parameters).fit(X_train)
            found[name] = roc_auc_score(y_test, detector.score_samples(X_test))
            if name == "default" and scoring:
                found |= _scoring_variants(detector, X_train, X_test, y_test)
    return found


def _scoring_variants(
    detector: AnoGANDetector, X_train: np.ndarray, X_test: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    """The same networks, searched and scored in other ways."""
    model: Any = detector.model_
    found = {}
    default = model.search
    flat = np.asarray(X_train).reshape(len(X_train), -1)
    rows = Rows(flat, detector.image_shape_, detector.device_)
    reference = rows.some(REFERENCE_ROWS, np.random.RandomState(0))
    for name, changes in SCORING.items():
        model.search = dataclasses.replace(default, **changes)
        with torch.no_grad():
            model.prepare_scoring(reference, torch.Generator().manual_seed(0))
        found[name] = roc_auc_score(y, detector.score_samples(X_test))
    return found


def main(argv: "list[str] | None" = None) -> int:
    """Run the study and print its table.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None for those of this process.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="+", help="as for python -m skanogan benchmark")
    parser.add_argument("--classes", help="only these classes, as 2,3,8")
    parser.add_argument("--seeds", default="0", help="as 0,1,2")
    parser.add_argument("--limit", type=int, help="rows to train on and to test")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=["scoring", "training"])
    arguments = parser.parse_args(argv)
    classes = arguments.classes and [int(c) for c in arguments.classes.split(",")]
    tasks = load_tasks(arguments.data, classes=classes, limit=arguments.limit)
    cells = [(task, int(s)) for task in tasks for s in arguments.seeds.split(",")]
    scoring, training = (arguments.only in (None, k) for k in ("scoring", "training"))
    runs = Parallel(n_jobs=arguments.jobs, return_as="generator")(
        delayed(study_task)(task, seed, scoring, training) for task, seed in cells
    )
    found = list(tqdm(runs, total=len(cells), unit="task"))
    print(f"| variant ({len(cells)} runs) | mean AUROC | against default | worst |")
    print("|---|---|---|---|")
    default = np.array([run["default"] for run in found])
    for name in found[0]:
        aurocs = np.array([run[name] for run in found])
        gain = aurocs.mean() - default.mean()
        print(f"| {name} | {aurocs.mean():.4f} | {gain:+.4f} | {aurocs.min():.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

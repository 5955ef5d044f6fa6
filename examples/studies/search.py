"""AUROC of the latent search against its time.

AnoGAN is trained once for each task. All searches use its networks and differ in the
number of candidates, the number of steps, the optimiser and the score. f-AnoGAN, which
has an encoder in place of the search, is trained with the same seed. The table has the
mean AUROC over tasks and the milliseconds for each row.

    python examples/studies search path/to/tables
    python examples/studies search mnist.npz --classes 2,5,8 --test 1000
    python examples/studies search scans.npz --classes 0 --patches 32

With `--patches`, images are halved and cut into patches that overlap by half. The score
of an image is the mean of its three highest patches.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector
from skanogan.baselines import MahalanobisDistance
from skanogan.benchmark import Task, load_tasks
from studies.solvers import gauss_newton, lbfgs
from studies.tensors import as_tensor, scaled

__all__ = ["ENCODERS", "SEARCHES", "SOLVERS", "main", "solved_scores", "study_task"]

_PUBLISHED = {"anomaly_score": "anogan"}
_ONE = {"n_candidates": 1}

SEARCHES: dict[str, dict[str, Any]] = {
    "nearest of 2,048, no steps (default)": {},
    "nearest of 512, no steps": {"n_candidates": 512},
    "nearest, 10 steps": {"n_steps": 10},
    "nearest, 50 steps": {"n_steps": 50},
    "one candidate, 50 steps": {**_ONE, "n_steps": 50},
    "residual, nearest, no steps": {"anomaly_score": "residual"},
    "residual, nearest, 50 steps": {"anomaly_score": "residual", "n_steps": 50},
    "L1 of features, nearest, no steps": {"anomaly_score": "discrimination"},
    "published score, nearest, no steps": _PUBLISHED,
    "published score, nearest, 50 steps": {**_PUBLISHED, "n_steps": 50},
    "published score, one candidate, 50 steps": {**_PUBLISHED, **_ONE, "n_steps": 50},
    "published score, one candidate, 500 steps": {**_PUBLISHED, **_ONE, "n_steps": 500},
}
"""Name of a search, and its parameters of AnoGANDetector other than the defaults."""

ENCODERS: dict[str, dict[str, Any]] = {
    "f-AnoGAN's encoder, no search": {},
    "f-AnoGAN's encoder and published score": {"anomaly_score": "f_anogan"},
}
"""Name, and parameters of FAnoGANDetector other than the defaults."""

SOLVERS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "nearest, 3 steps of Gauss-Newton": (gauss_newton, 3),
    "nearest, 20 steps of L-BFGS": (lbfgs, 20),
}
"""Name, solver, and number of steps. The score is the whitened one."""

N_REFERENCE = 2048
"""Number of training rows whose features are the reference without a generator."""

TILE = 64
"""Number of rows that a solver takes at once."""


def study_task(
    task: Task, seed: int, patch: int | None = None, n_test: int | None = None
) -> dict[str, tuple[float, float]]:
    """Measure AUROC and time of every search on one split of one task.

    Parameters
    ----------
    task : Task
    seed : int
        Seed of the split and of the detectors.
    patch : int, default=None
        Side of the patches that images are cut into. None is whole rows.
    n_test : int, default=None
        Largest number of test rows.

    Returns
    -------
    found : dict of str to (float, float)
        AUROC and seconds for each row, by search.
    """
    X_train, X_test, y = task.split(seed)
    at = np.random.RandomState(seed).permutation(len(y))[:n_test]
    X_test, y = X_test[at], y[at]
    per_image = 1
    if patch is not None:
        rng = np.random.RandomState(seed)
        cut = patches(X_train, patch)
        X_train = cut.reshape(-1, patch, patch)
        X_train = X_train[rng.permutation(len(X_train))[:10_000]]
        cut = patches(X_test, patch)
        per_image = cut.shape[1]
        X_test = cut.reshape(-1, patch, patch)
    found = {}

    def measure(name: str, score: Callable[..., np.ndarray], *args: Any) -> None:
        started = time.perf_counter()
        scores = score(X_test, *args)
        seconds = (time.perf_counter() - started) / len(X_test)
        lowest = np.sort(scores.reshape(-1, per_image), axis=1)[:, :3]
        found[name] = (float(roc_auc_score(y, lowest.mean(1))), seconds)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The cache in the folder trains once for all parameters of the score.
        cached: dict[str, Any] = {"random_state": seed, "memory": folder}
        for name, parameters in SEARCHES.items():
            detector = AnoGANDetector(**cached, **parameters).fit(X_train)
            measure(name, detector.score_samples)
        for name, parameters in ENCODERS.items():
            detector = FAnoGANDetector(**cached, **parameters).fit(X_train)
            measure(name, detector.score_samples)
        default = AnoGANDetector(**cached).fit(X_train)
    without_generator = MahalanobisDistance(0.001 if X_train.ndim == 2 else 0.1)
    without_generator.fit(default.embed(X_train[:N_REFERENCE]))
    measure(
        "features alone, no generator",
        lambda X: without_generator.score_samples(default.embed(X)),
    )
    for name, (solver, n_steps) in SOLVERS.items():
        measure(name, solved_scores, default, solver, n_steps)
    return found


@torch.no_grad()
def solved_scores(
    X: np.ndarray,
    detector: AnoGANDetector,
    solver: Callable[..., Tensor],
    n_steps: int,
) -> np.ndarray:
    """Score rows by the whitened score after the steps of another optimiser.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
    detector : AnoGANDetector
        A fitted detector with ``anomaly_score="whitened"`` and ``n_steps=0``.
    solver : callable
        `gauss_newton` or `lbfgs`.
    n_steps : int

    Returns
    -------
    scores : ndarray of shape (n,)
        Higher is more normal.
    """
    model: Any = detector.model_.members[0]
    features, coordinates = model.discriminator.features, model.metric.coordinates

    def residuals(z: Tensor, target: Tensor) -> Tensor:
        return target - coordinates(features(model.generator(z)))

    scores = []
    for x, on_scale in zip(
        as_tensor(detector, X).split(TILE), scaled(detector, X).split(TILE), strict=True
    ):
        target = coordinates(features(on_scale))
        z = solver(residuals, model.find_latents(x), target, n_steps)
        scores.append(-residuals(z, target).square().sum(1))
    return torch.cat(scores).double().numpy()


def patches(images: np.ndarray, side: int) -> np.ndarray:
    """Halve images (n, H, W) and cut them into patches (n, k, side, side)."""
    height, width = (length // 2 * 2 for length in images.shape[1:])
    quarters = images[:, :height, :width].reshape(len(images), height // 2, 2, -1, 2)
    halved = quarters.mean((2, 4)).round().astype(np.uint8)
    windows = sliding_window_view(halved, (side, side), axis=(1, 2))
    cut = windows[:, :: side // 2, :: side // 2]
    return cut.reshape(len(images), -1, side, side)


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
        prog="python examples/studies search",
        description="AUROC of the latent search against its time.",
    )
    parser.add_argument("data", nargs="+", help="as for python -m skanogan benchmark")
    parser.add_argument("--classes", help="only these normal classes, such as 2,3,8")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--test", type=int, help="test rows at most")
    parser.add_argument("--patches", type=int, help="cut images into patches so wide")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    arguments = parser.parse_args(argv)
    classes = arguments.classes and arguments.classes.split(",")
    tasks = load_tasks(arguments.data, classes=classes)
    cells = [(task, int(s)) for task in tasks for s in arguments.seeds.split(",")]
    runs = Parallel(n_jobs=arguments.jobs, return_as="generator")(
        delayed(study_task)(task, seed, arguments.patches, arguments.test)
        for task, seed in cells
    )
    found = list(tqdm(runs, total=len(cells), unit="task"))
    names = [f"{task.name} {seed}" for task, seed in cells]
    print(f"| search | mean AUROC | ms a row | {' | '.join(names)} |")
    print("|---|---|---|" + "---|" * len(names))
    for name in found[0]:
        aurocs = [run[name][0] for run in found]
        cost = 1e3 * float(np.mean([run[name][1] for run in found]))
        each = " | ".join(f"{a:.3f}" for a in aurocs)
        print(f"| {name} | {np.mean(aurocs):.4f} | {cost:.3g} | {each} |")
    return 0

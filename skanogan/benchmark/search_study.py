"""Quality of the latent search against its cost: ``python -m`` this module.

Each task is trained once; every row of the table searches and scores with the same
networks: where the search starts, how many steps it takes, by which optimiser, with
which prior, in which metric. Mean AUROC over the tasks, and milliseconds a row.

    python -m skanogan.benchmark.search_study path/to/tables
    python -m skanogan.benchmark.search_study mnist.npz --classes 2,5,8 --test 1000
    python -m skanogan.benchmark.search_study scans.npz --classes 0 --patches 32

With `--patches`, images are halved and cut into patches; those of a test image
overlap by half, and its score is the mean of the three highest.
"""

import argparse
import dataclasses
import sys
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

from skanogan import AnoGANDetector
from skanogan._base import REFERENCE_ROWS
from skanogan._inputs import Rows
from skanogan.benchmark._tasks import Task, load_tasks
from skanogan.models._metric import RANK, WhitenedMetric

__all__ = ["SEARCHES", "SOLVERS", "gauss_newton", "lbfgs", "main", "study_task"]

_PUBLISHED = {"score": "anogan", "start": "random"}

SEARCHES: dict[str, dict[str, Any]] = {
    "nearest of 2,048, no steps (default)": {},
    "nearest of 512, no steps": {"n_candidates": 512},
    "nearest, 10 steps": {"n_steps": 10},
    "nearest, 50 steps": {"n_steps": 50},
    "nearest, 50 steps, tol=.01": {"n_steps": 50, "tol": 0.01},
    "nearest, 50 steps, prior 1": {"n_steps": 50, "prior_weight": 1.0},
    "nearest, 50 steps, prior 10": {"n_steps": 50, "prior_weight": 10.0},
    "encoder, no steps": {"start": "encoder"},
    "encoder, 10 steps": {"start": "encoder", "n_steps": 10},
    "encoder, 50 steps": {"start": "encoder", "n_steps": 50},
    "random, 50 steps": {"start": "random", "n_steps": 50},
    "residual, nearest, no steps": {"score": "residual"},
    "residual, nearest, 50 steps": {"score": "residual", "n_steps": 50},
    "L1 of features, nearest, no steps": {"score": "discrimination"},
    "published score, nearest, no steps": {"score": "anogan"},
    "published score, nearest, 50 steps": {"score": "anogan", "n_steps": 50},
    "published score, encoder, no steps": {"score": "anogan", "start": "encoder"},
    "published score, random, 50 steps": {**_PUBLISHED, "n_steps": 50},
    "published score, random, 500 steps": {**_PUBLISHED, "n_steps": 500},
}
"""Name of a search, and the fields that it changes."""

Residuals = Callable[[Tensor, Tensor], Tensor]


def gauss_newton(residuals: Residuals, z: Tensor, f: Tensor, n_steps: int) -> Tensor:
    """Levenberg and Marquardt's method on each row, all rows at once.

    Parameters
    ----------
    residuals : callable
        Latents (n, q) and what each is compared with to residuals (n, p), row by row.
    z : Tensor of shape (n, q)
        Where to start.
    f : Tensor of shape (n, ...)
        What each is compared with.
    n_steps : int
        Each costs q forward derivatives.

    Returns
    -------
    latents : Tensor of shape (n, q)
        Of least loss on the way.
    """
    eye = torch.eye(z.shape[1], dtype=z.dtype)
    damping = torch.ones(len(z), 1, 1, dtype=z.dtype)
    r = residuals(z, f)
    for _ in range(n_steps):
        columns = torch.func.vmap(
            lambda t, z=z: torch.func.jvp(
                lambda z: residuals(z, f), (z,), (t.expand_as(z),)
            )[1]
        )(eye)
        jacobian = columns.permute(1, 2, 0)
        normal = jacobian.mT @ jacobian
        slope = jacobian.mT @ r[:, :, None]
        scale = normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        tried = z - torch.linalg.solve(normal + damping * scale * eye, slope)[:, :, 0]
        r_tried = residuals(tried, f)
        better = r_tried.square().sum(1) < r.square().sum(1)
        z = torch.where(better[:, None], tried, z)
        r = torch.where(better[:, None], r_tried, r)
        damping = damping * torch.where(better, 0.3, 4.0)[:, None, None]
    return z


def lbfgs(residuals: Residuals, z: Tensor, f: Tensor, n_steps: int) -> Tensor:
    """Torch's L-BFGS with its line search on the sum over the rows.

    One step length and one history serve all rows: a row's latent depends on the
    others, which a detector must not allow. Here to see what it would bring.

    Parameters
    ----------
    residuals : callable
        As in `gauss_newton`.
    z : Tensor of shape (n, q)
        Where to start.
    f : Tensor of shape (n, ...)
        What each is compared with.
    n_steps : int
        At most; the line search takes several evaluations for each.

    Returns
    -------
    latents : Tensor of shape (n, q)
        The last ones.
    """
    z = z.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [z], max_iter=n_steps, line_search_fn="strong_wolfe", tolerance_grad=0
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = residuals(z, f).square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return z.detach()


SOLVERS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "nearest, 3 steps of Gauss-Newton": (gauss_newton, 3),
    "nearest, 20 steps of L-BFGS": (lbfgs, 20),
}
"""Name, the solver, its steps."""

TILE = 64
"""Rows that a solver takes at once."""


def study_task(
    task: Task, seed: int, patch: int | None = None, n_test: int | None = None
) -> dict[str, tuple[float, float]]:
    """AUROC and seconds a row of every search on one split of one task.

    Parameters
    ----------
    task : Task
        Any; of images, where they are cut into patches.
    seed : int
        Of the split and of the detector.
    patch : int, default=None
        Side of the patches that images are cut into.
    n_test : int, default=None
        At most so many test rows.

    Returns
    -------
    found : dict of str to (float, float)
        AUROC and seconds a row, by search.
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        detector = AnoGANDetector(start="encoder", random_state=seed).fit(X_train)

    def auroc(scores: np.ndarray) -> float:
        highest = np.sort(scores.reshape(-1, per_image), axis=1)[:, -3:]
        return float(roc_auc_score(y, -highest.mean(1)))

    model: Any = detector.model_
    default = dataclasses.replace(model.search, start="nearest")
    images = detector.image_shape_

    def rows(X: np.ndarray) -> Rows:
        flat = np.asarray(X).reshape(len(X), -1)
        return Rows(flat, images, detector.device_)

    reference = rows(X_train).some(REFERENCE_ROWS, np.random.RandomState(0))
    found = {}
    for name, changes in SEARCHES.items():
        model.search = dataclasses.replace(default, **changes)
        with torch.no_grad():
            model.prepare_scoring(reference, torch.Generator().manual_seed(0))
        started = time.perf_counter()
        scores = -detector.score_samples(X_test)
        found[name] = (auroc(scores), (time.perf_counter() - started) / len(X_test))
    model.search = default
    with torch.no_grad():
        model.prepare_scoring(reference, torch.Generator().manual_seed(0))
        tiles = torch.split(rows(X_test).all(), TILE)
        found |= _features_alone(model, reference, tiles, auroc)
        for name, (solver, n_steps) in SOLVERS.items():
            started = time.perf_counter()
            scores = np.concatenate(
                [_solved(model, tile, solver, n_steps) for tile in tiles]
            )
            found[name] = (auroc(scores), (time.perf_counter() - started) / len(X_test))
    return found


def _solved(model: Any, x: Tensor, solver: Any, n_steps: int) -> np.ndarray:
    """The whitened score after another optimiser's steps."""
    target = model.metric.coordinates(model._features(x))

    def residuals(z: Tensor, target: Tensor) -> Tensor:
        return target - model.metric.coordinates(model._drawn_features(z))

    z = solver(residuals, model.find_latents(x), target, n_steps)
    squared: Tensor = residuals(z, target).square().sum(1)
    return squared.double().numpy()


def _features_alone(
    model: Any, reference: Tensor, tiles: Any, auroc: Any
) -> dict[str, tuple[float, float]]:
    """No generator at all: a Gaussian of D's features."""
    features = torch.cat([model._features(x) for x in torch.split(reference, TILE)])
    mean = features.mean(0)
    floor = model.search.whitening_floor
    metric = WhitenedMetric.fit(features - mean, floor, RANK)
    started = time.perf_counter()
    lengths = [metric.squared_length(model._features(x) - mean) for x in tiles]
    scores = torch.cat(lengths).double().numpy()
    seconds = (time.perf_counter() - started) / len(scores)
    return {"features alone, no generator": (auroc(scores), seconds)}


def patches(images: np.ndarray, side: int) -> np.ndarray:
    """Images (n, H, W), halved, to patches (n, k, side, side) that overlap by half."""
    height, width = (length // 2 * 2 for length in images.shape[1:])
    quarters = images[:, :height, :width].reshape(len(images), height // 2, 2, -1, 2)
    halved = quarters.mean((2, 4)).round().astype(np.uint8)
    windows = sliding_window_view(halved, (side, side), axis=(1, 2))
    cut = windows[:, :: side // 2, :: side // 2]
    return cut.reshape(len(images), -1, side, side)


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
    parser.add_argument("--test", type=int, help="at most so many test rows")
    parser.add_argument("--patches", type=int, help="side of patches of images")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args(argv)
    classes = arguments.classes and [int(c) for c in arguments.classes.split(",")]
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


if __name__ == "__main__":
    sys.exit(main())

"""Do the scores that a discriminator gives alone rank anomalies as normal?

Each score of a GAN's own critics is compared with the default score of the same
detector: on rows that lie five deviations from normal ones in any direction, and on
small tables of ADBench, of which at most 500 normal rows are learned.

    python examples/studies turned adbench/
"""

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from skanogan import AnoGANDetector, OCGANDetector
from studies.report import markdown

__all__ = ["CASES", "TABLES", "aurocs", "far_rows", "main", "tables"]

Task = tuple[str, np.ndarray, np.ndarray, np.ndarray]

CASES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (AnoGANDetector, ("whitened", "p_d")),
    (OCGANDetector, ("features", "visual", "latent", "classifier")),
)
"""Each detector, its default score, and the scores of its critics."""

TABLES = (
    *("4_breastw", "6_cardio", "29_Pima", "37_Stamps", "38_thyroid", "40_vowels"),
    *("43_WDBC", "45_wine"),
)

N_ROWS, N_NEW, N_FEATURES, DISTANCE = 500, 300, 6, 5.0


def far_rows(seed: int) -> Task:
    """Draw normal rows, new ones, and rows five deviations away in any direction.

    Parameters
    ----------
    seed : int

    Returns
    -------
    task : (str, ndarray, ndarray, ndarray)
        Name, training rows, test rows, and whether each is an anomaly.
    """
    rng = np.random.RandomState(seed)
    train = rng.normal(size=(N_ROWS, N_FEATURES))
    new, far = rng.normal(size=(2, N_NEW, N_FEATURES))
    far *= DISTANCE * N_FEATURES**0.5 / np.linalg.norm(far, axis=1, keepdims=True)
    y = np.repeat([0, 1], N_NEW)
    return f"five deviations, seed {seed}", train, np.concatenate([new, far]), y


def tables(folder: Path) -> Iterator[Task]:
    """Read small tables: half of the normal rows to learn, the others to test."""
    for name in TABLES:
        with np.load(folder / f"{name}.npz") as stored:
            X, y = stored["X"].astype(float), stored["y"]
        normal = np.random.RandomState(0).permutation(np.flatnonzero(y == 0))
        half = len(normal) // 2
        test = np.concatenate([normal[half:][: 2 * N_ROWS], np.flatnonzero(y == 1)])
        yield name, X[normal[:half][:N_ROWS]], X[test], y[test]


def aurocs(kind: Any, scores: tuple[str, ...], task: Task, folder: str) -> list[float]:
    """Compute the AUROC of each score from one training with defaults and mining.

    Parameters
    ----------
    kind : type
        The class of the detector.
    scores : tuple of str
        Values of `anomaly_score`.
    task : (str, ndarray, ndarray, ndarray)
        As from `far_rows`.
    folder : str
        Where the training is cached.

    Returns
    -------
    aurocs : list of float
    """
    _, train, test, y = task
    # Without mining there is no classifier.
    mining = {"n_mining_steps": 5} if kind is OCGANDetector else {}
    found = []
    for score in scores:
        detector = kind(
            anomaly_score=score, random_state=0, device="cpu", memory=folder, **mining
        )
        found.append(float(roc_auc_score(y, -detector.fit(train).score_samples(test))))
    return found


def main(argv: list[str]) -> int:
    """Print a table for each detector.

    Parameters
    ----------
    argv : list of str
        The folder of ADBench's tables.

    Returns
    -------
    status : int
    """
    parser = argparse.ArgumentParser(
        "python examples/studies turned", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="folder of ADBench's .npz files")
    folder = parser.parse_args(argv).folder
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", UserWarning)
    with tempfile.TemporaryDirectory() as cache:
        for kind, scores in CASES:
            tasks = [far_rows(0), far_rows(1), *tables(folder)]
            found = [[task[0], *aurocs(kind, scores, task, cache)] for task in tasks]
            lines = [[name, *(f"{a:.3f}" for a in row)] for name, *row in found]
            print(markdown([kind.__name__, *scores], lines), flush=True)
    return 0

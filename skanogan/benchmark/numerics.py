"""By how much scores move when only the arithmetic changes: ``python -m`` this module.

scikit-learn's digits, as rows of 64 and as images of 32 x 32. A detector is trained on
half of the digits 0 to 4, on the CPU, and scores all 1,797. Then the same networks
score the same rows in other batches, on other numbers of threads, from another dtype,
in another precision, and on every other device of this machine. It prints, for each,

- the largest change of a score, as a share of the spread of scores (the median distance
  from their median), and the median change;
- how many of the labels change, and by how much the AUROC does;
- the tolerance that is stated for the largest, or for the AUROC, and whether it holds.

    python -m skanogan.benchmark.numerics

The status is 1 where a tolerance does not hold.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

import skanogan
from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._base import BaseDetector
from skanogan._device import available_devices
from skanogan.metrics import outlier_roc_auc_score

__all__ = ["Change", "Size", "changes", "digits", "main", "size"]

DETECTORS: dict[str, BaseDetector] = {
    "AnoGAN": AnoGANDetector(),
    "AnoGAN, 20 steps of search": AnoGANDetector(n_steps=20),
    "f-AnoGAN": FAnoGANDetector(),
    "OCGAN": OCGANDetector(),
}

BATCHES = {1: 100, 7: 700, 256: 1_797}
"""Rows in a batch, and how many rows are scored so."""

THREADS = (1, 2, 4)

SAME_WAY = 1e-9
"""Of the largest change in float64, and where nothing should change at all."""

ROUNDED = 1e-2
"""Of the largest change where float32 rounds in another order."""

AUROC = 0.01
"""Of the change of the AUROC, for products in bfloat16."""


class Change(NamedTuple):
    """Scores of the same rows by the same networks, computed in another way.

    Parameters
    ----------
    what : str
        Which way.
    scores : ndarray of shape (n,)
        Of the first n rows.
    offset : float
        The threshold.
    limit : float or None
        Of the largest change; None where only the AUROC is held to one.
    """

    what: str
    scores: np.ndarray
    offset: float
    limit: float | None


class Size(NamedTuple):
    """Of a change.

    Parameters
    ----------
    largest, median : float
        Changes of scores, as shares of the spread of all scores.
    labels : int
        How many changed.
    auroc : float
        By how much the AUROC did.
    """

    largest: float
    median: float
    labels: int
    auroc: float


def digits() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The rows, as a table and as images, and which of them are normal.

    Returns
    -------
    X : dict of str to ndarray
        Of shape (1797, 64), float64, and (1797, 32, 32), uint8.
    y : ndarray of shape (1797,)
        1 for the digits 0 to 4, -1 for the others.
    """
    table, digit = load_digits(return_X_y=True)
    pixels = np.kron(table.reshape(-1, 8, 8), np.ones((4, 4)))
    images = (255 / 16 * pixels).astype(np.uint8)
    X = {"rows of 64": table, "images of 32 x 32": images}
    return X, np.where(digit < 5, 1, -1)


def changes(
    detector: BaseDetector, normal: np.ndarray, X: np.ndarray
) -> Iterator[Change]:
    """Fit once, and score in every way.

    Parameters
    ----------
    detector : BaseDetector
        Of which a copy is fitted.
    normal : ndarray of shape (n_normal, ...)
        Rows to learn from.
    X : ndarray of shape (n, ...)
        Rows to score.

    Yields
    ------
    change : Change
        The first is the one that others are compared with.
    """
    is_image = X.ndim > 2
    own = "float32" if is_image else "float64"
    order = ROUNDED if is_image else SAME_WAY
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        asked = {"device": "cpu", "random_state": 0, "memory": folder}
        fitted: Any = clone(detector).set_params(**asked).fit(normal)
        offset = fitted.offset_
        yield Change("as it is", fitted.score_samples(X), offset, 0.0)
        for length, n_rows in BATCHES.items():
            rows = X[:n_rows]
            parts = [rows[i : i + length] for i in range(0, len(rows), length)]
            scores = np.concatenate([fitted.score_samples(part) for part in parts])
            yield Change(f"rows at once: {length}", scores, offset, order)
        before = torch.get_num_threads()
        try:
            for n_threads in THREADS:
                torch.set_num_threads(n_threads)
                scores = fitted.score_samples(X)
                yield Change(f"threads: {n_threads}", scores, offset, order)
        finally:
            torch.set_num_threads(before)
        # The numbers themselves are whole.
        scores = fitted.score_samples(X.astype("float32"))
        yield Change("X in float32", scores, offset, SAME_WAY)
        path = Path(folder) / "detector.safetensors"
        fitted.save(path)
        for device in available_devices()[:-1]:
            scores = skanogan.load(path, device=device).score_samples(X)
            limit = ROUNDED if device == "mps" else order
            yield Change(f"on {device}", scores, offset, limit)
        for dtype in ("float64", "float32", "bfloat16"):
            if dtype == own:
                continue
            # Trained already: the weights are in the folder.
            other = clone(fitted).set_params(scoring_dtype=dtype).fit(normal)
            scores, what = other.score_samples(X), f"scored in {dtype}"
            held_to = None if dtype == "bfloat16" else ROUNDED
            yield Change(what, scores, other.offset_, held_to)


def size(change: Change, reference: Change, y: np.ndarray) -> Size:
    """How far scores are from those of the reference.

    Parameters
    ----------
    change, reference : Change
    y : ndarray of shape (n,)
        1 for normal rows and -1 for others.
    """
    n = len(change.scores)
    spread = np.median(np.abs(reference.scores - np.median(reference.scores)))
    moved = np.abs(change.scores - reference.scores[:n]) / spread
    was, now = (c.scores[:n] < c.offset for c in (reference, change))
    areas = [outlier_roc_auc_score(y[:n], c.scores[:n]) for c in (change, reference)]
    return Size(
        float(moved.max()),
        float(np.median(moved)),
        int((was != now).sum()),
        areas[0] - areas[1],
    )


def main(argv: "list[str] | None" = None) -> int:
    """Print the table.

    Parameters
    ----------
    argv : list of str, default=None
        The command line by default.

    Returns
    -------
    status : int
        1 where a tolerance does not hold, or 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skanogan.benchmark.numerics",
        description="By how much scores move when only the arithmetic changes.",
    )
    parser.add_argument("--updates", type=int, default=500, help="of each network")
    parser.add_argument("--detectors", help="separated by semicolons; all by default")
    arguments = parser.parse_args(argv)
    names = arguments.detectors.split(";") if arguments.detectors else list(DETECTORS)
    tables, y = digits()
    train = np.flatnonzero(y == 1)[::2]
    print("| | | largest change | median | labels | AUROC | tolerance | |")
    print("|---|---|---|---|---|---|---|---|")
    all_held = True
    for kind, X in tables.items():
        for name in tqdm(names, desc=kind, unit="detector"):
            detector = clone(DETECTORS[name]).set_params(max_iter=arguments.updates)
            if "encoder_max_iter" in detector.get_params():
                detector.set_params(encoder_max_iter=arguments.updates)
            found = changes(detector, X[train], X)
            reference = next(found)
            for change in found:
                moved = size(change, reference, y)
                if change.limit is None:
                    held, stated = abs(moved.auroc) <= AUROC, f"AUROC {AUROC:g}"
                else:
                    held, stated = moved.largest <= change.limit, f"{change.limit:g}"
                all_held &= held
                print(
                    f"| {name}, {kind} | {change.what} | {moved.largest:.1e} | "
                    f"{moved.median:.1e} | {moved.labels} | {moved.auroc:+.4f} | "
                    f"{stated} | {'held' if held else 'NOT HELD'} |",
                    flush=True,
                )
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())

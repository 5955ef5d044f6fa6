"""How much scores change if only the arithmetic changes.

The rows are scikit-learn's digits, as rows of 64 and as images of 32 x 32. A detector
is fitted on the CPU to half of the digits 0 to 4 and scores all 1,797 digits. Then the
same networks score the same rows in other batches, with other numbers of threads, from
another dtype, in another precision, and on the other devices of this machine. The table
has

- the largest and the median change of a score, as shares of the spread of the scores
  (the median distance from their median);
- the number of labels that change, and the change of the AUROC;
- the stated tolerance of the largest change, and whether it holds.

    python examples/studies numerics

The status is 1 if a tolerance does not hold.
"""

import argparse
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
from skanogan.metrics import outlier_roc_auc_score

__all__ = ["Change", "Size", "changes", "digits", "main", "size"]

DETECTORS: dict[str, Any] = {
    "AnoGAN": AnoGANDetector(),
    "AnoGAN, 20 steps of search": AnoGANDetector(n_steps=20),
    "f-AnoGAN": FAnoGANDetector(),
    "OCGAN": OCGANDetector(),
}

BATCHES = {1: 100, 7: 700, 256: 1_797}
"""Rows in a batch, and the number of rows that are scored."""

THREADS = (1, 2, 4)

SAME_WAY = 1e-9
"""Tolerance in float64. Other batches have none: no score may change."""

ROUNDED = 1e-2
"""Tolerance where float32 rounds in another order."""


class Change(NamedTuple):
    """Scores of the same rows by the same networks, computed in another way.

    Parameters
    ----------
    what : str
        The way.
    scores : ndarray of shape (n,)
        Scores of the first n rows.
    offset : float
        The threshold.
    tolerance : float
        Tolerance of the largest change.
    """

    what: str
    scores: np.ndarray
    offset: float
    tolerance: float


class Size(NamedTuple):
    """Size of a change.

    Parameters
    ----------
    largest, median : float
        Changes of scores, as shares of the spread of all scores.
    labels : int
        Number of labels that changed.
    auroc : float
        Change of the AUROC.
    """

    largest: float
    median: float
    labels: int
    auroc: float


def digits() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Load the rows as a table and as images, and their labels.

    Returns
    -------
    X : dict of str to ndarray
        Arrays of shape (1797, 64), float64, and (1797, 32, 32), uint8.
    y : ndarray of shape (1797,)
        1 for the digits 0 to 4, -1 for the others.
    """
    table, digit = load_digits(return_X_y=True)
    pixels = np.kron(table.reshape(-1, 8, 8), np.ones((4, 4)))
    images = (255 / 16 * pixels).astype(np.uint8)
    X = {"rows of 64": table, "images of 32 x 32": images}
    return X, np.where(digit < 5, 1, -1)


def changes(detector: Any, normal: np.ndarray, X: np.ndarray) -> Iterator[Change]:
    """Train once, and score in every way.

    Parameters
    ----------
    detector : object
        A detector of this package. A clone of it is fitted.
    normal : ndarray of shape (n_normal, ...)
        Training rows.
    X : ndarray of shape (n, ...)
        Rows to score.

    Yields
    ------
    change : Change
        The first one is the reference of the others.
    """
    is_image = X.ndim > 2
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
            yield Change(f"rows at once: {length}", scores, offset, 0.0)
        before = torch.get_num_threads()
        try:
            for n_threads in THREADS:
                torch.set_num_threads(n_threads)
                scores = fitted.score_samples(X)
                yield Change(f"threads: {n_threads}", scores, offset, order)
        finally:
            torch.set_num_threads(before)
        # The values are integers, which float32 holds exactly.
        scores = fitted.score_samples(X.astype("float32"))
        yield Change("X in float32", scores, offset, SAME_WAY)
        path = Path(folder) / "detector.safetensors"
        fitted.save(path)
        for device in other_devices():
            scores = skanogan.load(path, device=device).score_samples(X)
            tolerance = ROUNDED if device == "mps" else order
            yield Change(f"on {device}", scores, offset, tolerance)
        dtype = "float64" if is_image else "float32"
        # The cache in the folder has the weights.
        other = clone(fitted).set_params(scoring_dtype=dtype).fit(normal)
        scores = other.score_samples(X)
        yield Change(f"scored in {dtype}", scores, other.offset_, ROUNDED)


def other_devices() -> list[str]:
    """List the devices of this machine beside the CPU."""
    found = {"cuda": torch.cuda, "mps": torch.backends.mps}
    return [name for name, backend in found.items() if backend.is_available()]


def size(change: Change, reference: Change, y: np.ndarray) -> Size:
    """Measure how far scores are from those of the reference.

    Parameters
    ----------
    change, reference : Change
    y : ndarray of shape (n,)
        1 for normal rows and -1 for others.

    Returns
    -------
    size : Size
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


def main(argv: list[str]) -> int:
    """Run the study and print its table.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        1 if a tolerance does not hold, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="python examples/studies numerics",
        description="How much scores change if only the arithmetic changes.",
    )
    parser.add_argument("--updates", type=int, default=500, help="of each network")
    parser.add_argument("--detectors", help="names, separated by semicolons")
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
                held = moved.largest <= change.tolerance
                all_held &= held
                print(
                    f"| {name}, {kind} | {change.what} | {moved.largest:.1e} | "
                    f"{moved.median:.1e} | {moved.labels} | {moved.auroc:+.4f} | "
                    f"{change.tolerance:g} | {'held' if held else 'NOT HELD'} |",
                    flush=True,
                )
    return 0 if all_held else 1

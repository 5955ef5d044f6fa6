"""Retinal OCT from NORMAL scans alone, AUROC of scans: ``python -m`` this module.

Needs ``oct_neh.npz``: x (n, H, W) uint8, y (0 NORMAL, 1 AMD, 2 DME), name (AMD_1002).
The numbers in the names run through the volumes, one eye after the other, and no
patient is named. The first half of the numbers of each class is for development; the
second half is what is reported. Split k tests on a third of the second half's NORMAL
scans and all of its AMD and DME scans, and trains on the other NORMAL scans of both
halves. Thirds are runs of numbers, and no scan within 30 numbers of a test scan is
trained on (an eye has about as many); with ``--random`` they are drawn at random, so
that most test scans have a neighbour from the same eye among the training scans.

    python -m skanogan.benchmark.oct_study oct_neh.npz
    python -m skanogan.benchmark.oct_study oct_neh.npz --random
    python -m skanogan.benchmark.oct_study oct_neh.npz --development

Thresholds are to flag 5 % of new NORMAL scans. They are calibrated on a tenth of the
training scans, drawn at random, or with ``--whole-eyes`` on a run of numbers.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan.benchmark._oct_methods import METHODS, SEE_SCANS, detectors
from skanogan.benchmark.retina import align_retina
from skanogan.conformal import ConformalDetector
from skanogan.image import PatchDetector

__all__ = ["main", "numbers", "split", "study_split", "whole_eyes"]

GUARD = 30
"""Numbers about a test scan that are not trained on."""

N_SPLITS = 3
NORMAL, AMD, DME = 0, 1, 2


def numbers(names: Iterable[str]) -> np.ndarray:
    """The number in each name, as 1002 in AMD_1002.jpeg.

    Returns
    -------
    numbers : ndarray of int
    """
    found = [re.search(r"\d+", name) for name in names]
    if not all(found):
        raise ValueError("Every name must hold a number, as AMD_1002.jpeg does.")
    return np.array([int(match.group()) for match in found if match])


def split(
    y: np.ndarray,
    number: np.ndarray,
    k: int,
    *,
    development: bool = False,
    random: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """One of the three splits, as the head of this module says.

    Parameters
    ----------
    y : ndarray of shape (n,)
        0 for NORMAL, others for anomalies.
    number : ndarray of shape (n,), int
        Consecutive within an eye.
    k : int
        0, 1 or 2.
    development : bool, default=False
        Train and test within the first half.
    random : bool, default=False
        Thirds at random, and nothing left out.

    Returns
    -------
    train, test : ndarray of int
        Indices of scans.
    """
    halves: list[list[np.ndarray]] = [[], []]
    for label in np.unique(y):
        ordered = np.flatnonzero(y == label)
        ordered = ordered[np.argsort(number[ordered])]
        halves[0].append(ordered[: len(ordered) // 2])
        halves[1].append(ordered[len(ordered) // 2 :])
    part = halves[0 if development else 1]
    normal, anomalies = part[0], np.concatenate(part[1:])
    if random:
        normal = np.random.RandomState(0).permutation(normal)
    tested = np.array_split(normal, N_SPLITS)[k]
    train = part[0] if development else np.flatnonzero(y == NORMAL)
    distance = np.abs(number[train][:, None] - number[tested]).min(1)
    kept = ~np.isin(train, tested) if random else distance > GUARD
    return train[kept], np.concatenate([tested, anomalies])


def whole_eyes(train: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide training scans so that no eye has scans on both sides.

    Parameters
    ----------
    train : ndarray of int
        Indices of scans.
    number : ndarray of int
        Of all scans.

    Returns
    -------
    learn, calibrate : ndarray of int
        The latter are the fifth with the lowest numbers.
    """
    ordered = train[np.argsort(number[train])]
    calibrate = ordered[: len(ordered) // 5]
    return ordered[number[ordered] > number[calibrate].max() + GUARD], calibrate


def study_split(
    inputs: dict[str, np.ndarray],
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
    methods: Iterable[tuple[str, str]] = METHODS,
    calibrate: "np.ndarray | None" = None,
) -> dict[tuple[str, str], dict[str, float]]:
    """Train and test the methods on one split.

    Parameters
    ----------
    inputs : dict of str to ndarray
        Scans by kind: ``"scans as they are"`` and ``"aligned scans"``.
    y : ndarray of shape (n,)
        0 NORMAL, 1 AMD, 2 DME.
    train, test : ndarray of int
        As `split` gives them.
    seed : int
        Of all that is random.
    methods : iterable of (str, str), default=METHODS
    calibrate : ndarray of int, default=None
        Scans for the threshold; None for a tenth of `train`, at random.

    Returns
    -------
    figures : dict of (str, str) to dict of str to float
        AUROC of all anomalies, of AMD and of DME; the shares of NORMAL and of other
        test scans beyond the threshold; seconds.
    """
    found = {}
    truth = y[test]
    with tempfile.TemporaryDirectory() as memory:
        for (kind, name), detector in detectors(seed, memory).items():
            if (kind, name) not in set(methods):
                continue
            images = inputs[kind if kind in SEE_SCANS else "aligned scans"]
            height, width = images.shape[1:]
            by_scan = PatchDetector(
                detector,
                patch_size=(height, width) if kind in SEE_SCANS else (height, height),
                stride=(height, height // 4),
                pooling="mean",
                random_state=seed,
            )
            started = time.perf_counter()
            by_scan.fit(images[train])
            if calibrate is not None:
                frozen = FrozenEstimator(by_scan)
                by_scan = ConformalDetector(frozen).fit(images[calibrate])
            decision = by_scan.decision_function(images[test])
            figures = {"seconds": time.perf_counter() - started}
            for what, labels in (("all", (AMD, DME)), ("AMD", (AMD,)), ("DME", (DME,))):
                rows = np.isin(truth, (NORMAL, *labels))
                figures[what] = roc_auc_score(truth[rows] != NORMAL, -decision[rows])
            figures["false alarms"] = np.mean(decision[truth == NORMAL] < 0)
            figures["found"] = np.mean(decision[truth != NORMAL] < 0)
            found[kind, name] = {what: float(v) for what, v in figures.items()}
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
    parser.add_argument("data", help="oct_neh.npz")
    parser.add_argument("--splits", default="0,1,2", help="as 0,1,2")
    parser.add_argument("--random", action="store_true", help="thirds at random")
    parser.add_argument("--development", action="store_true", help="the first half")
    parser.add_argument("--whole-eyes", action="store_true", help="for the threshold")
    parser.add_argument("--only", default="", help="part of the names of methods")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args(argv)
    with np.load(arguments.data, allow_pickle=False) as file:
        x, y, number = file["x"], file["y"], numbers(file["name"])
    methods = [m for m in METHODS if arguments.only in ", ".join(m)]
    how = {"development": arguments.development, "random": arguments.random}
    chosen = [int(k) for k in arguments.splits.split(",")]
    splits = [split(y, number, k, **how) for k in chosen]
    with Parallel(n_jobs=arguments.jobs, return_as="generator") as parallel:
        aligned = parallel(delayed(align_retina)(scan) for scan in x)
        inputs = {
            "scans as they are": _halved(x),
            "aligned scans": np.stack(list(tqdm(aligned, total=len(x), desc="align"))),
        }
        cells = []
        for seed, (train, test) in zip(chosen, splits, strict=True):
            learn, calibrate = train, None
            if arguments.whole_eyes:
                learn, calibrate = whole_eyes(train, number)
            cells.append((inputs, y, learn, test, seed, methods, calibrate))
        runs = parallel(delayed(study_split)(*cell) for cell in cells)
        found = list(tqdm(runs, total=len(splits), desc="splits"))
    _print_table(splits, y, found)
    return 0


def _halved(x: np.ndarray) -> np.ndarray:
    n, height, width = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4)).astype(np.float32)


def _print_table(splits: list[Any], y: np.ndarray, found: list[Any]) -> None:
    for train, test in splits:
        counts = np.bincount(y[test], minlength=3)
        print(f"{len(train)} NORMAL scans to train, to test {counts.tolist()}")
    names = ("AUROC", "splits", "AMD", "DME", "false alarms", "found", "s")
    print("\n| input | method | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for kind, name in found[0]:
        runs = [run[kind, name] for run in found]
        mean = {what: np.mean([run[what] for run in runs]) for what in runs[0]}
        each = ", ".join(f"{run['all']:.3f}" for run in runs)
        print(
            f"| {kind} | {name} | {mean['all']:.3f} | {each} | {mean['AMD']:.3f} | "
            f"{mean['DME']:.3f} | {mean['false alarms']:.3f} | {mean['found']:.3f} | "
            f"{mean['seconds']:.0f} |"
        )


if __name__ == "__main__":
    sys.exit(main())

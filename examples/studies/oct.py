"""Find abnormal retinal OCT scans with detectors fitted to NORMAL scans.

The file ``oct_neh.npz`` has the arrays x (n, H, W) uint8, y (0 NORMAL, 1 AMD, 2 DME)
and name (such as AMD_1002). Patients are not named. The numbers in the names run
through the volumes, one eye after the other.

The first half of the numbers of each class is for development, and the second half for
the report. Split k tests a third of the NORMAL scans of the second half and all of its
AMD and DME scans. It trains on the other NORMAL scans of both halves. A third is a run
of numbers. No scan within 30 numbers of a test scan is trained on: an eye has about 30
scans. With ``--random`` the thirds are drawn at random, and most test scans have a
neighbour from the same eye among the training scans.

    python examples/studies oct oct_neh.npz
    python examples/studies oct oct_neh.npz --random
    python examples/studies oct oct_neh.npz --development

The thresholds aim at 5 % of new NORMAL scans. They are calibrated on a tenth of the
training scans, drawn at random, or with ``--whole-eyes`` on a run of numbers.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan.conformal import ConformalDetector
from skanogan.image import PatchDetector
from studies.oct_methods import METHODS, WHOLE_SCANS, detectors
from studies.retina import align_retina

__all__ = ["main", "numbers", "split", "study_split", "whole_eyes"]

GUARD = 30
"""Scans within so many numbers of a test scan are not trained on."""

N_SPLITS = 3
NORMAL, AMD, DME = 0, 1, 2


def numbers(names: Iterable[str]) -> np.ndarray:
    """Read the number in each name, such as 1002 in AMD_1002.jpeg.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    numbers : ndarray of int
    """
    names = list(names)
    found = [re.search(r"\d+", name) for name in names]
    if not all(found):
        raise ValueError(
            f"The name {names[found.index(None)]!r} has no number. Every name must "
            "have a number, such as AMD_1002.jpeg."
        )
    return np.array([int(match.group()) for match in found if match])


def split(
    y: np.ndarray,
    number: np.ndarray,
    k: int,
    *,
    development: bool = False,
    random: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Split the scans as the docstring of this module says.

    Parameters
    ----------
    y : ndarray of shape (n,)
        0 for NORMAL scans, other values for anomalies.
    number : ndarray of shape (n,), int
        Number of each scan.
    k : int
        Number of the split: 0, 1 or 2.
    development : bool, default=False
        Train and test within the first half.
    random : bool, default=False
        Draw the thirds at random, and leave no scan out.

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
    """Divide training scans so that no eye has scans in both parts.

    Parameters
    ----------
    train : ndarray of int
        Indices of scans.
    number : ndarray of int
        Number of every scan.

    Returns
    -------
    learn, calibrate : ndarray of int
        Indices of scans. `calibrate` is the fifth with the lowest numbers.
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
    """Fit and test the methods on one split.

    Parameters
    ----------
    inputs : dict of str to ndarray
        Scans by kind, ``"scans as they are"`` and ``"aligned scans"``.
    y : ndarray of shape (n,)
        0 NORMAL, 1 AMD, 2 DME.
    train, test : ndarray of int
        As `split` returns them.
    seed : int
        Seed of the detectors and of the patches.
    methods : iterable of (str, str), default=METHODS
        Kind of input and name of each method.
    calibrate : ndarray of int, default=None
        Scans that calibrate the threshold. None is a tenth of `train`, at random.

    Returns
    -------
    found : dict of (str, str) to dict of str to float
        AUROC of all anomalies, of AMD and of DME; the shares of the NORMAL and of the
        other test scans that are labelled as outliers; seconds.
    """
    found = {}
    truth = y[test]
    with tempfile.TemporaryDirectory() as memory:
        for (kind, name), detector in detectors(seed, memory).items():
            if (kind, name) not in set(methods):
                continue
            images = inputs[kind if kind in WHOLE_SCANS else "aligned scans"]
            height, width = images.shape[1:]
            by_scan = PatchDetector(
                detector,
                patch_size=(height, width if kind in WHOLE_SCANS else height),
                stride=(height, height // 4),
                patches_per_image=64,
                pooling="mean",
                random_state=seed,
            )
            started = time.perf_counter()
            by_scan.fit(images[train])
            if calibrate is not None:
                frozen = FrozenEstimator(by_scan)
                by_scan = ConformalDetector(frozen).fit(images[calibrate])
            decision = by_scan.decision_function(images[test])
            measured = {"seconds": time.perf_counter() - started}
            for what, labels in (("all", (AMD, DME)), ("AMD", (AMD,)), ("DME", (DME,))):
                rows = np.isin(truth, (NORMAL, *labels))
                measured[what] = roc_auc_score(truth[rows] != NORMAL, -decision[rows])
            measured["false alarms"] = np.mean(decision[truth == NORMAL] < 0)
            measured["found"] = np.mean(decision[truth != NORMAL] < 0)
            found[kind, name] = {what: float(v) for what, v in measured.items()}
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
        prog="python examples/studies oct",
        description="Find abnormal OCT scans with detectors fitted to NORMAL scans.",
    )
    parser.add_argument("data", help="oct_neh.npz")
    parser.add_argument("--splits", default="0,1,2", help="such as 0,1,2")
    parser.add_argument(
        "--random", action="store_true", help="draw the test thirds at random"
    )
    parser.add_argument(
        "--development", action="store_true", help="use the first half only"
    )
    parser.add_argument(
        "--whole-eyes", action="store_true", help="calibrate on a run of numbers"
    )
    parser.add_argument("--only", default="", help="methods with this in their name")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
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
        print(f"{len(train)} NORMAL scans to train on, {counts.tolist()} to test")
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

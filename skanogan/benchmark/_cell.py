"""Measure one cell: one detector on one task with one seed."""

import functools
import hashlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import skanogan
from skanogan.benchmark._conventions import as_input, in_our_convention
from skanogan.benchmark._detectors import DetectorSpec
from skanogan.benchmark._tasks import Task

__all__ = ["MEASURED", "Cell", "failed", "run_cell"]

MEASURED = (
    "auroc",
    "average_precision",
    "false_alarms",
    "detected",
    "fit_seconds",
    "score_seconds",
)
_N_CHECKED_LABELS = 16


@dataclass(frozen=True)
class Cell:
    """One detector on one task with one seed, small and picklable."""

    seed: int
    task: Task
    detector: DetectorSpec
    device: str | None

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """Describe the cell. Cells with equal facts have equal results."""
        return {
            "task": self.task.name,
            "protocol": self.task.protocol,
            "detector": self.detector.name,
            "seed": self.seed,
            "limit": self.task.limit,
            "parameters": self.detector.parameters(self.seed, self.device),
            "contamination": self.task.contamination,
            "data": self.task.digest,
            "version": skanogan.__version__,
        }

    @functools.cached_property
    def key(self) -> str:
        """A hash of the facts."""
        text = json.dumps(self.facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Measure one cell. An exception becomes its "error"."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            measured = _measured(cell)
    except Exception as error:  # the other cells still run
        return failed(cell, f"{type(error).__name__}: {error}")
    said = {f"{w.category.__name__}: {w.message}" for w in caught}
    return _row(cell) | measured | {"warnings": sorted(said), "error": None}


def _measured(cell: Cell) -> dict[str, Any]:
    X_train, X_test, y_test = cell.task.split(cell.seed)
    if len(np.unique(y_test)) < 2:
        raise ValueError(
            f"all {len(y_test)} test rows have the label {y_test[0]}; expected normal "
            "rows and anomalies"
        )
    detector = cell.detector.make(cell.seed, cell.device)
    X_train, X_test = as_input(detector, X_train), as_input(detector, X_test)
    _warm_up()
    start = time.perf_counter()
    fitted = detector.fit(X_train)
    fit_seconds = time.perf_counter() - start
    fitted = in_our_convention(detector if fitted is None else fitted)
    start = time.perf_counter()
    decision = np.asarray(fitted.decision_function(X_test), dtype=np.float64).ravel()
    score_seconds = time.perf_counter() - start
    if decision.shape != y_test.shape or not np.isfinite(decision).all():
        raise ValueError(
            f"decision_function returned {np.size(decision)} values, "
            f"{np.sum(~np.isfinite(decision))} of them not finite; expected "
            f"{len(y_test)} finite values"
        )
    flagged = _flagged(fitted, X_test, decision)
    return {
        "auroc": float(roc_auc_score(y_test, decision)),
        "average_precision": float(average_precision_score(y_test == -1, -decision)),
        "false_alarms": float(np.mean(flagged[y_test == 1])),
        "detected": float(np.mean(flagged[y_test == -1])),
        "fit_seconds": fit_seconds,
        "score_seconds": score_seconds,
        "n_train": len(X_train),
        "n_test": len(X_test),
        "n_features": int(np.prod(X_train.shape[1:])),
    }


def _flagged(fitted: Any, X: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """Find the rows that `predict` labels as outliers.

    A latent search is too slow to run twice. If `predict` agrees with the sign of
    `decision_function` on 16 rows, as scikit-learn prescribes, the sign is used.
    """
    some = np.unique(np.linspace(0, len(X) - 1, _N_CHECKED_LABELS).astype(int))
    labels, flagged = np.asarray(fitted.predict(X[some])), decision < 0
    if not np.array_equal(labels == -1, flagged[some]):
        labels = np.asarray(fitted.predict(X))
        flagged = labels == -1
    if not set(labels.tolist()) <= {1, -1}:
        raise ValueError(
            f"predict returned {sorted(set(labels.tolist()))}; expected 1 for normal "
            "rows and -1 for outliers"
        )
    return flagged


@functools.cache
def _warm_up() -> None:
    """Run one optimiser step: the first step in a process takes about 1 s longer."""
    if "torch" in sys.modules:
        import torch

        weight = torch.zeros(1, requires_grad=True)
        weight.sum().backward()
        torch.optim.Adam([weight]).step()


def _row(cell: Cell) -> dict[str, Any]:
    return {"key": cell.key} | cell.facts | {"family": cell.detector.family}


def failed(cell: Cell, error: str) -> dict[str, Any]:
    """Make the result of a cell that could not be measured."""
    nothing = dict.fromkeys((*MEASURED, "n_train", "n_test", "n_features"))
    return _row(cell) | nothing | {"warnings": [], "error": error}

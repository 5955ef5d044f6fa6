"""One cell: a detector on a task with a seed, and what is measured of it."""

import functools
import hashlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skanogan.benchmark._conventions import as_input, in_our_convention
from skanogan.benchmark._detectors import DetectorSpec
from skanogan.benchmark._tasks import Task

__all__ = ["Cell", "failed", "run_cell"]

_N_CHECKED_LABELS = 16
_MEASURED = (
    "auroc",
    "average_precision",
    "false_alarms",
    "detected",
    "fit_seconds",
    "score_seconds",
    "n_train",
    "n_test",
    "n_features",
)


@dataclass(frozen=True)
class Cell:
    """One detector on one task with one seed: a small picklable value."""

    task: Task
    detector: DetectorSpec
    seed: int
    device: str | None

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What this cell is; two cells with the same facts have the same results."""
        return {
            "task": self.task.name,
            "protocol": self.task.protocol,
            "detector": self.detector.name,
            "seed": self.seed,
            "limit": self.task.limit,
            "parameters": self.detector.parameters(self.seed, self.device),
            "data": self.task.digest,
            "version": _version(),
        }

    @functools.cached_property
    def key(self) -> str:
        """A short name for the facts."""
        text = json.dumps(self.facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Measure one cell; whatever goes wrong becomes its "error"."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            measured = _measured(cell)
    except Exception as error:  # one failed cell never ends the run
        return failed(cell, f"{type(error).__name__}: {error}")
    said = {f"{w.category.__name__}: {w.message}" for w in caught}
    return _row(cell) | measured | {"warnings": sorted(said), "error": None}


def _measured(cell: Cell) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    X_train, X_test, y_test = cell.task.split(cell.seed)
    if len(np.unique(y_test)) < 2:
        raise ValueError("the test rows are all of one kind; expected both")
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
            f"decision_function gave {np.size(decision)} values, "
            f"{np.sum(~np.isfinite(decision))} of them not finite; expected "
            f"{len(y_test)} finite ones"
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
    """Which rows `predict` calls outliers.

    A latent search is too dear to do twice, so where `predict` agrees with the sign of
    `decision_function` on some rows, as scikit-learn prescribes, the sign stands for
    it.
    """
    some = np.unique(np.linspace(0, len(X) - 1, _N_CHECKED_LABELS).astype(int))
    labels, flagged = np.asarray(fitted.predict(X[some])), decision < 0
    if not np.array_equal(labels == -1, flagged[some]):
        labels = np.asarray(fitted.predict(X))
        flagged = labels == -1
    if not set(labels.tolist()) <= {1, -1}:
        raise ValueError(
            f"predict gave {sorted(set(labels.tolist()))}; expected 1 and -1, as "
            "scikit-learn's outlier detectors say"
        )
    return flagged


@functools.cache
def _warm_up() -> None:
    """Pay once for what the first optimiser in a process imports (about 1 s)."""
    if "torch" in sys.modules:
        import torch

        weight = torch.zeros(1, requires_grad=True)
        weight.sum().backward()
        torch.optim.Adam([weight]).step()


def _row(cell: Cell) -> dict[str, Any]:
    return {"key": cell.key} | cell.facts | {"family": cell.detector.family}


def failed(cell: Cell, error: str) -> dict[str, Any]:
    """Give the row of a cell that could not be measured."""
    return _row(cell) | dict.fromkeys(_MEASURED) | {"warnings": [], "error": error}


def _version() -> str:
    import skanogan

    return getattr(skanogan, "__version__", "unknown")

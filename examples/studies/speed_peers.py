"""Section `peers`: the GANs of PyOD on the same table, if PyOD is installed."""

import importlib
import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from skanogan import AnoGANDetector
from studies.report import machine_line, markdown, section
from studies.timing import seconds

__all__ = ["QUICK", "peers_section", "table"]

QUICK: dict[str, Any] = {"n_train": 200, "n_test": 200, "parameters": {"max_iter": 50}}

PEERS = {
    "PyOD AnoGAN": "pyod.models.anogan:AnoGAN",
    "PyOD ALAD": "pyod.models.alad:ALAD",
}


def peers_section(
    n_train: int = 1000, n_test: int = 2000, parameters: "dict[str, Any] | None" = None
) -> str:
    """Measure seconds of fit, rows scored per second, and AUROC with the defaults.

    Parameters
    ----------
    n_train, n_test : int
        Numbers of training and test rows.
    parameters : dict, default=None
        Parameters of `AnoGANDetector` other than the defaults.

    Returns
    -------
    text : str
    """
    X_train, X_test, y = table(n_train, n_test)
    ours = AnoGANDetector(random_state=0, **(parameters or {}))
    detectors: dict[str, Any] = {"AnoGANDetector": ours}
    for name, path in PEERS.items():
        module, attribute = path.split(":")
        try:
            detectors[name] = getattr(importlib.import_module(module), attribute)()
        except ImportError:
            return section("peers", "PyOD is not installed: pip install pyod")
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, detector in detectors.items():
            fit = seconds(partial(detector.fit, X_train))
            detector.decision_function(X_test[:10])
            score = seconds(partial(detector.decision_function, X_test))
            # Higher is more abnormal in PyOD, and more normal in scikit-learn.
            sign = 1 if name == "AnoGANDetector" else -1
            auroc = roc_auc_score(y, sign * detector.decision_function(X_test))
            found[name] = (fit, n_test / score, auroc)
    own_fit, own_rate, _ = found["AnoGANDetector"]
    lines = [
        [
            name,
            f"{fit:.3g}",
            f"{fit / own_fit:.3g}",
            f"{rate:.3g}",
            f"{rate / own_rate:.3g}",
            f"{auroc:.3f}",
        ]
        for name, (fit, rate, auroc) in found.items()
    ]
    header = ["detector", "fit s", "ratio", "rows/s scored", "ratio", "AUROC"]
    return section(
        "peers",
        machine_line(),
        f"{n_train} normal training rows of 20 columns, {n_test} test rows, half of "
        "them normal. PyOD's AnoGAN does not search when it scores, and ALAD has no "
        "search: each row takes one pass. Ratios are to AnoGANDetector.",
        markdown(header, lines),
    )


def table(n_train: int, n_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw rows near a subspace of 5 of 20 dimensions, and anomalies farther away."""
    rng = np.random.RandomState(0)
    plane = rng.normal(size=(5, 20))

    def rows(n: int, noise: float) -> np.ndarray:
        return rng.normal(size=(n, 5)) @ plane + noise * rng.normal(size=(n, 20))

    normal, anomalies = rows(n_train + n_test // 2, 0.3), rows(n_test // 2, 0.8)
    X_test = np.concatenate([normal[n_train:], anomalies])
    y = np.repeat([1, -1], [len(normal) - n_train, len(anomalies)])
    return normal[:n_train], X_test, y

"""Convert inputs and results between the conventions of scikit-learn and PyOD.

In scikit-learn, `decision_function` is higher for more normal rows, and `predict`
returns 1 for normal rows and -1 for outliers. In PyOD, `decision_function` is higher
for more abnormal rows, and `predict` returns 0 for normal rows and 1 for outliers.
"""

from typing import Any

import numpy as np
from sklearn.utils import get_tags

__all__ = ["PyODView", "as_input", "in_our_convention"]


def as_input(detector: Any, X: np.ndarray) -> np.ndarray:
    """Flatten images to float64 unless scikit-learn's tag says that they are taken."""
    try:
        takes_images = get_tags(detector).input_tags.three_d_array
    except (AttributeError, TypeError, ValueError):  # not a scikit-learn estimator
        takes_images = False
    if X.ndim == 2 or takes_images:
        return X
    return X.reshape(len(X), -1).astype(np.float64)


def in_our_convention(fitted: Any) -> Any:
    """Wrap a fitted detector in a `PyODView` if it follows PyOD's convention.

    It is recognised by its module, or by `decision_scores_`, which PyOD prescribes.
    """
    last = _last_step(fitted)
    modules = {base.__module__.partition(".")[0] for base in type(last).__mro__}
    if "pyod" in modules or hasattr(last, "decision_scores_"):
        return PyODView(fitted)
    return fitted


class PyODView:
    """A fitted detector of PyOD with scikit-learn's sign and labels."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Subtract PyOD's scores from its threshold. Negative values are outliers."""
        threshold = getattr(_last_step(self.detector), "threshold_", 0.0)
        return threshold - np.asarray(self.detector.decision_function(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Convert the labels 0 and 1 to 1 and -1."""
        labels = np.asarray(self.detector.predict(X)).astype(int)
        found = set(labels.tolist())
        if not found <= {0, 1}:
            raise ValueError(
                f"predict returned {sorted(found)}; expected PyOD's labels, 0 and 1"
            )
        return 1 - 2 * labels


def _last_step(detector: Any) -> Any:
    """The last step of a Pipeline, or the detector itself."""
    steps = getattr(detector, "steps", None)
    return steps[-1][1] if steps else detector

"""How rows reach a detector, and how the answers of foreign ones are turned.

scikit-learn's convention: `decision_function` is higher for more normal rows, and
`predict` says +1 for normal rows and -1 for outliers. PyOD's is the reverse: higher is
more abnormal, 0 is normal and 1 an outlier.
"""

from typing import Any

import numpy as np

__all__ = ["PyODView", "as_input", "in_our_convention"]


def as_input(detector: Any, X: np.ndarray) -> np.ndarray:
    """Rows as a detector takes them.

    Parameters
    ----------
    detector : object
        Takes images if its scikit-learn tags say so (``input_tags.three_d_array``).
    X : ndarray of shape (n, n_features), (n, H, W) or (n, H, W, C)
        Rows.

    Returns
    -------
    X : ndarray
        Untouched, or flat and float64: raw pixel values.
    """
    if X.ndim == 2 or _takes_images(detector):
        return X
    return X.reshape(len(X), -1).astype(np.float64)


def in_our_convention(fitted: Any) -> Any:
    """A fitted detector with scikit-learn's sign and labels.

    Parameters
    ----------
    fitted : object
        A fitted detector.

    Returns
    -------
    detector : object
        The same, or a `PyODView` of it. A detector is taken to be PyOD's by its
        module, or by the attribute `decision_scores_` that PyOD prescribes.
    """
    last = getattr(fitted, "_final_estimator", fitted)  # of a Pipeline
    modules = {base.__module__.partition(".")[0] for base in type(last).__mro__}
    if "pyod" in modules or hasattr(last, "decision_scores_"):
        return PyODView(fitted)
    return fitted


class PyODView:
    """A fitted detector of PyOD, read with scikit-learn's sign and labels.

    Parameters
    ----------
    detector : object
        Fitted; high scores and the label 1 mean abnormal.
    """

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Score rows, higher is more normal and negative an outlier.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n,)
            PyOD's threshold minus PyOD's score.
        """
        last = getattr(self.detector, "_final_estimator", self.detector)
        threshold = getattr(last, "threshold_", 0.0)
        return threshold - np.asarray(self.detector.decision_function(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Label rows.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n,)
            +1 where PyOD says 0, -1 where it says 1.
        """
        labels = np.asarray(self.detector.predict(X)).astype(int)
        if not set(np.unique(labels)) <= {0, 1}:
            raise ValueError(
                f"predict gave {sorted(set(labels.tolist()))}; expected PyOD's 0 and 1"
            )
        return 1 - 2 * labels


def _takes_images(detector: Any) -> bool:
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(detector).input_tags.three_d_array)
    except (AttributeError, TypeError, ValueError):  # not a scikit-learn estimator
        return False

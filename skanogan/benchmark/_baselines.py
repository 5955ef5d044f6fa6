"""Three simple detectors that every table should carry.

Nothing is learned here that a reader could not write down in one line; where a GAN does
not beat them, it has no reason to be used.
"""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["KNNDistance", "MeanDistance", "PCAReconstruction"]

_FALSE_ALARMS = 0.05
_N_FOLDS = 5


class _SimpleDetector(OutlierMixin, BaseEstimator):
    """What the three share: validation, the threshold, labels.

    A subclass says how to learn (`_learn`), how abnormal rows are (`_abnormality`), and
    how abnormal the training rows would be as new rows (`_as_new`).
    """

    def fit(self, X: ArrayLike, y: Any = None) -> "_SimpleDetector":
        """Learn from normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Normal rows.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : object
            The fitted detector.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        automatic = isinstance(self.contamination, str) and (
            self.contamination == "auto"
        )
        if not automatic and not (
            isinstance(self.contamination, Real)
            and 0 < float(self.contamination) <= 0.5
        ):
            raise ValueError(
                f"contamination is {self.contamination!r}; expected 'auto' or a float "
                "in (0, 0.5]"
            )
        self._learn(X)
        if automatic:
            self.offset_ = np.percentile(-self._as_new(X), 100 * _FALSE_ALARMS)
        else:
            self.offset_ = np.percentile(
                -self._abnormality(X), 100 * float(self.contamination)
            )
        return self

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Score rows, higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Minus the distance.
        """
        check_is_fitted(self)
        return -self._abnormality(validate_data(self, X, dtype=np.float64, reset=False))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score rows relative to the threshold, negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to label.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            +1 for normal rows, -1 for outliers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)


class KNNDistance(_SimpleDetector):
    """Mean distance to the nearest training rows.

    Parameters
    ----------
    n_neighbors : int, default=5
        How many neighbours.
    contamination : "auto" or float, default="auto"
        "auto" sets the threshold so that 5 % of the training rows would be flagged if
        each were scored by the others alone (leave-one-out). A float is the share of
        the training rows that is flagged, each counting itself as a neighbour.

    Attributes
    ----------
    offset_ : float
        The threshold on `score_samples`.
    """

    neighbors_: NearestNeighbors

    def __init__(
        self, n_neighbors: int = 5, *, contamination: str | float = "auto"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.contamination = contamination

    def _learn(self, X: np.ndarray) -> None:
        if not isinstance(self.n_neighbors, Integral) or self.n_neighbors < 1:
            raise ValueError(
                f"n_neighbors is {self.n_neighbors!r}; expected an integer from 1 up"
            )
        n_neighbors = min(int(self.n_neighbors), len(X) - 1)
        self.neighbors_ = NearestNeighbors(n_neighbors=n_neighbors).fit(X)

    def _abnormality(self, X: np.ndarray) -> np.ndarray:
        return self.neighbors_.kneighbors(X)[0].mean(axis=1)

    def _as_new(self, X: np.ndarray) -> np.ndarray:
        return self.neighbors_.kneighbors()[0].mean(axis=1)


class PCAReconstruction(_SimpleDetector):
    """Squared distance to the principal subspace of the training rows.

    Parameters
    ----------
    n_components : float or int, default=0.9
        As in `sklearn.decomposition.PCA`: the share of variance to keep, or how many
        components.
    contamination : "auto" or float, default="auto"
        "auto" sets the threshold so that 5 % of the training rows would be flagged if
        each were scored by a subspace fitted without it (every fifth row left out in
        turn). A float is the share of the training rows that is flagged.

    Attributes
    ----------
    offset_ : float
        The threshold on `score_samples`.
    """

    def __init__(
        self, n_components: float = 0.9, *, contamination: str | float = "auto"
    ) -> None:
        self.n_components = n_components
        self.contamination = contamination

    def _learn(self, X: np.ndarray) -> None:
        self.pca_ = self._fitted_pca(X)

    def _fitted_pca(self, X: np.ndarray) -> PCA:
        # 5,851 images of 784 pixels: 0.15 s through the covariance, 1.0 s without
        solver = "covariance_eigh" if len(X) > X.shape[1] else "full"
        return PCA(n_components=self.n_components, svd_solver=solver).fit(X)

    def _abnormality(self, X: np.ndarray) -> np.ndarray:
        return _squared_residual(self.pca_, X)

    def _as_new(self, X: np.ndarray) -> np.ndarray:
        if len(X) < 2 * _N_FOLDS:  # too few for subspaces without some of them
            return self._abnormality(X)
        fold = np.arange(len(X)) % _N_FOLDS
        distances = np.empty(len(X))
        for k in range(_N_FOLDS):
            left_out = fold == k
            pca = self._fitted_pca(X[~left_out])
            distances[left_out] = _squared_residual(pca, X[left_out])
        return distances


def _squared_residual(pca: PCA, X: np.ndarray) -> np.ndarray:
    return ((X - pca.inverse_transform(pca.transform(X))) ** 2).sum(axis=1)


class MeanDistance(_SimpleDetector):
    """Distance to the mean of the training rows.

    Parameters
    ----------
    p : float, default=1
        The norm: 1 sums absolute differences, 2 is Euclidean.
    contamination : "auto" or float, default="auto"
        "auto" sets the threshold so that 5 % of the training rows would be flagged if
        each were compared with the mean of the others. A float is the share of the
        training rows that is flagged.

    Attributes
    ----------
    offset_ : float
        The threshold on `score_samples`.
    """

    def __init__(self, p: float = 1, *, contamination: str | float = "auto") -> None:
        self.p = p
        self.contamination = contamination

    def _learn(self, X: np.ndarray) -> None:
        self.mean_ = X.mean(axis=0)

    def _abnormality(self, X: np.ndarray) -> np.ndarray:
        return np.linalg.norm(X - self.mean_, ord=self.p, axis=1)

    def _as_new(self, X: np.ndarray) -> np.ndarray:
        # x - mean(others) = (x - mean(all)) n / (n - 1)
        return self._abnormality(X) * len(X) / (len(X) - 1)

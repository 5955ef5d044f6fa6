"""Simple detectors without networks, to compare GANs with.

They take tables and images and have the interface of scikit-learn's outlier detectors.
`fit` also sets `offset_`, `image_shape_`, `n_features_in_` and `feature_names_in_`.
"""

import copy
from abc import abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted

from skanogan._data.ranges import warn_of_another_range
from skanogan._data.rows import Rows
from skanogan._data.validation import check_rows
from skanogan._runtime.compatibility import Interval, RealNotInt, StrOptions
from skanogan._runtime.compatibility import _fit_context as fit_context
from skanogan.detectors._one_fit import fitted_in_one_step
from skanogan.detectors._thresholds import (
    FEWEST_SCORES,
    ThresholdMixin,
    threshold,
    warn_of_few_rows,
)
from skanogan.nn._products import rows_alike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["KNNDistance", "MahalanobisDistance", "MeanDistance", "PCAReconstruction"]

_N_FOLDS = 5
_CONTAMINATION = [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")]


class _Baseline(ThresholdMixin, BaseEstimator):
    """The interface shared by the baselines."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]]
    image_shape: ClassVar[None] = None  # for `check_rows`: X says what is an image
    image_shape_: tuple[int, int, int] | None
    contamination: float | str

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> "Self":
        """Fit the detector to normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Normal rows or images in any numeric dtype. Images are flattened.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : object
            The fitted detector.
        """
        with fitted_in_one_step(self) as working:
            working._fit(check_rows(working, X, reset=True))
        return self

    def _fit(self, values: np.ndarray) -> None:
        rows = Rows(values, self.image_shape_, torch.device("cpu"), resident=False)
        self._scaling = rows.scaling()
        values = _in_float64(values)
        self._fit_rows(values)
        n = len(values)
        warn_of_few_rows(self.contamination, n, n, FEWEST_SCORES, "rows")
        if self.contamination == "auto":
            distances = self._distances_if_left_out(values)
        else:
            distances = self._distances(values)
        self.offset_ = threshold(-distances, self.contamination)

    def score_samples(self, X: Any) -> np.ndarray:
        """Score rows by minus their distance; higher is more normal."""
        check_is_fitted(self)
        values = check_rows(self, X, reset=False)
        warn_of_another_range(self, values, self._scaling)
        return -self._distances(_in_float64(values))

    @abstractmethod
    def _fit_rows(self, X: np.ndarray) -> None:
        """Set the fitted attributes from rows of shape (n, d)."""

    @abstractmethod
    def _distances(self, X: np.ndarray) -> np.ndarray:
        """Compute the distances of rows, (n, d) to (n,)."""

    def _distances_if_left_out(self, X: np.ndarray) -> np.ndarray:
        """Compute the distance of each training row from a fit without it."""
        if len(X) < 2 * _N_FOLDS:  # too few to leave some out
            return self._distances(X)
        fold = np.arange(len(X)) % _N_FOLDS
        distances = np.empty(len(X))
        for k in range(_N_FOLDS):
            other = copy.copy(self)
            other._fit_rows(X[fold != k])
            distances[fold == k] = other._distances(X[fold == k])
        return distances

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class KNNDistance(_Baseline):
    """Mean distance to the nearest training rows.

    The method is that of [1]_.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbours, at most all other training rows.
    contamination : "auto" or float, default="auto"
        Share of the training rows to flag, in (0, 0.5]. "auto" is 5 %, where no row is
        its own neighbour.

    Attributes
    ----------
    neighbors_ : sklearn.neighbors.NearestNeighbors
        The training rows.

    References
    ----------
    .. [1] F. Angiulli, C. Pizzuti, "Fast outlier detection in high dimensional spaces",
       PKDD 2002. :doi:`10.1007/3-540-45681-3_2`

    Examples
    --------
    >>> from skanogan.baselines import KNNDistance
    >>> X = [[0.0], [1.0], [2.0], [4.0]]
    >>> detector = KNNDistance(n_neighbors=1, contamination=0.1).fit(X)
    >>> detector.score_samples([[1.5], [9.0]])
    array([-0.5, -5. ])
    """

    _parameter_constraints: ClassVar = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "contamination": _CONTAMINATION,
    }

    def __init__(
        self, n_neighbors: int = 5, *, contamination: float | str = "auto"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.contamination = contamination

    def _fit_rows(self, X: np.ndarray) -> None:
        n_neighbors = min(int(self.n_neighbors), len(X) - 1)
        self.neighbors_ = NearestNeighbors(n_neighbors=n_neighbors).fit(X)
        self._rows = X

    def _distances(self, X: np.ndarray) -> np.ndarray:
        return self._mean_distances(X, X)

    def _distances_if_left_out(self, X: np.ndarray) -> np.ndarray:
        # Without an argument, no row is its own neighbour.
        return self._mean_distances(X, None)

    def _mean_distances(self, X: np.ndarray, queries: np.ndarray | None) -> np.ndarray:
        n_neighbors = self.neighbors_.n_neighbors
        # Distances by products round, and depend on the other rows. One candidate more,
        # so that rounding does not choose between two at the same distance.
        n_candidates = min(n_neighbors + 1, len(self._rows) - (queries is None))
        found = self.neighbors_.kneighbors(queries, n_candidates, False)
        distances = np.empty(found.shape)
        for k, at in enumerate(found.T):
            distances[:, k] = np.linalg.norm(X - self._rows[at], axis=1)
        return np.sort(distances, axis=1)[:, :n_neighbors].mean(axis=1)


class PCAReconstruction(_Baseline):
    """Squared distance to the principal subspace of the training rows.

    The method is that of [1]_.

    Parameters
    ----------
    n_components : float or int, default=0.9
        A float in (0, 1) is the share of the variance to keep, an int the number of
        components.
    contamination : "auto" or float, default="auto"
        Share of the training rows to flag, in (0, 0.5]. "auto" is 5 %, where each row
        is scored by a fit without it (five folds).

    Attributes
    ----------
    pca_ : sklearn.decomposition.PCA
        The subspace.

    References
    ----------
    .. [1] J. E. Jackson, G. S. Mudholkar, "Control procedures for residuals associated
       with principal component analysis", Technometrics 21, 1979.
       :doi:`10.1080/00401706.1979.10489779`

    Examples
    --------
    >>> from skanogan.baselines import PCAReconstruction
    >>> diagonal = [[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]]
    >>> detector = PCAReconstruction(n_components=1, contamination=0.1).fit(diagonal)
    >>> detector.score_samples([[7.0, 7.0], [1.0, 3.0]]).round(6) + 0.0
    array([ 0., -2.])
    """

    _parameter_constraints: ClassVar = {
        "n_components": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "contamination": _CONTAMINATION,
    }

    def __init__(
        self, n_components: float = 0.9, *, contamination: float | str = "auto"
    ) -> None:
        self.n_components = n_components
        self.contamination = contamination

    def _fit_rows(self, X: np.ndarray) -> None:
        self.pca_ = _fit_pca(X, self.n_components)

    def _distances(self, X: np.ndarray) -> np.ndarray:
        mean, components = self.pca_.mean_, self.pca_.components_
        rebuilt = _product(_product(X - mean, components.T), components) + mean
        return np.square(X - rebuilt).sum(axis=1)


class MahalanobisDistance(_Baseline):
    """Distance to the mean under the covariance of the training rows.

    The method is that of [1]_.

    Parameters
    ----------
    shrinkage : float or "auto", default="auto"
        Share of the mean variance that is added to every direction. "auto" is 0.001
        for tables and 0.1 for images, as in the GAN detectors.
    contamination : "auto" or float, default="auto"
        Share of the training rows to flag, in (0, 0.5]. "auto" is 5 %, where each row
        is scored by a fit without it (five folds).

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows.
    components_ : ndarray of shape (min(n_samples, n_features), n_features)
        Eigenvectors of the covariance.
    variances_ : ndarray of shape (min(n_samples, n_features),)
        Variances along them, with the added variance.

    References
    ----------
    .. [1] P. C. Mahalanobis, "On the generalised distance in statistics", Proceedings
       of the National Institute of Sciences of India 2, 1936.

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan.baselines import MahalanobisDistance
    >>> X = np.random.RandomState(0).normal(size=(500, 2)) * [1, 10]
    >>> MahalanobisDistance().fit(X).predict([[0, 20], [9, 0]])
    array([ 1, -1])
    """

    _parameter_constraints: ClassVar = {
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "contamination": _CONTAMINATION,
    }

    def __init__(
        self, shrinkage: float | str = "auto", *, contamination: float | str = "auto"
    ) -> None:
        self.shrinkage = shrinkage
        self.contamination = contamination

    def _fit_rows(self, X: np.ndarray) -> None:
        share = self.shrinkage
        if share == "auto":
            share = 0.001 if self.image_shape_ is None else 0.1
        pca = _fit_pca(X, None)
        variances = pca.explained_variance_.clip(min=0)
        # If all rows are equal, the distance is the Euclidean one.
        self._added_variance = float(share) * variances.sum() / X.shape[1] or 1.0
        self.mean_, self.components_ = pca.mean_, pca.components_
        self.variances_ = variances + self._added_variance

    def _distances(self, X: np.ndarray) -> np.ndarray:
        differences = X - self.mean_
        inside = _product(differences, self.components_.T)
        squared = (np.square(inside) / self.variances_).sum(axis=1)
        if len(self.components_) < X.shape[1]:
            outside = differences - _product(inside, self.components_)
            squared += np.square(outside).sum(axis=1) / self._added_variance
        return np.sqrt(squared)


class MeanDistance(_Baseline):
    """Distance to the mean of the training rows.

    Parameters
    ----------
    p : float, default=1
        Order of the norm: 1 sums absolute differences, 2 is Euclidean.
    contamination : "auto" or float, default="auto"
        Share of the training rows to flag, in (0, 0.5]. "auto" is 5 %, where each row
        is compared with the mean of the others.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of the training rows.

    Examples
    --------
    >>> from skanogan.baselines import MeanDistance
    >>> detector = MeanDistance(contamination=0.1).fit([[0.0, 0.0], [2.0, 2.0]])
    >>> detector.score_samples([[1.0, 2.0], [4.0, 1.0]])
    array([-1., -3.])
    """

    _parameter_constraints: ClassVar = {
        "p": [Interval(Real, 0, None, closed="right")],
        "contamination": _CONTAMINATION,
    }

    def __init__(self, p: float = 1, *, contamination: float | str = "auto") -> None:
        self.p = p
        self.contamination = contamination

    def _fit_rows(self, X: np.ndarray) -> None:
        self.mean_ = X.mean(axis=0)

    def _distances(self, X: np.ndarray) -> np.ndarray:
        return np.linalg.norm(X - self.mean_, ord=self.p, axis=1)

    def _distances_if_left_out(self, X: np.ndarray) -> np.ndarray:
        # x - mean(others) = (x - mean(all)) n / (n - 1)
        return self._distances(X) * len(X) / (len(X) - 1)


def _in_float64(values: np.ndarray) -> np.ndarray:
    # The order in memory is the order of the sums, and so decides rounding.
    return values.astype(np.float64, order="C")


def _product(X: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply rows (n, d) by a matrix (d, m), each as if it were alone."""
    # A copy, because torch warns of arrays that cannot be written to.
    matrix = np.array(matrix, order="C")
    with rows_alike(torch.device("cpu")):
        return np.asarray(torch.matmul(torch.from_numpy(X), torch.from_numpy(matrix)))


def _fit_pca(X: np.ndarray, n_components: float | None) -> PCA:
    # 5,851 images of 784 pixels: 0.15 s through the covariance, 1.0 s without it.
    solver = "covariance_eigh" if len(X) > X.shape[1] else "full"
    with np.errstate(invalid="ignore"):  # shares of variance if all rows are equal
        return PCA(n_components=n_components, svd_solver=solver).fit(X)

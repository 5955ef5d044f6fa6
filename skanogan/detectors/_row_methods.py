"""What a fitted detector makes of each row: scores, reconstructions, maps, codes."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skanogan._data.array_api import check_library, is_foreign, like
from skanogan._data.ranges import warn_of_another_range
from skanogan._data.rows import Rows
from skanogan._data.validation import check_rows, flatten_images
from skanogan._runtime.threads import at_most_threads, at_work, threads_to_score
from skanogan.detectors._chunks import in_chunks, to_numpy
from skanogan.detectors._one_fit import of_one_fit
from skanogan.models import Ensemble

__all__ = ["RowMethodsMixin"]

MAPS = {"residual": "residual_map", "features": "feature_map"}
"""The kinds of `anomaly_map`, and the methods of a model that compute them."""


class RowMethodsMixin:
    """Methods that apply the fitted model to each row, in bounded memory."""

    model_: Ensemble
    device_: torch.device
    image_shape_: tuple[int, int, int] | None
    n_features_in_: int
    scoring_dtype: str
    _sample_shape: tuple[int, ...]

    @of_one_fit
    def score_samples(self, X: Any) -> np.ndarray:
        """Score rows: the anomaly score of the method with its sign changed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, H, W) or \
                (n_samples, H, W, C)
            Rows of the shape seen in `fit`, as images or flat.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is more normal. Each score depends on its row alone.
        """
        check_library(self, X, "score_samples")
        return like(X, self._scores(self._check_fitted_rows(X)))

    @of_one_fit
    def reconstruct(self, X: Any) -> np.ndarray:
        """Find the closest normal row that the model can generate.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.

        Returns
        -------
        reconstructions : ndarray of the shape of X, float64
            In the units of X.
        """
        rows = self._in_chunks("reconstruct", self._check_fitted_rows(X))
        return like(X, rows.reshape(len(rows), *(flatten_images(X)[1] or (-1,))))

    @of_one_fit
    def anomaly_map(
        self, X: Any, *, kind: str = "residual", smoothing: float = 0.0
    ) -> np.ndarray:
        """Map where each row differs from the closest normal row.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.
        kind : {"residual", "features"}, default="residual"
            "residual" is the absolute difference from `reconstruct(X)`. "features"
            compares hidden activations. In the convolutional networks of this package,
            it is the squared length of the difference at each position, divided by that
            of normal rows, the mean over all blocks. In other networks, it is the
            contribution of each entry to the whitened distance: the absolute difference
            times the mean gradient on the path between the two rows.
        smoothing : float, default=0.0
            Standard deviation, in pixels, of a Gaussian filter on the map of an image.

        Returns
        -------
        maps : ndarray of shape (n_samples, n_features) or (n_samples, H, W), float64
            Non-negative. Residuals of tables are in standard deviations of the column.
            Residuals of images are in halves of the training range of the pixels, the
            mean over channels. "features" has no unit. With the networks of this
            package its mean over normal rows is about 1 (.7 to 1).
        """
        if kind not in MAPS:
            raise ValueError(f"kind={kind!r} is not one of {sorted(MAPS)}.")
        check_is_fitted(self)
        if not isinstance(smoothing, Real) or not 0 <= smoothing < math.inf:
            raise ValueError(
                f"smoothing={smoothing!r} is not a standard deviation in pixels of 0 "
                "or more."
            )
        if smoothing and self.image_shape_ is None:
            raise ValueError(
                f"smoothing={smoothing!r} was given for a table, whose columns have no "
                "neighbours. Use smoothing=0, or image_shape if the rows are images."
            )
        maps = self._in_chunks(MAPS[kind], self._check_fitted_rows(X))
        if self.image_shape_ is None:
            return like(X, maps)
        height, width, _ = self.image_shape_
        maps = maps.reshape(len(maps), height, width, -1).mean(-1)
        if smoothing:
            maps = gaussian_filter(maps, (0, smoothing, smoothing))
        return like(X, maps)

    @of_one_fit
    def embed(self, X: Any) -> np.ndarray:
        """Compute the features or codes that the method compares rows by.

        Parameters
        ----------
        X : array-like
            As in `score_samples`.

        Returns
        -------
        embedding : ndarray of shape (n_samples, d), float64
            The features of the discriminator for AnoGAN and f-AnoGAN, the latent code
            for OCGAN.
        """
        return like(X, self._in_chunks("embed", self._check_fitted_rows(X)))

    @of_one_fit
    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Generate new normal rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            An int gives the same rows at each call.

        Returns
        -------
        rows : ndarray of shape (n_samples, ...), float64
            In the units and, for images, the shape of the X passed to `fit`.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples={n_samples!r} is not a positive integer.")
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        n = int(n_samples)
        n_threads = threads_to_score(self._row_shape(), self.model_.n_weights, n)
        with at_work(), torch.no_grad(), at_most_threads(n_threads):
            rng = torch.Generator().manual_seed(int(seed))
            rows = to_numpy(self.model_.sample(n, rng))
        return rows.reshape(len(rows), *self._sample_shape)

    def _check_fitted_rows(self, X: Any) -> Any:
        check_is_fitted(self)
        values = check_rows(self, X, reset=False, keep_tensors=is_foreign(X))
        warn_of_another_range(self, values, self.model_.scaling)
        return values

    def _row_shape(self) -> tuple[int, ...]:
        """(d,) or (H, W, C)."""
        return self.image_shape_ or (self.n_features_in_,)

    def _scores(
        self, values: np.ndarray, indices: np.ndarray | None = None
    ) -> np.ndarray:
        """`score_samples` without validation, for all rows or those at `indices`."""
        scores = -self._in_chunks("score", values, indices)
        if n_bad := int((~np.isfinite(scores)).sum()):
            raise FloatingPointError(
                f"{n_bad} of {len(scores)} scores are not finite, because the values "
                "of these rows are too large for the networks. Scale X, for instance "
                "with sklearn.preprocessing.RobustScaler."
            )
        return scores

    def _in_chunks(
        self, method: str, values: np.ndarray, indices: np.ndarray | None = None
    ) -> np.ndarray:
        """Apply a row-wise method of the model to validated rows, chunk by chunk."""
        rows = Rows(values, self.image_shape_, self.device_, indices, resident=False)
        return in_chunks(getattr(self.model_, method), self.model_, rows)

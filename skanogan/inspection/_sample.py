"""SampleDisplay: rows that a detector draws, beside real ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from skanogan._compat import _num_samples, _safe_indexing
from skanogan.inspection._drawing import (
    as_picture,
    check_matplotlib,
    own_figure,
    pixel_range,
)
from skanogan.inspection._rows import (
    all_names,
    as_rows,
    check_count,
    check_methods,
    column_names,
)
from skanogan.inspection._sample_panels import draw_histograms, in_a_grid

__all__ = ["SampleDisplay"]

MOST_IMAGES = 100
"""In one grid."""

TABLE_ROWS = 1000
"""Drawn from a detector of tables by default: enough for histograms."""


class SampleDisplay:
    """What a detector holds for normal: rows that it draws, beside real ones.

    Images: a grid of drawn ones, and a grid of real ones if there are any. Tables: a
    histogram of each feature over all drawn rows, as an outline, on that of the real
    rows. Of more features than `max_features` those are shown whose two distributions
    differ most (Kolmogorov and Smirnov's distance), or the first ones if there are no
    real rows.

    `from_estimator` and `from_predictions` make one. All parameters are attributes.

    Parameters
    ----------
    samples : list of ndarray of shape (H, W), (H, W, C) or (d,)
        Drawn rows: of images, those that are shown.
    real : list of ndarray of the shapes of `samples`, default=None
        Real rows.
    n_samples : int, default=None
        Images that the `samples` are the first of; None if there are no others.
    feature_names : list of str, default=None
        Of tables; None is x0, x1, and so on.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
    axes_ : ndarray of matplotlib Axes
        (1,) or (2,) for images, the drawn ones first; one for each feature of tables.
    images_ : list of matplotlib AxesImage
        Only for images: the grids.
    bars_ : list of matplotlib StepPatch
        Only for tables: the histograms of the drawn rows.
    title_ : matplotlib Text
        Only for tables.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skanogan import AnoGANDetector
    >>> from skanogan.inspection import SampleDisplay
    >>> digits = load_digits()
    >>> zeros = digits.images[digits.target == 0]
    >>> detector = AnoGANDetector(max_iter=50, random_state=0).fit(zeros)
    >>> display = SampleDisplay.from_estimator(detector, n_samples=9, random_state=0)
    >>> len(display.samples), display.samples[0].shape
    (9, (8, 8))
    """

    def __init__(
        self,
        *,
        samples: Sequence[np.ndarray],
        real: Sequence[np.ndarray] | None = None,
        n_samples: int | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.samples = samples
        self.real = real
        self.n_samples = n_samples
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        X: Any = None,
        *,
        n_samples: int | None = None,
        random_state: Any = None,
        max_features: int = 12,
        figure: Any = None,
    ) -> "SampleDisplay":
        """Draw rows from a detector and show them.

        Parameters
        ----------
        detector : object
            Fitted, with `sample`.
        X : array-like of shape (n, ...), default=None
            Real rows to compare with; of images the first ones are shown.
        n_samples : int, default=None
            Rows to draw. None is 25 images, or 1,000 rows of a table.
        random_state : int, RandomState instance or None, default=None
            Given an int, the same rows each time.
        max_features : int, default=12
            Of a table.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw; None makes a new one.

        Returns
        -------
        display : SampleDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If the detector has no `sample`.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_methods(cls.__name__, detector, ["sample"])
        image_shape = getattr(detector, "image_shape_", None)
        if n_samples is None:
            n_samples = TABLE_ROWS if image_shape is None else 25
        check_count("n_samples", n_samples)
        return cls.from_predictions(
            detector.sample(n_samples, random_state=random_state),
            X,
            image_shape=image_shape,
            feature_names=column_names(X, detector),
            max_features=max_features,
            figure=figure,
        )

    @classmethod
    def from_predictions(
        cls,
        samples: Any,
        X: Any = None,
        *,
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        max_features: int = 12,
        figure: Any = None,
    ) -> "SampleDisplay":
        """Show rows that were drawn already.

        Parameters
        ----------
        samples : array-like of shape (n, d), (n, H, W) or (n, H, W, C)
            Drawn rows; of images, at most the first 100 are shown.
        X : array-like of shape (m, ...), default=None
            Real rows to compare with; of images, as many as of the samples are shown.
        image_shape : tuple of int, default=None
            (H, W) or (H, W, C) if the rows are flattened images.
        feature_names : list of str, default=None
            Of tables; None takes the names of the columns, if they have any.
        max_features : int, default=12
            Of a table.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw; None makes a new one.

        Returns
        -------
        display : SampleDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If the rows of X have another shape than the samples.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        if feature_names is None:
            feature_names = column_names(samples) or column_names(X)
        n = _num_samples(samples)
        (first,) = as_rows(_safe_indexing(samples, [0]), image_shape)
        shown = n if first.ndim == 1 else min(n, MOST_IMAGES)
        drawn = as_rows(_safe_indexing(samples, np.arange(shown)), image_shape)
        real = None
        if X is not None:
            m = _num_samples(X)
            m = m if first.ndim == 1 else min(m, shown)
            real = as_rows(_safe_indexing(X, np.arange(m)), image_shape)
            if real[0].shape != first.shape:
                raise ValueError(
                    f"X holds rows of shape {real[0].shape}, and the samples have "
                    f"{first.shape}: the same shape was expected."
                )
        return cls(
            samples=drawn,
            real=real,
            n_samples=n if shown < n else None,
            feature_names=feature_names,
        ).plot(max_features=max_features, figure=figure)

    def plot(self, *, max_features: int = 12, figure: Any = None) -> "SampleDisplay":
        """Draw it.

        Parameters
        ----------
        max_features : int, default=12
            Of a table.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw; None makes a new one.

        Returns
        -------
        display : SampleDisplay
            Itself, with what was drawn in its attributes.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        check_count("max_features", max_features)
        if self.samples[0].ndim == 1:
            self._plot_features(max_features, figure)
        else:
            self._plot_images(figure)
        return self

    def _plot_images(self, figure: Any) -> None:
        n = len(self.samples)
        few = "" if self.n_samples is None else f" of {self.n_samples:,}"
        grids = [(f"{n}{few} drawn rows", self.samples)]
        if self.real is not None:
            grids.append((f"{len(self.real)} real rows", self.real))
        low, high = pixel_range([image for _, images in grids for image in images])
        self.figure_ = own_figure(figure, (4.6 * len(grids), 4.4))
        self.axes_ = self.figure_.subplots(1, len(grids), squeeze=False)[0]
        self.images_ = []
        for ax, (title, images) in zip(self.axes_, grids, strict=True):
            pictures = [as_picture(image, low, high) for image in images]
            grid = in_a_grid(pictures)
            self.images_.append(ax.imshow(grid, cmap="gray", vmin=0, vmax=1))
            ax.set(title=title)
            ax.set_axis_off()

    def _plot_features(self, max_features: int, figure: Any) -> None:
        drawn = np.stack(self.samples).astype(float)
        real = None if self.real is None else np.stack(self.real).astype(float)
        n_features = drawn.shape[1]
        names = all_names(self.feature_names, n_features)
        shown = np.arange(min(n_features, max_features))
        if real is not None and n_features > max_features:
            distances = [
                ks_2samp(drawn[:, j], real[:, j]).statistic for j in range(n_features)
            ]
            shown = np.argsort(distances)[::-1][:max_features]
        n_columns = min(len(shown), 4)
        n_rows = -(-len(shown) // n_columns)
        self.figure_ = own_figure(figure, (0.5 + 2 * n_columns, 0.9 + 1.5 * n_rows))
        axes = self.figure_.subplots(n_rows, n_columns, squeeze=False).ravel()
        for ax in axes[len(shown) :]:
            ax.remove()
        self.axes_ = axes[: len(shown)]
        self.bars_ = []
        for ax, j in zip(self.axes_, shown, strict=True):
            own = None if real is None else real[:, j]
            self.bars_.append(draw_histograms(ax, drawn[:, j], own))
            ax.set_title(names[j], fontsize="medium")
            ax.set_yticks([])
        title = f"line: {len(drawn):,} drawn rows"
        if real is not None:
            title += f"; grey: {len(real):,} real rows"
        if len(shown) < n_features:
            which = "first" if real is None else "least alike"
            title += f"; the {len(shown)} {which} of {n_features} features"
        self.title_ = self.figure_.suptitle(title)

"""SampleDisplay: generated rows beside real rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from skanogan._runtime.compatibility import _num_samples, _safe_indexing
from skanogan.inspection._drawing import (
    NORMAL_COLOUR,
    as_picture,
    check_matplotlib,
    own_figure,
    pixel_range,
)
from skanogan.inspection._rows import (
    all_names,
    as_rows,
    check_count,
    column_names,
    inner_detector,
)

__all__ = ["SampleDisplay"]

MOST_IMAGES = 100
"""The largest number of images in one grid."""

TABLE_ROWS = 1000
"""The number of rows of a table to generate by default, for histograms."""

MOST_BINS = 30


@dataclass(kw_only=True, eq=False, repr=False)
class SampleDisplay:
    """Compare rows that a detector generates with real rows.

    Images: a grid of generated images, and a grid of real images if there are any.
    Tables: a histogram of each feature, the generated rows as an outline over the real
    rows. Of more than `max_features` features, those are shown whose distributions
    differ most (Kolmogorov-Smirnov distance), or the first ones without real rows.

    `from_estimator` and `from_predictions` create a display. Parameters are attributes.

    Parameters
    ----------
    samples : list of ndarray of shape (H, W), (H, W, C) or (d,)
        Generated rows to show.
    real : list of ndarray of the shapes of `samples`, default=None
        Real rows.
    n_samples : int, default=None
        The number of generated images, if `samples` are only the first of them.
    feature_names : list of str, default=None
        Names of the columns of a table. None names them x0, x1, and so on.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
    axes_ : ndarray of matplotlib Axes
        (1,) or (2,) for images, generated ones first; one per feature for tables.
    images_ : list of matplotlib AxesImage
        The grids. Images only.
    bars_ : list of matplotlib StepPatch
        The histograms of the generated rows. Tables only.
    title_ : matplotlib Text
        Tables only.

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

    samples: Sequence[np.ndarray]
    real: Sequence[np.ndarray] | None = None
    n_samples: int | None = None
    feature_names: Sequence[str] | None = None

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
        """Generate rows with a detector and show them.

        Parameters
        ----------
        detector : object
            A fitted detector with `sample`, or a pipeline or search that ends in one.
            Rows are shown as the detector takes them.
        X : array-like of shape (n, ...), default=None
            As in `from_predictions`.
        n_samples : int, default=None
            Number of rows to generate. None is 25 images, or 1,000 rows of a table.
        random_state : int, RandomState instance or None, default=None
            An int gives the same rows at each call.
        max_features : int, default=12
            The largest number of features of a table to show.
        figure : matplotlib Figure or SubFigure, default=None
            The figure to draw in. None creates one.

        Returns
        -------
        display : SampleDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        detector, X, names = inner_detector(cls.__name__, detector, ["sample"], X)
        image_shape = getattr(detector, "image_shape_", None)
        if n_samples is None:
            n_samples = TABLE_ROWS if image_shape is None else 25
        check_count("n_samples", n_samples)
        return cls.from_predictions(
            detector.sample(n_samples, random_state=random_state),
            X,
            image_shape=image_shape,
            feature_names=names,
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
        """Show rows that were generated before.

        Parameters
        ----------
        samples : array-like of shape (n, d), (n, H, W) or (n, H, W, C)
            Generated rows. At most the first 100 images are shown.
        X : array-like of shape (m, ...), default=None
            Real rows, at most as many images as generated ones.
        image_shape : tuple of int, default=None
            (H, W) or (H, W, C) if the rows are flattened images.
        feature_names : list of str, default=None
            Names of the columns of a table. None uses those of `samples` or X, if any.
        max_features : int, default=12
            As in `from_estimator`.
        figure : matplotlib Figure or SubFigure, default=None
            As in `from_estimator`.

        Returns
        -------
        display : SampleDisplay
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
            m = _num_samples(X) if first.ndim == 1 else min(_num_samples(X), shown)
            real = as_rows(_safe_indexing(X, np.arange(m)), image_shape)
            if real[0].shape != first.shape:
                raise ValueError(
                    f"X holds rows of shape {real[0].shape}, but the samples have "
                    f"{first.shape}. Pass rows of the same shape."
                )
        return cls(
            samples=drawn,
            real=real,
            n_samples=n if shown < n else None,
            feature_names=feature_names,
        ).plot(max_features=max_features, figure=figure)

    def plot(self, *, max_features: int = 12, figure: Any = None) -> "SampleDisplay":
        """Draw the display.

        Parameters
        ----------
        max_features : int, default=12
            As in `from_estimator`.
        figure : matplotlib Figure or SubFigure, default=None
            As in `from_estimator`.

        Returns
        -------
        display : SampleDisplay
            This display.
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
        grids = [(f"{n}{few} generated rows", self.samples)]
        if self.real is not None:
            grids.append((f"{len(self.real)} real rows", self.real))
        low, high = pixel_range([image for _, images in grids for image in images])
        self.figure_ = own_figure(figure, (4.6 * len(grids), 4.4))
        self.axes_ = self.figure_.subplots(1, len(grids), squeeze=False)[0]
        self.images_ = []
        for ax, (title, images) in zip(self.axes_, grids, strict=True):
            grid = _in_a_grid([as_picture(image, low, high) for image in images])
            self.images_.append(ax.imshow(grid, cmap="gray", vmin=0, vmax=1))
            ax.set_title(title)
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
            self.bars_.append(_draw_histograms(ax, drawn[:, j], own))
            ax.set_title(names[j], fontsize="medium")
            ax.set_yticks([])
        title = f"line: {len(drawn):,} generated rows"
        if real is not None:
            title += f"; grey: {len(real):,} real rows"
        if len(shown) < n_features:
            which = "first" if real is None else "most different"
            title += f"; the {len(shown)} {which} of {n_features} features"
        self.title_ = self.figure_.suptitle(title)


def _in_a_grid(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Arrange pictures, (H, W) or (H, W, 3), in a square grid with white lines."""
    height, width = pictures[0].shape[:2]
    n_columns = int(np.ceil(np.sqrt(len(pictures))))
    n_rows = -(-len(pictures) // n_columns)
    gap = max(1, round(0.04 * max(height, width)))
    down, across = height + gap, width + gap
    size = (n_rows * down - gap, n_columns * across - gap)
    grid = np.ones((*size, *pictures[0].shape[2:]))
    for k, picture in enumerate(pictures):
        top, left = k // n_columns * down, k % n_columns * across
        grid[top : top + height, left : left + width] = picture
    return grid


def _draw_histograms(ax: Any, drawn: np.ndarray, real: np.ndarray | None) -> Any:
    """Draw a histogram of generated values as an outline over that of real values."""
    both = drawn if real is None else np.concatenate([drawn, real])
    low, high = np.quantile(both, (0.005, 0.995))
    if low == high:
        low, high = both.min(), both.max()
    edges = np.histogram_bin_edges(np.clip(both, low, high), "auto")
    if len(edges) > MOST_BINS + 1:
        edges = np.linspace(low, high, MOST_BINS + 1)

    def shares(values: np.ndarray) -> np.ndarray:
        # The first and the last bar also count the values beyond the edges.
        return np.histogram(np.clip(values, low, high), edges)[0] / len(values)

    if real is not None:
        ax.stairs(shares(real), edges, fill=True, color="0.75")
    return ax.stairs(shares(drawn), edges, color=NORMAL_COLOUR, linewidth=1.8)

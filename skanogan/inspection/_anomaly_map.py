"""AnomalyMapDisplay: query, closest normal row, map and overlay of each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skanogan._runtime.compatibility import _num_samples, _safe_indexing
from skanogan.inspection._drawing import check_matplotlib
from skanogan.inspection._map_panels import (
    draw_bars,
    draw_images,
    heading,
    normal_scale,
    row_labels,
)
from skanogan.inspection._rows import (
    as_rows_or_paths,
    check_count,
    check_positive,
    chosen_positions,
    column_names,
    finite_scores,
    inner_detector,
    matched_rows,
    scores_and_threshold,
)

__all__ = ["AnomalyMapDisplay"]

MOST_ROWS = 40
"""The largest number of rows in one figure, which is then 60 inches high."""

N_REFERENCES = 10
"""Normal images whose maps set the scale. A map of a large photograph takes seconds."""


@dataclass(kw_only=True, eq=False, repr=False)
class AnomalyMapDisplay:
    """Show where rows differ from the closest normal row, as in the AnoGAN paper.

    Images: each row of the figure shows query, closest normal row, map and overlay. All
    maps share one scale, and all pixels share one range of grey. Normal images reach
    about half of the scale, so that a figure without anomalies stays dark. Tables: bars
    show the largest residuals, on one scale for all rows, with the query and the
    closest normal value.

    `from_estimator` and `from_predictions` create a display. Parameters are attributes.

    Parameters
    ----------
    queries : list of ndarray of shape (H, W), (H, W, C) or (d,)
        The n rows to draw.
    maps : list of ndarray of shape (H, W) or (d,)
        Their anomaly maps, non-negative.
    scores : ndarray of shape (n,)
        Lower is more abnormal.
    reconstructions : list of ndarray of the shapes of `queries`, default=None
        The closest normal rows. Without them, their column is left out.
    threshold : float, default=None
        Scores below it are anomalies.
    indices : ndarray of int of shape (n,), default=None
        Positions of the rows in X; None counts from 0.
    n_samples : int, default=None
        The number of rows of X, if `queries` are the most abnormal of them.
    feature_names : list of str, default=None
        Names of the columns of a table. None names them x0, x1, and so on.
    vmax : float, default=None
        Upper end of the scale of the maps. Higher values have the colour of the end.
        None is the largest value of `maps`.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
    axes_ : ndarray of matplotlib Axes
        (n, 4) for images, (n, 3) without reconstructions, (n, 1) for tables.
    images_ : ndarray of matplotlib AxesImage of the shape of `axes_`
        Images only. An overlay is represented by its map.
    colorbar_ : matplotlib Colorbar
        Images only.
    bars_ : list of matplotlib BarContainer
        Tables only.
    title_ : matplotlib Text

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skanogan import AnoGANDetector
    >>> from skanogan.inspection import AnomalyMapDisplay
    >>> digits = load_digits()
    >>> zeros = digits.images[digits.target == 0]
    >>> detector = AnoGANDetector(max_iter=50, random_state=0).fit(zeros)
    >>> display = AnomalyMapDisplay.from_estimator(detector, digits.images, max_rows=3)
    >>> display.axes_.shape
    (3, 4)
    """

    queries: Sequence[np.ndarray]
    maps: Sequence[np.ndarray]
    scores: np.ndarray
    reconstructions: Sequence[np.ndarray] | None = None
    threshold: float | None = None
    indices: np.ndarray | None = None
    n_samples: int | None = None
    feature_names: Sequence[str] | None = None
    vmax: float | None = None

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        X: Any,
        *,
        max_rows: int = 5,
        indices: Any = None,
        max_features: int = 10,
        vmax: float | None = None,
        figure: Any = None,
    ) -> "AnomalyMapDisplay":
        """Draw the most abnormal rows, or chosen rows, of a detector.

        Parameters
        ----------
        detector : object
            A fitted detector with `anomaly_map`, `score_samples` or
            `decision_function`, and possibly `reconstruct`, or a pipeline or search
            that ends in one. For a `PatchDetector` whose `fit` got an array or list of
            masks, use `from_predictions`.
        X : array-like of shape (n_samples, ...), list of images or paths, or path
            Rows as the detector accepts them, or a folder of images for a
            `PatchDetector`. Only those drawn are reconstructed.
        max_rows : int, default=5
            Number of rows to draw, at most 40. The lowest score is drawn first.
        indices : array-like of int or bool, default=None
            Rows to draw instead, at most 40, in this order.
        max_features : int, default=10
            Number of bars per row of a table.
        vmax : float, default=None
            Upper end of the scale of the maps. None is, for images, twice the median
            peak of the maps of up to ten images of X that the detector calls normal,
            so that a usual normal image reaches half of the scale. If there are none,
            and for tables, it is the largest value of the drawn maps.
        figure : matplotlib Figure or SubFigure, default=None
            The figure to draw in. None creates one.

        Returns
        -------
        display : AnomalyMapDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_count("max_rows", max_rows, MOST_ROWS)
        check_count("max_features", max_features)
        detector, X, names = inner_detector(cls.__name__, detector, ["anomaly_map"], X)
        check_positive("vmax", vmax)
        X = as_rows_or_paths(X, detector)
        if indices is None:
            all_scores, threshold = scores_and_threshold(detector, X)
            at = np.argsort(all_scores, kind="stable")[:max_rows]
            rows, scores = _safe_indexing(X, at), all_scores[at]
        else:
            all_scores = None
            at = chosen_positions(X, indices, MOST_ROWS)
            rows = _safe_indexing(X, at)
            scores, threshold = scores_and_threshold(detector, rows)
        normal = None
        has_maps = hasattr(detector, "anomaly_maps")
        if hasattr(detector, "reconstruct") and not has_maps:
            normal = detector.reconstruct(rows)
        maps = _maps(detector, rows)
        image_shape = getattr(detector, "image_shape_", None)
        drawn = matched_rows(rows, normal, maps, image_shape)
        if vmax is None and threshold is not None and drawn["queries"][0].ndim > 1:
            vmax = normal_scale(_normal_maps(detector, X, all_scores, threshold))
        return cls(
            **drawn,
            scores=scores,
            threshold=threshold,
            indices=at,
            n_samples=_num_samples(X) if indices is None else None,
            feature_names=names,
            vmax=vmax,
        ).plot(max_features=max_features, figure=figure)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        reconstructions: Any,
        maps: Any,
        scores: Any,
        *,
        threshold: float | None = None,
        max_rows: int = 5,
        indices: Any = None,
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        max_features: int = 10,
        vmax: float | None = None,
        figure: Any = None,
    ) -> "AnomalyMapDisplay":
        """Draw the most abnormal rows, or chosen rows, from computed results.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), list of images or paths, or path
            Rows of a table, images, or a folder of images. Those of a list and of a
            folder may differ in size.
        reconstructions : array-like of the shape of X, or None
            The closest normal rows. None leaves their column out.
        maps : array-like of shape (n_samples, d) or (n_samples, H, W), or list
            Anomaly maps, non-negative.
        scores : array-like of shape (n_samples,)
            `score_samples` or `decision_function`: lower is more abnormal.
        threshold : float, default=None
            Scores below it are anomalies.
        max_rows : int, default=5
            As in `from_estimator`.
        indices : array-like of int or bool, default=None
            As in `from_estimator`.
        image_shape : tuple of int, default=None
            (H, W) or (H, W, C) if the rows of X are flattened images.
        feature_names : list of str, default=None
            Names of the columns of a table. None uses those of X, if it has any.
        max_features : int, default=10
            As in `from_estimator`.
        vmax : float, default=None
            As in `from_estimator`. Normal images are known if `threshold` is given.
        figure : matplotlib Figure or SubFigure, default=None
            As in `from_estimator`.

        Returns
        -------
        display : AnomalyMapDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        check_count("max_rows", max_rows, MOST_ROWS)
        check_count("max_features", max_features)
        check_positive("vmax", vmax)
        X = as_rows_or_paths(X)
        scores = finite_scores(scores)
        check_consistent_length(X, reconstructions, maps, scores)
        if indices is None:
            at = np.argsort(scores, kind="stable")[:max_rows]
        else:
            at = chosen_positions(X, indices, MOST_ROWS)
        if reconstructions is not None:
            reconstructions = _safe_indexing(reconstructions, at)
        drawn = matched_rows(
            _safe_indexing(X, at),
            reconstructions,
            _safe_indexing(maps, at),
            image_shape,
        )
        if vmax is None and threshold is not None and drawn["queries"][0].ndim > 1:
            references = _spread(np.flatnonzero(scores >= threshold))
            vmax = normal_scale(map(np.asarray, _safe_indexing(maps, references)))
        return cls(
            **drawn,
            scores=scores[at],
            threshold=threshold,
            indices=at,
            n_samples=len(scores) if indices is None else None,
            feature_names=column_names(X) if feature_names is None else feature_names,
            vmax=vmax,
        ).plot(max_features=max_features, figure=figure)

    def plot(
        self, *, max_features: int = 10, figure: Any = None
    ) -> "AnomalyMapDisplay":
        """Draw the display.

        Parameters
        ----------
        max_features : int, default=10
            As in `from_estimator`.
        figure : matplotlib Figure or SubFigure, default=None
            As in `from_estimator`.

        Returns
        -------
        display : AnomalyMapDisplay
            This display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        check_count("max_features", max_features)
        drawn = (self.queries, self.reconstructions, self.maps)
        labels = row_labels(self.scores, self.threshold, self.indices)
        if self.queries[0].ndim == 1:
            self.figure_, self.axes_, self.bars_ = draw_bars(
                *drawn, labels, self.feature_names, max_features, self.vmax, figure
            )
        else:
            self.figure_, self.axes_, self.images_, self.colorbar_ = draw_images(
                *drawn, labels, self.vmax, figure
            )
        title = heading(len(self.queries), self.n_samples, self.threshold)
        self.title_ = self.figure_.suptitle(title)
        return self


def _maps(detector: Any, rows: Any) -> Any:
    if hasattr(detector, "anomaly_maps"):
        return list(detector.anomaly_maps(rows))
    return detector.anomaly_map(rows)


def _normal_maps(
    detector: Any, X: Any, scores: np.ndarray | None, threshold: float
) -> Any:
    """Return the maps of some rows of X that the detector calls normal."""
    if scores is None:  # only the drawn rows have been scored
        at = _spread(np.arange(_num_samples(X)))
        scores = scores_and_threshold(detector, _safe_indexing(X, at))[0]
        at = at[scores >= threshold]
    else:
        at = _spread(np.flatnonzero(scores >= threshold))
    return _maps(detector, _safe_indexing(X, at)) if len(at) else []


def _spread(positions: np.ndarray) -> np.ndarray:
    """Choose at most `N_REFERENCES` positions at equal distances."""
    n_chosen = min(len(positions), N_REFERENCES)
    steps = np.linspace(0, max(len(positions) - 1, 0), n_chosen)
    return positions[steps.astype(int)]

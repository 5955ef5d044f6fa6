"""AnomalyMapDisplay: query, closest normal, map and overlay, one row of X a row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skanogan._compat import _num_samples, _safe_indexing
from skanogan.inspection._drawing import check_matplotlib
from skanogan.inspection._map_panels import draw_bars, draw_images, heading, row_labels
from skanogan.inspection._rows import (
    check_count,
    check_methods,
    chosen_positions,
    column_names,
    finite_scores,
    matched_rows,
    most_abnormal,
    scores_and_threshold,
)

__all__ = ["AnomalyMapDisplay"]

MOST_ROWS = 40
"""In one figure: some 60 inches of it."""


class AnomalyMapDisplay:
    """Where rows depart from the closest normal thing: the AnoGAN paper's figure.

    Images: query, closest normal, map and overlay side by side, one row of X in each
    row of the figure. All maps share one scale, and all pixels one range of grey.
    Tables: the features with the largest residuals as bars, with the query's value and
    the closest normal one, on one scale for all rows.

    `from_estimator` and `from_predictions` make one. All parameters are attributes.

    Parameters
    ----------
    queries : list of ndarray of shape (H, W), (H, W, C) or (d,)
        The n rows to draw.
    maps : list of ndarray of shape (H, W) or (d,)
        Their anomaly maps, non-negative.
    scores : ndarray of shape (n,)
        Lower is more abnormal.
    reconstructions : list of ndarray of the shapes of `queries`, default=None
        The closest normal things. Without them their column is left out.
    threshold : float, default=None
        Scores below are anomalies.
    indices : ndarray of int of shape (n,), default=None
        Positions of the rows in X; None counts from 0.
    n_samples : int, default=None
        Rows of X that these are the most abnormal of; None if they are not.
    feature_names : list of str, default=None
        Of tables; None is x0, x1, and so on.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
    axes_ : ndarray of matplotlib Axes
        (n, 4) for images, (n, 3) without reconstructions, (n, 1) for tables.
    images_ : ndarray of matplotlib AxesImage of the shape of `axes_`
        Only for images; on overlays, the map.
    colorbar_ : matplotlib Colorbar
        Only for images.
    bars_ : list of matplotlib BarContainer
        Only for tables.
    title_ : matplotlib Text

    See Also
    --------
    ScoreDistributionDisplay : The scores of all rows.

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

    def __init__(
        self,
        *,
        queries: Sequence[np.ndarray],
        maps: Sequence[np.ndarray],
        scores: np.ndarray,
        reconstructions: Sequence[np.ndarray] | None = None,
        threshold: float | None = None,
        indices: np.ndarray | None = None,
        n_samples: int | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.queries = queries
        self.maps = maps
        self.scores = scores
        self.reconstructions = reconstructions
        self.threshold = threshold
        self.indices = indices
        self.n_samples = n_samples
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        X: Any,
        *,
        max_rows: int = 5,
        indices: Any = None,
        max_features: int = 10,
        figure: Any = None,
    ) -> "AnomalyMapDisplay":
        """Draw the most abnormal rows, or those asked for.

        All rows are scored to find the most abnormal; only those drawn are rebuilt.

        Parameters
        ----------
        detector : object
            Fitted, with `anomaly_map`, and `score_samples` or `decision_function`;
            without `reconstruct`, the column of closest normal things is left out.
        X : array-like of shape (n_samples, ...)
            Rows as the detector takes them.
        max_rows : int, default=5
            How many to draw, at most 40: the lowest scores, lowest first.
        indices : array-like of int or bool, default=None
            The rows to draw instead, at most 40, in this order.
        max_features : int, default=10
            Bars for each row of a table: the largest residuals.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw; None makes a new one.

        Returns
        -------
        display : AnomalyMapDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If the detector lacks a method.
        ValueError
            If more rows are asked for than one figure can hold.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_methods(cls.__name__, detector, ["anomaly_map"])
        if hasattr(detector, "anomaly_maps"):
            raise TypeError(
                f"{type(detector).__name__} maps whole images one at a time, and "
                f"{cls.__name__}.from_estimator draws rows. Use {cls.__name__}."
                "from_predictions(images, None, list(detector.anomaly_maps(images)), "
                "scores)."
            )
        check_count("max_rows", max_rows, MOST_ROWS)
        check_count("max_features", max_features)
        if indices is None:
            scores, threshold = scores_and_threshold(detector, X)
            at = most_abnormal(scores, max_rows)
            rows, scores = _safe_indexing(X, at), scores[at]
        else:
            at = chosen_positions(X, indices, MOST_ROWS)
            rows = _safe_indexing(X, at)
            scores, threshold = scores_and_threshold(detector, rows)
        has_normal = hasattr(detector, "reconstruct")
        queries, normal, maps = matched_rows(
            rows,
            detector.reconstruct(rows) if has_normal else None,
            detector.anomaly_map(rows),
            getattr(detector, "image_shape_", None),
        )
        return cls(
            queries=queries,
            maps=maps,
            scores=scores,
            reconstructions=normal,
            threshold=threshold,
            indices=at,
            n_samples=_num_samples(X) if indices is None else None,
            feature_names=column_names(X, detector),
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
        figure: Any = None,
    ) -> "AnomalyMapDisplay":
        """Draw the most abnormal rows, or those asked for, from what is known of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, d), (n_samples, H, W) or \
                (n_samples, H, W, C), or list of images
            Images of a list may differ in size.
        reconstructions : array-like of the shape of X, or None
            The closest normal things. None leaves their column out.
        maps : array-like of shape (n_samples, d) or (n_samples, H, W), or list
            Non-negative, from `anomaly_map` or elsewhere.
        scores : array-like of shape (n_samples,)
            From `score_samples` or `decision_function`: lower is more abnormal.
        threshold : float, default=None
            Scores below are called anomalies.
        max_rows : int, default=5
            As in `from_estimator`.
        indices : array-like of int or bool, default=None
            As in `from_estimator`.
        image_shape : tuple of int, default=None
            (H, W) or (H, W, C) if the rows of X are flattened images.
        feature_names : list of str, default=None
            Of tables; None takes the names of X's columns, if it has any.
        max_features : int, default=10
            As in `from_estimator`.
        figure : matplotlib Figure or SubFigure, default=None
            As in `from_estimator`.

        Returns
        -------
        display : AnomalyMapDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If lengths or shapes differ, or more rows are asked for than one figure can
            hold.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        check_count("max_rows", max_rows, MOST_ROWS)
        check_count("max_features", max_features)
        scores = finite_scores(scores)
        check_consistent_length(X, reconstructions, maps, scores)
        if indices is None:
            at = most_abnormal(scores, max_rows)
        else:
            at = chosen_positions(X, indices, MOST_ROWS)
        has_normal = reconstructions is not None
        queries, normal, maps = matched_rows(
            _safe_indexing(X, at),
            _safe_indexing(reconstructions, at) if has_normal else None,
            _safe_indexing(maps, at),
            image_shape,
        )
        return cls(
            queries=queries,
            maps=maps,
            scores=scores[at],
            reconstructions=normal,
            threshold=threshold,
            indices=at,
            n_samples=len(scores) if indices is None else None,
            feature_names=column_names(X) if feature_names is None else feature_names,
        ).plot(max_features=max_features, figure=figure)

    def plot(
        self, *, max_features: int = 10, figure: Any = None
    ) -> "AnomalyMapDisplay":
        """Draw it.

        Parameters
        ----------
        max_features : int, default=10
            Bars for each row of a table: the largest residuals.
        figure : matplotlib Figure or SubFigure, default=None
            Where to draw; None makes a new one.

        Returns
        -------
        display : AnomalyMapDisplay
            Itself, with what was drawn in its attributes.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        check_count("max_features", max_features)
        drawn = (self.queries, self.reconstructions, self.maps)
        labels = row_labels(self.scores, self.threshold, self.indices)
        if self.queries[0].ndim == 1:
            self.figure_, self.axes_, self.bars_ = draw_bars(
                *drawn, labels, self.feature_names, max_features, figure
            )
        else:
            self.figure_, self.axes_, self.images_, self.colorbar_ = draw_images(
                *drawn, labels, figure
            )
        title = heading(len(self.queries), self.n_samples, self.threshold)
        self.title_ = self.figure_.suptitle(title)
        return self

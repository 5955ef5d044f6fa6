"""ScoreDistributionDisplay: the scores of normal rows and of anomalies."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skanogan._data.labels import check_labels
from skanogan.inspection._drawing import (
    ANOMALY_COLOUR,
    LEGEND,
    NORMAL_COLOUR,
    check_matplotlib,
    number,
    own_axes,
    room_above,
)
from skanogan.inspection._histogram import bin_edges, linear_stretch, reaches_far
from skanogan.inspection._rows import check_count, finite_scores, scores_and_threshold

__all__ = ["ScoreDistributionDisplay"]

MOST_TICKS = 100
"""Groups of at most this many rows are also drawn row by row, as ticks."""

STYLES: tuple[dict[str, Any], ...] = (
    {"color": NORMAL_COLOUR, "alpha": 0.75},
    {"color": ANOMALY_COLOUR, "alpha": 0.75, "hatch": "////", "edgecolor": "black"},
)
TICK = {"marker": "|", "linestyle": "", "markersize": 6, "markeredgewidth": 1.2}

ONE = {"rows": "row", "normal rows": "normal row", "anomalies": "anomaly"}


@dataclass(kw_only=True, eq=False, repr=False)
class ScoreDistributionDisplay:
    """Show histograms of the scores of normal rows and anomalies, and the threshold.

    The bars of each group sum to 1, so that few anomalies are visible beside many
    normal rows. One edge lies at the threshold, and rows to the left of it are labelled
    anomalies. Groups of at most 100 rows are also drawn row by row, as ticks.

    `from_estimator` and `from_predictions` create a display. Parameters are attributes.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Lower is more abnormal.
    y_true : ndarray of shape (n,), default=None
        1 normal, -1 anomaly. None draws all rows as one group.
    threshold : float, default=None
        Scores below it are anomalies.
    name : str, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : list of matplotlib StepPatch
        The bars of normal rows and of anomalies, if there are any.
    ticks_ : list of matplotlib Line2D
        The ticks of each group of at most 100 rows.
    threshold_line_ : matplotlib Line2D or None

    See Also
    --------
    sklearn.metrics.RocCurveDisplay : Shows all thresholds.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from skanogan.inspection import ScoreDistributionDisplay
    >>> rng = np.random.RandomState(0)
    >>> X = np.concatenate([rng.normal(size=(200, 2)), rng.normal(4, 1, size=(20, 2))])
    >>> y = np.repeat([1, -1], [200, 20])
    >>> forest = IsolationForest(random_state=0).fit(X[:100])
    >>> display = ScoreDistributionDisplay.from_estimator(forest, X[100:], y[100:])
    >>> display.threshold
    -0.5
    """

    scores: np.ndarray
    y_true: np.ndarray | None = None
    threshold: float | None = None
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        X: Any,
        y: Any = None,
        *,
        n_bins: int | None = None,
        log_scale: bool | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> "ScoreDistributionDisplay":
        """Score rows with a detector and draw the scores.

        Parameters
        ----------
        detector : object
            Fitted. The display shows `score_samples` and the threshold `offset_` if it
            has both, else `decision_function` and 0, else `score_samples` alone.
        X : array-like of shape (n_samples, ...)
            Rows in a form that the detector accepts.
        y : array-like of shape (n_samples,), default=None
            1 normal, -1 anomaly.
        n_bins : int, default=None
            As in `plot`.
        log_scale : bool, default=None
            As in `plot`.
        name : str, default=None
            The title. None uses the class of the detector.
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : ScoreDistributionDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        scores, threshold = scores_and_threshold(detector, X)
        return cls.from_predictions(
            y,
            scores,
            threshold=threshold,
            n_bins=n_bins,
            log_scale=log_scale,
            name=type(detector).__name__ if name is None else name,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        scores: Any,
        *,
        threshold: float | None = None,
        n_bins: int | None = None,
        log_scale: bool | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> "ScoreDistributionDisplay":
        """Draw scores that were computed before.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,), or None
            1 normal, -1 anomaly. None draws all rows as one group.
        scores : array-like of shape (n_samples,)
            `score_samples` or `decision_function`: lower is more abnormal.
        threshold : float, default=None
            Scores below it are anomalies.
        n_bins : int, default=None
            As in `plot`.
        log_scale : bool, default=None
            As in `plot`.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : ScoreDistributionDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        scores = finite_scores(scores)
        if y_true is not None:
            y_true = check_labels(y_true, scores, needed=())
        display = cls(scores=scores, y_true=y_true, threshold=threshold, name=name)
        return display.plot(ax, n_bins=n_bins, log_scale=log_scale)

    def plot(
        self,
        ax: Any = None,
        *,
        n_bins: int | None = None,
        log_scale: bool | None = None,
    ) -> "ScoreDistributionDisplay":
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.
        n_bins : int, default=None
            Number of bars over the range of the scores; None chooses at most 60.
        log_scale : bool, default=None
            Whether the axis is logarithmic, except near zero. None is True if the range
            of the scores is more than ten times that of nine tenths of the normal rows.

        Returns
        -------
        display : ScoreDistributionDisplay
            This display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if n_bins is not None:
            check_count("n_bins", n_bins)
        self.ax_ = ax = own_axes(ax, (6.4, 3.6), self.name)
        self.figure_ = ax.figure
        scores, y = self.scores, self.y_true
        groups = {"rows": scores}
        if y is not None:
            groups = {"normal rows": scores[y == 1], "anomalies": scores[y == -1]}
        parts = list(groups.values())
        if log_scale is None:
            log_scale = reaches_far(scores, parts[0])
        if log_scale:
            ax.set_xscale("symlog", linthresh=linear_stretch(scores))
        edges = bin_edges(parts, self.threshold, n_bins, ax.xaxis.get_transform())
        heights = [np.histogram(own, edges)[0] / max(1, len(own)) for own in parts]
        top = max(float(own.max()) for own in heights)
        self.bars_, self.ticks_ = [], []
        for k, (name, own) in enumerate(groups.items()):
            if not len(own):
                continue
            label = f"{len(own):,} {name if len(own) > 1 else ONE[name]}"
            if self.threshold is not None:
                label += f", {np.mean(own < self.threshold):.1%} below"
            self.bars_.append(
                ax.stairs(heights[k], edges, fill=True, label=label, **STYLES[k])
            )
            if len(own) <= MOST_TICKS:
                # Below the bars, at a height of its own for each group.
                lane = np.full(len(own), -0.035 * (k + 1) * top)
                self.ticks_ += ax.plot(own, lane, color=STYLES[k]["color"], **TICK)
        self.threshold_line_ = None
        if self.threshold is not None:
            label = f"threshold {number(self.threshold)}"
            self.threshold_line_ = ax.axvline(
                self.threshold, color="black", linestyle="--", label=label
            )
        group = "the rows" if y is None else "each group"
        ax.set(xlabel="score (lower is more abnormal)", ylabel=f"share of {group}")
        ax.set_ylim(-0.1 * top if self.ticks_ else 0, top)
        room_above(ax, 0.3)
        # Remove labels of shares above the bars or below zero.
        ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= 1.01 * top])
        ax.legend(**LEGEND)
        return self

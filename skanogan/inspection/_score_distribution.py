"""ScoreDistributionDisplay: the scores of normal rows and of anomalies."""

from typing import Any

import numpy as np

from skanogan._labels import check_labels
from skanogan.inspection._drawing import (
    ANOMALY_COLOUR,
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
"""A group of so few rows is drawn row by row as well."""

STYLES: tuple[dict[str, Any], ...] = (
    {"color": NORMAL_COLOUR, "alpha": 0.75},
    {"color": ANOMALY_COLOUR, "alpha": 0.75, "hatch": "////", "edgecolor": "black"},
)
TICK = {"marker": "|", "linestyle": "", "markersize": 6, "markeredgewidth": 1.2}

ONE = {"rows": "row", "normal rows": "normal row", "anomalies": "anomaly"}


class ScoreDistributionDisplay:
    """Histograms of the scores of normal rows and of anomalies, with the threshold.

    Each group's bars add up to 1, so that few anomalies can be seen beside many normal
    rows. An edge of the bars lies on the threshold: what is left of it is flagged.
    Groups of at most 100 rows are also drawn row by row, as ticks.

    `from_estimator` and `from_predictions` make one. All parameters are attributes.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Lower is more abnormal.
    y_true : ndarray of shape (n,), default=None
        1 normal, -1 anomaly. None draws all rows as one group.
    threshold : float, default=None
        Scores below are anomalies.
    name : str, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : list of matplotlib StepPatch
        Of each group that has rows: normal, anomaly.
    ticks_ : list of matplotlib Line2D
        Of each group of at most 100 rows.
    threshold_line_ : matplotlib Line2D or None

    See Also
    --------
    sklearn.metrics.RocCurveDisplay : All thresholds at once.

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

    def __init__(
        self,
        *,
        scores: np.ndarray,
        y_true: np.ndarray | None = None,
        threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        self.scores = scores
        self.y_true = y_true
        self.threshold = threshold
        self.name = name

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
        """Score rows and draw.

        Parameters
        ----------
        detector : object
            Any fitted detector of scikit-learn's manners. Drawn are `score_samples`
            with `offset_` as the threshold if it has both, else `decision_function`
            with 0, else `score_samples` without one.
        X : array-like of shape (n_samples, ...)
            Rows as the detector takes them.
        y : array-like of shape (n_samples,), default=None
            1 normal, -1 anomaly.
        n_bins : int, default=None
            As in `plot`.
        log_scale : bool, default=None
            As in `plot`.
        name : str, default=None
            The title; None takes the detector's class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : ScoreDistributionDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If the detector has no scores.
        ValueError
            For other labels; the message says how to convert.
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
        """Draw scores that are there already.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,), or None
            1 normal, -1 anomaly; None draws all rows as one group.
        scores : array-like of shape (n_samples,)
            From `score_samples` or `decision_function`: lower is more abnormal.
        threshold : float, default=None
            Scores below are called anomalies.
        n_bins : int, default=None
            As in `plot`.
        log_scale : bool, default=None
            As in `plot`.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : ScoreDistributionDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            For other labels, and for scores that are not finite.
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
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        n_bins : int, default=None
            Bars over the range of the scores; None takes as many as the rows bear, at
            most 60.
        log_scale : bool, default=None
            Whether the scores' axis is logarithmic, but for a stretch around zero. None
            decides: it is, if the scores reach ten times as far as the middle nine
            tenths of the normal rows.

        Returns
        -------
        display : ScoreDistributionDisplay
            Itself, with what was drawn in its attributes.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if n_bins is not None:
            check_count("n_bins", n_bins)
        self.ax_ = ax = own_axes(ax, (6.4, 3.6))
        self.figure_ = ax.figure
        groups = self._groups()
        if log_scale is None:
            log_scale = reaches_far(self.scores, groups[0][1])
        if log_scale:
            ax.set_xscale("symlog", linthresh=linear_stretch(self.scores))
        edges = bin_edges(
            [own for _, own in groups],
            self.threshold,
            n_bins,
            ax.xaxis.get_transform(),
        )
        heights = [np.histogram(own, edges)[0] / max(1, len(own)) for _, own in groups]
        top = max(float(own.max()) for own in heights)
        self.bars_, self.ticks_ = [], []
        for k, (name, own) in enumerate(groups):
            if not len(own):
                continue
            label = f"{len(own):,} {name if len(own) > 1 else ONE[name]}"
            if self.threshold is not None:
                label += f", {np.mean(own < self.threshold):.1%} below"
            self.bars_.append(
                ax.stairs(heights[k], edges, fill=True, label=label, **STYLES[k])
            )
            if len(own) <= MOST_TICKS:
                # In a lane of their own under the bars.
                lane = np.full(len(own), -0.035 * (k + 1) * top)
                self.ticks_ += ax.plot(own, lane, color=STYLES[k]["color"], **TICK)
        self.threshold_line_ = None
        if self.threshold is not None:
            label = f"threshold {number(self.threshold)}"
            self.threshold_line_ = ax.axvline(
                self.threshold, color="black", linestyle="--", label=label
            )
        group = "the rows" if self.y_true is None else "each group"
        ax.set(xlabel="score (lower is more abnormal)", ylabel=f"share of {group}")
        ax.set_ylim(-0.1 * top if self.ticks_ else 0, top)
        room_above(ax, 0.3)
        # No shares above the bars or below zero.
        ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= 1.01 * top])
        if self.name is not None:
            ax.set_title(self.name)
        ax.legend(loc="upper left", fontsize="small", framealpha=1, edgecolor="none")
        return self

    def _groups(self) -> list[tuple[str, np.ndarray]]:
        """What each group is called, and its scores; the first is the normal one."""
        if self.y_true is None:
            return [("rows", self.scores)]
        return [
            ("normal rows", self.scores[self.y_true == 1]),
            ("anomalies", self.scores[self.y_true == -1]),
        ]

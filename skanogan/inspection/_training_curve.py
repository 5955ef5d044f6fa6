"""TrainingCurveDisplay: the losses of a training, and the state that was kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skanogan.inspection._drawing import check_matplotlib, own_axes, room_above
from skanogan.inspection._rows import check_methods

__all__ = ["TrainingCurveDisplay"]

LINES = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
    {"color": "#56B4E9", "linestyle": (0, (5, 1)), "marker": "v"},
)
"""Apart by the line and the mark where colours are not."""

VALIDATION_LINE = {"color": "black", "linestyle": "-", "linewidth": 2.5}

WIDE_RANGE = 10
"""Losses of which one is so many times another are drawn on a logarithmic axis."""


class TrainingCurveDisplay:
    """The losses of a training by name, and the validation error on its own axis.

    Where there is a validation error, the state that the training ended with is marked:
    the one with the least error of those recorded, in the last call of `fit` and the
    last stage of the training.

    `from_estimator` makes one. All parameters are attributes.

    Parameters
    ----------
    history : list of dict
        Records with ``n_iter``, losses by name and perhaps ``validation_error``: a
        detector's `history_`.
    name : str, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the losses.
    validation_ax_ : matplotlib Axes or None
        Of the validation error, on the same updates.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        By the names of the losses.
    validation_line_ : matplotlib Line2D or None
    kept_line_ : matplotlib Line2D or None
        At the update whose state was kept.

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan import OCGANDetector
    >>> from skanogan.inspection import TrainingCurveDisplay
    >>> X = np.random.RandomState(0).normal(size=(200, 4))
    >>> detector = OCGANDetector(max_iter=40, random_state=0).fit(X)
    >>> display = TrainingCurveDisplay.from_estimator(detector)
    >>> sorted(display.lines_)
    ['classifier_loss', 'generator_loss', 'latent_loss', 'visual_loss']
    """

    def __init__(
        self, *, history: Sequence[dict[str, float]], name: str | None = None
    ) -> None:
        self.history = history
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        *,
        names: Sequence[str] | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> "TrainingCurveDisplay":
        """Draw the training of a fitted detector.

        Parameters
        ----------
        detector : object
            Fitted, with `history_`.
        names : list of str, default=None
            As in `plot`.
        name : str, default=None
            The title; None takes the detector's class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If the detector has no `history_`.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_methods(cls.__name__, detector, ["history_"])
        name = type(detector).__name__ if name is None else name
        return cls(history=detector.history_, name=name).plot(ax, names=names)

    def plot(
        self, ax: Any = None, *, names: Sequence[str] | None = None
    ) -> "TrainingCurveDisplay":
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure. The validation error's axis is its
            twin.
        names : list of str, default=None
            What to draw of the records; None takes those that end in "loss".

        Returns
        -------
        display : TrainingCurveDisplay
            Itself, with what was drawn in its attributes.

        Raises
        ------
        ValueError
            If no record has one of the names.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        recorded = dict.fromkeys(key for record in self.history for key in record)
        if names is None:
            names = [key for key in recorded if key.endswith("loss")]
        unknown = [key for key in names if key not in recorded]
        if unknown:
            raise ValueError(
                f"names holds {unknown}, which no record has; recorded are "
                f"{list(recorded)}."
            )
        self.ax_ = ax = own_axes(ax, (6.4, 3.6))
        self.figure_ = ax.figure
        self.lines_ = {}
        for k, key in enumerate(names):
            line = LINES[k % len(LINES)]
            (self.lines_[key],) = ax.plot(
                *self._curve(key), label=key.replace("_", " "), markersize=3, **line
            )
        drawn = list(self.lines_.values())
        if drawn and all((line.get_ydata() > 0).all() for line in drawn):
            values = np.concatenate([line.get_ydata() for line in drawn])
            if values.max() > WIDE_RANGE * values.min():
                ax.set_yscale("log")
        drawn += self._plot_validation_error()
        room = 0.04 + 0.08 * -(-len(drawn) // 2)
        ax.set(xlabel="updates", ylabel="loss, mean since the last mark")
        if self.name is not None:
            ax.set_title(self.name)
        for axes in filter(None, (ax, self.validation_ax_)):
            room_above(axes, room)
        # On the twin, if there is one: it is drawn over the other.
        (self.validation_ax_ or ax).legend(
            handles=drawn,
            loc="upper left",
            ncols=2,
            fontsize="small",
            framealpha=1,
            edgecolor="none",
        )
        return self

    def _plot_validation_error(self) -> list[Any]:
        """The error on a twin axis and the state that was kept, if there is one."""
        self.validation_ax_ = self.validation_line_ = self.kept_line_ = None
        at, errors = self._curve("validation_error")
        if not len(at):
            return []
        self.validation_ax_ = self.ax_.twinx()
        (self.validation_line_,) = self.validation_ax_.plot(
            at, errors, label="validation error (right)", **VALIDATION_LINE
        )
        self.validation_ax_.set_ylabel("validation error")
        kept = kept_update(self.history)
        if kept is None:
            return [self.validation_line_]
        self.kept_line_ = self.ax_.axvline(
            kept,
            color="0.75",
            linewidth=5,
            label=f"kept: update {kept:,}",
        )
        return [self.validation_line_, self.kept_line_]

    def _curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Updates, and the values of the records that have this name."""
        records = [record for record in self.history if name in record]
        return (
            np.array([record["n_iter"] for record in records]),
            np.array([record[name] for record in records]),
        )


def kept_update(history: Sequence[dict[str, float]]) -> int | None:
    """The update whose state the training ended with, if errors decided it.

    The least error of the records, but only of the last call of `fit` (a warm start
    goes on in the same history, and counts itself as ``fit``) and of the last stage
    (one without an error keeps its last state).
    """
    candidates: list[dict[str, float]] = []
    fit = 1.0
    for record in history:
        if record.get("fit", 1) != fit or "validation_error" not in record:
            candidates = []
        if "validation_error" in record:
            candidates.append(record)
        fit = record.get("fit", 1)
    if not candidates:
        return None
    return int(min(candidates, key=lambda record: record["validation_error"])["n_iter"])

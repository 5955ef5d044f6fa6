"""TrainingCurveDisplay: the losses of a training and the state that was kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skanogan.inspection._drawing import LEGEND, check_matplotlib, own_axes, room_above
from skanogan.inspection._rows import inner_detector

__all__ = ["TrainingCurveDisplay"]

LINES = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
    {"color": "#56B4E9", "linestyle": (0, (5, 1)), "marker": "v"},
)
"""The lines also differ in style and marker, so that they can be read in grey."""

VALIDATION_LINE = {"color": "black", "linestyle": "-", "linewidth": 2.5}

WIDE_RANGE = 10
"""The axis is logarithmic if the largest loss is more than this times the smallest."""


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingCurveDisplay:
    """Show the losses of a training, and the validation error on an axis of its own.

    If there is a validation error, a line marks the state that was kept. This is the
    record of least error in the last call of `fit` and the last stage of the training.

    `from_estimator` creates a display. Parameters are attributes.

    Parameters
    ----------
    history : list of dict
        The `history_` of a detector: records with ``n_iter``, losses, and possibly
        ``validation_error``.
    name : str, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the losses.
    validation_ax_ : matplotlib Axes or None
        The axes of the validation error.
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        Lines by the names of the losses.
    validation_line_ : matplotlib Line2D or None
    kept_line_ : matplotlib Line2D or None
        The line at the update whose state was kept.

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan import OCGANDetector
    >>> from skanogan.inspection import TrainingCurveDisplay
    >>> X = np.random.RandomState(0).normal(size=(200, 4))
    >>> detector = OCGANDetector(max_iter=40, random_state=0).fit(X)
    >>> display = TrainingCurveDisplay.from_estimator(detector)
    >>> sorted(display.lines_)
    ['generator_loss', 'latent_loss', 'visual_loss']
    """

    history: Sequence[dict[str, float]]
    name: str | None = None

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
            A fitted detector with `history_`, or a pipeline or search that ends in one.
        names : list of str, default=None
            As in `plot`.
        name : str, default=None
            The title. None uses the class of the detector.
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        detector, _, _ = inner_detector(cls.__name__, detector, ["history_"])
        name = type(detector).__name__ if name is None else name
        return cls(history=detector.history_, name=name).plot(ax, names=names)

    def plot(
        self, ax: Any = None, *, names: Sequence[str] | None = None
    ) -> "TrainingCurveDisplay":
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.
        names : list of str, default=None
            Entries of the records to draw. None draws those that end in "loss".

        Returns
        -------
        display : TrainingCurveDisplay
            This display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        recorded = dict.fromkeys(key for record in self.history for key in record)
        if names is None:
            names = [key for key in recorded if key.endswith("loss")]
        unknown = [key for key in names if key not in recorded]
        if unknown:
            raise ValueError(
                f"names holds {unknown}, which no record has. Use some of "
                f"{list(recorded)}."
            )
        self.ax_ = ax = own_axes(ax, (6.4, 3.6), self.name)
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
        ax.set(xlabel="updates", ylabel="loss, mean since the last marker")
        for axes in filter(None, (ax, self.validation_ax_)):
            room_above(axes, room)
        # The twin, if there is one, is drawn over the other axes.
        (self.validation_ax_ or ax).legend(handles=drawn, ncols=2, **LEGEND)
        return self

    def _plot_validation_error(self) -> list[Any]:
        """Draw the error on a twin axis and mark the state that was kept, if any."""
        self.validation_ax_ = self.validation_line_ = self.kept_line_ = None
        errors = self._curve("validation_error")
        if not errors.size:
            return []
        self.validation_ax_ = self.ax_.twinx()
        (self.validation_line_,) = self.validation_ax_.plot(
            *errors, label="validation error (right)", **VALIDATION_LINE
        )
        self.validation_ax_.set_ylabel("validation error")
        kept = kept_update(self.history)
        if kept is None:
            return [self.validation_line_]
        self.kept_line_ = self.ax_.axvline(
            kept, color="0.75", linewidth=5, label=f"kept: update {kept:,}"
        )
        return [self.validation_line_, self.kept_line_]

    def _curve(self, name: str) -> np.ndarray:
        """Return the updates and the n values of this name, of shape (2, n)."""
        records = [record for record in self.history if name in record]
        values = [(record["n_iter"], record[name]) for record in records]
        return np.array(values).reshape(-1, 2).T


def kept_update(history: Sequence[dict[str, float]]) -> int | None:
    """Return the update whose state was kept, if a validation error decided it.

    Only the records of the last stage of the last call of `fit` count. A warm start
    continues the history and increments ``fit``. A stage without an error keeps its
    last state.
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

"""A fit as scikit-learn's callbacks see it: one task, and one for each record of it.

scikit-learn has callbacks since 1.9 (`sklearn.callback`); before, nothing is reported.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["FitTasks"]

Attributes = Callable[[], dict[str, Any]]


class FitTasks:
    """Tells callbacks that a fit begins, that a record is there, that it is over.

    Parameters
    ----------
    estimator : object
        What is fitted. Its callbacks are set up here; scikit-learn tears them down when
        `fit` returns or raises.
    n_records : int
        At most.
    X, y : object
        As they were given to `fit`.
    """

    def __init__(self, estimator: Any, n_records: int, X: Any, y: Any) -> None:
        self._told = {"estimator": estimator, "X": X, "y": y}
        self._fit: Any = None
        self._record: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=n_records)
            self._fit.call_on_fit_task_begin(**self._told)

    def record_begins(self) -> None:
        """The updates up to the next record begin."""
        if self._fit is not None:
            self._record = self._fit.subcontext(task_name="updates")
            self._record.call_on_fit_task_begin(**self._told)

    def record_ends(self, as_if_stopped: Attributes) -> bool:
        """A record is there.

        Parameters
        ----------
        as_if_stopped : callable
            Gives the fitted attributes of an estimator whose training ended here;
            called only if a callback asks for a fitted estimator.

        Returns
        -------
        stop : bool
            Whether a callback wants the training to end here.
        """
        return self._ends(self._record, as_if_stopped)

    def fit_ends(self, fitted: Attributes) -> None:
        """All is fitted, and `fitted` gives its attributes."""
        self._ends(self._fit, fitted)

    def _ends(self, task: Any, fitted: Attributes) -> bool:
        if task is None:
            return False
        # One call for all callbacks of a task: scikit-learn asks for the attributes
        # once, and wants a mapping or what gives it.
        return bool(
            task.call_on_fit_task_end(**self._told, reconstruction_attributes=fitted)
        )

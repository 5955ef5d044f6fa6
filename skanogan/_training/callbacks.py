"""Report a fit to scikit-learn's callbacks: one task, and one subtask per record.

scikit-learn has callbacks since version 1.9 (`sklearn.callback`). With older versions
nothing is reported.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["FitTasks"]

Attributes = Callable[[], dict[str, Any]]


class FitTasks:
    """Report to callbacks that a fit or a record begins or ends.

    The callbacks of the estimator are set up here. scikit-learn tears them down when
    `fit` returns or raises. `X` and `y` are reported as they were passed to `fit`.
    """

    def __init__(self, estimator: Any, n_records: int, X: Any, y: Any) -> None:
        self._told = {"estimator": estimator, "X": X, "y": y}
        self._fit: Any = None
        self._record: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=n_records)
            self._fit.call_on_fit_task_begin(**self._told)

    def record_begins(self) -> None:
        """Report that the updates up to the next record begin."""
        if self._fit is not None:
            self._record = self._fit.subcontext(task_name="updates")
            self._record.call_on_fit_task_begin(**self._told)

    def record_ends(self, as_if_stopped: Attributes) -> bool:
        """Report a record, and return whether a callback asks the training to stop.

        `as_if_stopped` returns the fitted attributes of a detector whose training ended
        here. It is called only if a callback asks for a fitted estimator.
        """
        return self._end(self._record, as_if_stopped)

    def fit_ends(self, fitted: Attributes) -> None:
        """Report that the fit has ended. `fitted` returns the fitted attributes."""
        self._end(self._fit, fitted)

    def _end(self, task: Any, fitted: Attributes) -> bool:
        if task is None:
            return False
        # One call for all callbacks of a task: scikit-learn asks for the attributes
        # once, and takes a mapping or a callable that returns one.
        return bool(
            task.call_on_fit_task_end(**self._told, reconstruction_attributes=fitted)
        )

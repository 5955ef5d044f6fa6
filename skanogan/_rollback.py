"""Nothing is half-fitted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skanogan._compat import CALLBACK_ATTRIBUTES

__all__ = ["as_before_on_failure"]


@contextmanager
def as_before_on_failure(estimator: Any) -> Iterator[None]:
    """Give an estimator the attributes back that it had, if the block raises.

    Parameters
    ----------
    estimator : object
        That the block fits, by binding attributes anew rather than changing them.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        attributes = vars(estimator)
        # Those of callbacks are taken away by scikit-learn, which tears them down.
        told = {k: v for k, v in attributes.items() if k in CALLBACK_ATTRIBUTES}
        attributes.clear()
        attributes.update({**before, **told})
        raise

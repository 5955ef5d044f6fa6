"""Restore an estimator if its fit fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skanogan._runtime.compatibility import CALLBACK_ATTRIBUTES

__all__ = ["as_before_on_failure"]


@contextmanager
def as_before_on_failure(estimator: Any) -> Iterator[None]:
    """Restore the attributes of an estimator if the block raises.

    The block must bind attributes anew rather than change them in place.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        attributes = vars(estimator)
        # scikit-learn removes those of callbacks, when it tears the callbacks down.
        of_callbacks = {k: v for k, v in attributes.items() if k in CALLBACK_ATTRIBUTES}
        attributes.clear()
        attributes.update({**before, **of_callbacks})
        raise

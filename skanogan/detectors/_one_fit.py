"""Keep the attributes of one fit together, whatever another thread fits meanwhile."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from skanogan._runtime.compatibility import CALLBACK_ATTRIBUTES

__all__ = ["as_of_now", "fitted_in_one_step", "of_one_fit"]

Method = TypeVar("Method", bound=Callable[..., Any])


@contextmanager
def fitted_in_one_step(estimator: Any) -> Iterator[Any]:
    """Yield a copy to fit, whose attributes the estimator has after the block.

    They are replaced in one step. Another thread that scores therefore sees those of
    one fit. If the block raises, the estimator is as it was. The block must bind
    attributes anew rather than change them in place.
    """
    working = as_of_now(estimator)
    yield working
    # scikit-learn sets those of callbacks on the estimator itself.
    kept = {k: v for k, v in vars(estimator).items() if k in CALLBACK_ATTRIBUTES}
    new = {k: v for k, v in vars(working).items() if k not in CALLBACK_ATTRIBUTES}
    estimator.__dict__ = {**new, **kept}


def as_of_now(estimator: Any) -> Any:
    """Return a copy that shares all attributes, and that a refit does not change."""
    # Not copy.copy, which would copy the networks if the class can be pickled.
    copy = object.__new__(type(estimator))
    copy.__dict__.update(vars(estimator))
    return copy


def of_one_fit(method: Method) -> Method:
    """Decorate a method that reads several fitted attributes, and sets none."""

    @functools.wraps(method)
    def of_copy(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(as_of_now(self), *args, **kwargs)

    return cast(Method, of_copy)

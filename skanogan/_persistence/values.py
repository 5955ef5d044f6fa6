"""Parameters and fitted attributes as JSON values, and back with their types.

JSON has no tuples, devices, dtypes and arrays of names. Each is stored as an object
with one key, which names the kind.
"""

import math
import re
import types
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin

import numpy as np
import torch

__all__ = ["decoded", "encoded", "is_reference", "matches"]

LARGEST = 2**63
"""Integers lie below it, here and in other readers of JSON."""

REFERENCES = {"detector", "frozen", "attribute", "network", "tensor"}
"""Kinds of values that are stored elsewhere. `saving` writes and `loading` reads them.

A detector, a frozen detector, the fitted attribute that is the same object, the class
of a network that the caller of `load` brings, the name of a tensor."""

REAL_DTYPE = re.compile(r"[<>|][biuf]\d{1,2}")
"""Dtypes of real numbers, as ``numpy.dtype.str`` writes them."""


def encoded(value: Any, what: str) -> Any:
    """Encode a value for JSON. TypeError, which names `what`, if only pickle can."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, Integral):
        if -LARGEST <= int(value) < LARGEST:
            return int(value)
    elif isinstance(value, Real) and math.isfinite(value):
        return float(value)
    if isinstance(value, list):
        return [encoded(item, what) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encoded(item, what) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encoded(item, what) for key, item in value.items()}}
    if isinstance(value, np.ndarray) and all(isinstance(item, str) for item in value):
        return {"names": value.tolist()}
    if isinstance(value, np.dtype) and REAL_DTYPE.fullmatch(value.str):
        return {"dtype": value.str}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    advice = "Set another value, or use joblib.dump"
    if callable(value):
        advice = "Use joblib.dump"
    elif isinstance(value, np.random.RandomState):
        advice = (
            "Only another fit would use it. Call set_params(random_state=None), or set "
            "an integer, before save"
        )
    raise TypeError(f"{what} cannot be stored without pickle. {advice}.")


def decoded(value: Any) -> Any:
    """Decode what `encoded` returns. ValueError if it returns no such value."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if kind == "tuple" and isinstance(content, list):
        return tuple(decoded(item) for item in content)
    if kind == "dict" and isinstance(content, dict):
        return {key: decoded(item) for key, item in content.items()}
    if kind == "names" and matches(content, list[str]):
        return np.array(content, dtype=object)
    if kind == "dtype" and isinstance(content, str) and REAL_DTYPE.fullmatch(content):
        try:
            return np.dtype(content)
        except TypeError as error:
            raise ValueError(f"{content!r} is not a dtype") from error
    if kind == "device" and isinstance(content, str):
        try:
            return torch.device(content)
        except RuntimeError as error:
            raise ValueError(f"{content!r} is not a device") from error
    raise ValueError(f"an object with the keys {sorted(value)} is not a value")


def is_reference(value: Any) -> bool:
    """Whether a JSON value stands for a detector, a network or a tensor."""
    return isinstance(value, dict) and len(value) == 1 and set(value) <= REFERENCES


def matches(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation.

    An annotation is a class, None, or tuples, lists, dicts and unions of such. An int
    is also a float; a bool is neither.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(matches(value, option) for option in inner)
    if origin is list:
        return isinstance(value, list) and all(matches(v, inner[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            matches(k, inner[0]) and matches(v, inner[1]) for k, v in value.items()
        )
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(matches(v, inner[0]) for v in value)
        return len(value) == len(inner) and all(map(matches, value, inner))
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and matches(value.dtype, inner[1])
    if origin is np.dtype:
        return isinstance(value, np.dtype) and (
            inner[0] is Any or issubclass(value.type, inner[0])
        )
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        wanted = int if hint is int else (int, float)
        return isinstance(value, wanted) and not isinstance(value, bool)
    return hint is Any or (isinstance(hint, type) and isinstance(value, hint))

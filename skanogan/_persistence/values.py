"""Parameters and fitted attributes as JSON values, and back with their types.

JSON has no tuples, devices and arrays of names: they are objects with one key that says
what they are. A network is stored by name only; who opens the file brings it.
"""

import math
import types
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin

import numpy as np
import torch
from torch import nn

__all__ = ["Network", "decoded", "encoded", "matches"]

LARGEST = 2**63
"""Of integers, here and in any other reader of JSON."""


@dataclass(frozen=True)
class Network:
    """A network of the user's, in a parameter."""

    name: str


def encoded(value: Any, what: str) -> Any:
    """A value as JSON knows it.

    Parameters
    ----------
    value : object
    what : str
        Its name, for the error.

    Raises
    ------
    TypeError
        If it can be stored by pickle only.
    """
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
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, nn.Module):
        return {"network": type(value).__name__}
    advice = "Set another value, or use joblib.dump"
    if isinstance(value, np.random.RandomState):
        advice = (
            "Only further fits would use it: set_params(random_state=None), or an "
            "integer, and save then"
        )
    raise TypeError(f"{what} cannot be stored without pickle. {advice}.")


def decoded(value: Any) -> Any:
    """The value that `encoded` was given, and a `Network` for a network.

    Raises
    ------
    ValueError
        If it is none that `encoded` makes.
    """
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
    if kind == "device" and isinstance(content, str):
        try:
            return torch.device(content)
        except RuntimeError as error:
            raise ValueError(f"{content!r} is not a device") from error
    if kind == "network" and isinstance(content, str):
        return Network(content)
    raise ValueError(f"an object of {sorted(value)} is no value")


def matches(value: Any, hint: Any) -> bool:
    """Whether a value is what a type annotation says.

    Parameters
    ----------
    value : object
    hint : type
        A class, None, or tuples, lists, dicts and unions of such. A float may be an
        int; a bool is neither.
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
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        wanted = int if hint is int else (int, float)
        return isinstance(value, wanted) and not isinstance(value, bool)
    return hint is Any or (isinstance(hint, type) and isinstance(value, hint))

"""A name for a training: equal where everything that it depends on is equal."""

import hashlib
import inspect
from typing import Any

import numpy as np
import sklearn
import torch
from torch import nn

__all__ = ["arrays", "digest", "identity"]


def identity(**depends_on: Any) -> str:
    """A name for a training, equal where everything that it depends on is.

    Parameters
    ----------
    **depends_on : dict
        Parameters, seeds and digests of rows. Networks count with their weights and
        their source code. The versions of skanogan, scikit-learn and torch are added.

    Returns
    -------
    identity : str
    """
    from skanogan import __version__

    versions = (__version__, sklearn.__version__, torch.__version__)
    told = hashlib.blake2b(repr(versions).encode(), digest_size=16)
    for name, value in sorted(depends_on.items()):
        told.update(f"{name}={_told(value)};".encode())
    return told.hexdigest()


def _told(value: Any) -> str:
    """A text that is equal for values that mean the same."""
    if isinstance(value, nn.Module):
        kinds = {type(module) for module in value.modules()}
        return repr((value, sorted(map(_source, kinds)), digest(arrays(value))))
    if isinstance(value, dict):
        return repr({key: _told(each) for key, each in sorted(value.items())})
    return repr(value.item() if isinstance(value, np.generic) else value)


def _source(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name.startswith("torch."):
        return name
    try:
        return name + inspect.getsource(kind)
    except (OSError, TypeError):  # defined in a console
        return name


def arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights and buffers of a network."""
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def digest(state: dict[str, np.ndarray]) -> str:
    """Of arrays and their names, in their order."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in state.items():
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()

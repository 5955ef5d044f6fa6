"""A name for a training: equal where everything that it depends on is equal."""

import hashlib
import inspect
from typing import Any

import joblib
import numpy as np
import sklearn
import torch
from torch import Tensor, nn

__all__ = ["arrays", "digest", "identity"]

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that torch gives to all: hooks, weights, whether in training."""


def identity(**depends_on: Any) -> str:
    """A name for a training, equal where everything that it depends on is.

    Parameters
    ----------
    **depends_on : dict
        Parameters, seeds and digests of rows. Networks count with their weights, their
        other attributes and their source code. The versions of skanogan, scikit-learn
        and torch are added.

    Returns
    -------
    identity : str

    Raises
    ------
    ValueError
        For a network with an attribute that cannot be pickled, and so not be compared.
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
        settings = [_settings(n, module) for n, module in value.named_modules()]
        kinds_told = sorted(map(_source, kinds))
        return repr((value, kinds_told, settings, digest(arrays(value.state_dict()))))
    if isinstance(value, dict):
        return repr({key: _told(each) for key, each in sorted(value.items())})
    return repr(value.item() if isinstance(value, np.generic) else value)


def _settings(name: str, module: nn.Module) -> dict[str, str]:
    """Attributes of a module that are no weights, buffers or modules."""
    told = {}
    for key, value in vars(module).items():
        if key in OF_EVERY_MODULE:
            continue
        if isinstance(value, Tensor):
            value = arrays({key: value})[key]
        try:
            told[key] = joblib.hash(value)
        except Exception as error:
            raise ValueError(
                f"{type(module).__name__}.{key} ({name or 'the network'}) cannot be "
                f"pickled ({error}), so that memory and checkpoint cannot tell this "
                "network from others. Name functions instead of writing lambda."
            ) from error
    return told


def _source(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name.startswith("torch."):
        return name
    try:
        return name + inspect.getsource(kind)
    except (OSError, TypeError):  # defined in a console
        return name


def arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The tensors of a state as arrays; bfloat16, which NumPy lacks, as float32."""
    found = {name: value.detach().cpu() for name, value in state.items()}
    return {
        name: (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        for name, value in found.items()
    }


def digest(state: dict[str, np.ndarray]) -> str:
    """Of arrays and their names, in their order."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in state.items():
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()

"""Cache keys: equal for two trainings if everything that they depend on is equal."""

import hashlib
import inspect
from typing import Any

import joblib
import numpy as np
import sklearn
import torch
from torch import Tensor, nn

from skanogan._version import __version__

__all__ = ["arrays", "cache_key", "digest"]

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that every module has, such as hooks and weights."""


def cache_key(**depends_on: Any) -> str:
    """Compute a key that is equal if everything that a training depends on is equal.

    The arguments are parameters, seeds and digests of rows. A network enters with its
    weights, its other attributes and its source code. The versions of skanogan,
    scikit-learn and torch are added. ValueError is raised if an attribute of a network
    cannot be pickled, and so cannot be compared.
    """
    versions = (__version__, sklearn.__version__, torch.__version__)
    key = hashlib.blake2b(repr(versions).encode(), digest_size=16)
    for name, value in sorted(depends_on.items()):
        key.update(f"{name}={_text(value)};".encode())
    return key.hexdigest()


def _text(value: Any) -> str:
    """Write a value as a text that is equal for equal values."""
    if isinstance(value, nn.Module):
        kinds = {type(module) for module in value.modules()}
        settings = [_settings(n, module) for n, module in value.named_modules()]
        sources = sorted(map(_source, kinds))
        return repr((value, sources, settings, digest(arrays(value.state_dict()))))
    if isinstance(value, dict):
        return repr({key: _text(each) for key, each in sorted(value.items())})
    return repr(value.item() if isinstance(value, np.generic) else value)


def _settings(name: str, module: nn.Module) -> dict[str, str]:
    """Hash the attributes of a module that are not weights, buffers or modules."""
    hashes = {}
    for key, value in vars(module).items():
        if key in OF_EVERY_MODULE:
            continue
        if isinstance(value, Tensor):
            value = arrays({key: value})[key]
        try:
            hashes[key] = joblib.hash(value)
        except Exception as error:
            raise ValueError(
                f"{type(module).__name__}.{key} ({name or 'the network'}) cannot be "
                f"pickled ({error}). memory and checkpoint need this to compare "
                "networks. Use named functions instead of lambda."
            ) from error
    return hashes


def _source(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name.startswith("torch."):
        return name
    try:
        return name + inspect.getsource(kind)
    except (OSError, TypeError):  # defined in a console
        return name


def arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Convert the tensors of a state to arrays.

    bfloat16, which NumPy lacks, becomes float32.
    """
    found = {name: value.detach().cpu() for name, value in state.items()}
    return {
        name: (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        for name, value in found.items()
    }


def digest(state: dict[str, np.ndarray]) -> str:
    """Compute the digest of arrays and their names, in their order."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in state.items():
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()

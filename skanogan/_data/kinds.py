"""Refuse objects that hold no rows, and say what to pass instead."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from skanogan._data.image_files import is_path

__all__ = ["columns_of", "refuse_kinds", "without_gradients"]


def refuse_kinds(X: Any, name: str = "X", *, takes_files: bool = False) -> None:
    """Raise TypeError if X is of a kind that must be read or collected first.

    `name` is what the argument is called. `takes_files` says whether paths and
    generators are allowed.
    """
    remedy = None
    if X is None:
        remedy = "Pass the rows"
    elif isinstance(X, DataLoader):
        remedy = f"Pass its rows: torch.cat([batch[0] for batch in {name}])"
    elif isinstance(X, Dataset):
        remedy = f"Pass its rows: [item[0] for item in {name}]"
    elif hasattr(X, "collect_schema") and hasattr(X, "lazy"):
        # A data frame of polars has both methods, and rows.
        remedy = None if hasattr(X, "to_numpy") else f"Pass {name}.collect()"
    elif hasattr(X, "getbands"):
        remedy = f"It is one picture. Pass numpy.asarray({name})[None]"
    elif isinstance(X, Mapping) and not hasattr(X, "shape"):  # not a sparse array
        remedy = f"Pass pandas.DataFrame({name})"
    elif takes_files:
        return
    elif isinstance(X, Iterator | Set):
        remedy = f"Pass list({name})"
    elif is_path(X) or (isinstance(X, list | tuple) and X and is_path(X[0])):
        remedy = (
            "Read the files first, for instance with pandas.read_csv. For files of "
            "images, use skanogan.image.PatchDetector"
        )
    if remedy is not None:
        raise TypeError(
            f"{name} is a {type(X).__name__}, not an array, a data frame or a list of "
            f"rows of numbers. {remedy}."
        )


def without_gradients(X: Any) -> Any:
    """Detach tensors, also in a list, and widen bfloat16, which NumPy lacks."""
    if isinstance(X, torch.Tensor):
        X = X.detach()
        return X.float() if X.dtype == torch.bfloat16 else X
    if isinstance(X, list | tuple) and any(isinstance(x, torch.Tensor) for x in X):
        return [without_gradients(x) for x in X]
    return X


def columns_of(X: Any) -> list[tuple[Any, Any]] | None:
    """Return the name and the type of each column of a data frame, or None.

    The frames are those of pandas, polars and pyarrow.
    """
    schema: Any = getattr(X, "schema", None)
    if hasattr(schema, "types"):  # pyarrow
        return list(zip(schema.names, schema.types, strict=True))
    if hasattr(X, "columns") and hasattr(X, "dtypes") and np.ndim(X.columns) == 1:
        return list(zip(X.columns, X.dtypes, strict=True))
    return None

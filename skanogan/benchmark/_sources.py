"""Where labelled rows come from: scikit-learn, ``.npz`` files, IDX folders, OpenML.

Every source is read into the same `Rows`, by a string that names it, so that a task
is a small picklable value and each worker process reads its data by itself.
"""

import functools
import gzip
import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skanogan.benchmark._errors import UsageError

__all__ = ["EMBEDDED", "Rows", "read_idx", "read_rows", "source_names"]

EMBEDDED = ("digits", "breast_cancer", "wine")
"""The sources that need neither files nor network."""

_MOST_CLASSES = 50

_IDX_PARTS = {
    "x_train": "*train-images*",
    "y_train": "*train-labels*",
    "x_test": "*t*-images*",
    "y_test": "*t*-labels*",
}
_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with labels, before any protocol has split them.

    Parameters
    ----------
    X : ndarray of shape (n, n_features), (n, H, W) or (n, H, W, C)
        The rows, in the dtype they came in.
    y : ndarray of shape (n,)
        Their labels.
    normal : tuple
        The labels which are taken for normal, one task each.
    protocol : str or None
        What ``--protocol auto`` means here; None where the user has to choose.
    n_train : int or None
        The first `n_train` rows are the official training part, if there is one.
    """

    X: np.ndarray
    y: np.ndarray
    normal: tuple[Any, ...]
    protocol: str | None
    n_train: int | None = None


def source_names(data: str) -> list[str]:
    """Sources behind one DATA argument: one name for each data set.

    Parameters
    ----------
    data : str
        ``embedded``, one of its parts, a ``.npz`` file, a folder of such files, a
        folder of IDX files, or ``openml:NAME``.

    Returns
    -------
    names : list of str
        Strings that `read_rows` understands.
    """
    if data == "embedded":
        return list(EMBEDDED)
    if data in EMBEDDED or data.startswith("openml:"):
        return [data]
    path = Path(data)
    if path.is_dir():
        if any(path.glob(_IDX_PARTS["x_train"])):
            return [str(path)]
        files = sorted(str(file) for file in path.glob("*.npz"))
        if files:
            return files
        raise UsageError(
            f"the folder {data} holds neither .npz files nor IDX files such as "
            "train-images-idx3-ubyte.gz"
        )
    if path.is_file() and path.suffix == ".npz":
        return [str(path)]
    what = "is not a .npz file" if path.is_file() else "does not exist"
    raise UsageError(
        f"{data} {what}; expected {', '.join(('embedded', *EMBEDDED))}, a .npz file, "
        "a folder of .npz or IDX files, or openml:NAME"
    )


@functools.lru_cache(maxsize=2)
def read_rows(source: str) -> Rows:
    """Read one source; the two last read are kept, for the cells that follow.

    Parameters
    ----------
    source : str
        A name from `source_names`.

    Returns
    -------
    rows : Rows
        The labelled rows.
    """
    if source in EMBEDDED:
        return _read_embedded(source)
    if source.startswith("openml:"):
        return _read_openml(source.removeprefix("openml:"))
    if Path(source).is_dir():
        return _with_parts(source, _read_idx_folder(Path(source)))
    return _read_npz(source)


def _read_embedded(name: str) -> Rows:
    from sklearn import datasets

    if name == "digits":
        digits = datasets.load_digits()
        return Rows(digits.images, digits.target, tuple(range(10)), "p1-70")
    if name == "wine":
        X, y = datasets.load_wine(return_X_y=True)
        return Rows(X, y, (0, 1, 2), "table")
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return Rows(X, y, (1,), "table")  # 1 is benign: the healthy are the normal ones


def _read_npz(source: str) -> Rows:
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{source} cannot be read: {error}") from error
    if set(_IDX_PARTS) <= set(arrays):
        return _with_parts(source, arrays)
    if not {"x", "y"} <= set(arrays):
        raise UsageError(
            f"{source} holds {', '.join(sorted(arrays)) or 'nothing'}; expected X and "
            "y, or x_train, y_train, x_test and y_test: "
            "numpy.savez(path, X=rows, y=labels)"
        )
    X, y = arrays["x"], _labels(source, arrays["y"])
    _check_rows(source, X, y)
    found = set(y.tolist())
    protocol = "table" if X.ndim == 2 else "p1"
    if found == {0, 1}:
        return Rows(X, y, (0,), protocol)
    if found == {1, -1}:
        return Rows(X, y, (1,), protocol)
    return Rows(X, y, _classes(source, y), None)


def _with_parts(source: str, arrays: dict[str, np.ndarray]) -> Rows:
    n_train = len(arrays["x_train"])
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise UsageError(
            f"{source}: training rows are {arrays['x_train'].shape[1:]}, test rows "
            f"{arrays['x_test'].shape[1:]}; expected the same shape"
        )
    X = np.concatenate([arrays["x_train"], arrays["x_test"]])
    y = np.concatenate([_labels(source, arrays[k]) for k in ("y_train", "y_test")])
    _check_rows(source, X, y)
    return Rows(X, y, _classes(source, y), "p2", n_train)


def _read_openml(name: str) -> Rows:
    from sklearn.datasets import fetch_openml

    name, _, version = name.partition(":")
    try:
        X, y = fetch_openml(
            name,
            version=int(version) if version else "active",
            as_frame=False,
            parser="liac-arff",  # the one that needs no pandas
            return_X_y=True,
        )
    except (OSError, ValueError) as error:  # URLError is an OSError
        raise UsageError(
            f"openml:{name} could not be fetched ({error}); it needs the network once, "
            "afterwards scikit-learn keeps a copy. Without a network give a .npz file"
        ) from error
    if not isinstance(X, np.ndarray) or not np.issubdtype(X.dtype, np.number):
        raise UsageError(f"openml:{name} is not a dense numeric table")
    y = np.asarray(y).astype(str)
    return Rows(X, y, _classes(f"openml:{name}", y), "table")


def _read_idx_folder(folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for part, pattern in _IDX_PARTS.items():
        found = sorted(folder.glob(pattern))
        if part.endswith("test"):  # t10k-, or test-; "t*" also finds train-
            found = [file for file in found if "train-" not in file.name]
        if not found:
            raise UsageError(f"{folder} has no IDX file like {pattern}")
        arrays[part] = read_idx(found[0])
    return arrays


def read_idx(path: str | Path) -> np.ndarray:
    """Read one IDX file, the format MNIST is distributed in.

    Parameters
    ----------
    path : str or Path
        The file, compressed if its name ends in ``.gz``.

    Returns
    -------
    array : ndarray
        Its content, in the shape and dtype the header states.
    """
    path = Path(path)
    opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    with opened as file:
        content = file.read()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise UsageError(f"{path} is not an IDX file")
    dtype, n_axes = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise UsageError(f"{path} is cut short")
    shape = struct.unpack_from(f">{n_axes}I", content, 4)
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise UsageError(
            f"{path} holds {len(content) - start} bytes after its header, expected "
            f"{expected} for the shape {shape}"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _labels(source: str, y: np.ndarray) -> np.ndarray:
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise UsageError(f"{source}: y has the shape {y.shape}, expected (n,)")
    if np.issubdtype(y.dtype, np.floating) and np.all(y == np.round(y)):
        y = y.astype(np.int64)
    if y.dtype == bool or np.issubdtype(y.dtype, np.integer):
        return y.astype(np.int64)
    raise UsageError(
        f"{source}: y is {y.dtype}; expected 0 (normal) and 1 (anomaly), or 1 and -1, "
        "or integer classes: y = (labels != the_normal_label).astype(int)"
    )


def _check_rows(source: str, X: np.ndarray, y: np.ndarray) -> None:
    if X.ndim not in (2, 3, 4) or len(X) != len(y):
        raise UsageError(
            f"{source}: X has the shape {X.shape} and y {y.shape}; expected rows "
            "(n, n_features), (n, H, W) or (n, H, W, C) and as many labels"
        )


def _classes(source: str, y: np.ndarray) -> tuple[Any, ...]:
    classes = tuple(np.unique(y).tolist())
    if not 2 <= len(classes) <= _MOST_CLASSES:
        raise UsageError(
            f"{source}: y holds {len(classes)} distinct values; expected 0 (normal) "
            "and 1 (anomaly), or 1 and -1, or a few integer classes: "
            "y = (labels != the_normal_label).astype(int)"
        )
    return classes

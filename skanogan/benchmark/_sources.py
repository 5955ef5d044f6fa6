"""Read labelled rows from scikit-learn, ``.npz`` files, IDX folders or OpenML.

A string names each source. Tasks are therefore small and picklable, and each worker
process reads its own data.
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

__all__ = [
    "EMBEDDED",
    "LabelledRows",
    "UsageError",
    "read_idx",
    "read_rows",
    "source_names",
]

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


class UsageError(ValueError):
    """Arguments that cannot be run. The command line prints the message in one line."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Labelled rows before they are split.

    Each label in `normal` makes one task. `protocol` is what "auto" stands for; if
    None, the user has to choose. The first `n_train` rows, if any, are the official
    training part.
    """

    X: np.ndarray
    y: np.ndarray
    normal: tuple[Any, ...]
    protocol: str | None
    n_train: int | None = None


def source_names(data: str) -> list[str]:
    """List the data sets, as `read_rows` takes them, that one DATA argument names."""
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
            f"the folder {data} has no .npz files and no IDX files such as "
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
def read_rows(source: str) -> LabelledRows:
    """Read one source. The last two are cached for the next cells."""
    if source in EMBEDDED:
        return _read_embedded(source)
    if source.startswith("openml:"):
        return _read_openml(source.removeprefix("openml:"))
    if Path(source).is_dir():
        return _with_parts(source, _read_idx_folder(Path(source)))
    return _read_npz(source)


def _read_embedded(name: str) -> LabelledRows:
    from sklearn import datasets

    if name == "digits":
        digits = datasets.load_digits()
        return LabelledRows(digits.images, digits.target, tuple(range(10)), "p1-70")
    if name == "wine":
        X, y = datasets.load_wine(return_X_y=True)
        return LabelledRows(X, y, (0, 1, 2), "table")
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return LabelledRows(X, y, (1,), "table")  # 1 is benign


def _read_npz(source: str) -> LabelledRows:
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{source} cannot be read: {error}") from error
    if set(_IDX_PARTS) <= set(arrays):
        return _with_parts(source, arrays)
    if not {"x", "y"} <= set(arrays):
        raise UsageError(
            f"{source} holds the arrays {', '.join(sorted(arrays)) or 'none'}; "
            "expected X and y, or x_train, y_train, x_test and y_test. Write them with "
            "numpy.savez(path, X=rows, y=labels)"
        )
    X, y = arrays["x"], _labels(source, arrays["y"])
    _check_rows(source, X, y)
    found = set(y.tolist())
    protocol = "table" if X.ndim == 2 else "p1"
    if found == {0, 1}:
        return LabelledRows(X, y, (0,), protocol)
    if found == {1, -1}:
        return LabelledRows(X, y, (1,), protocol)
    return LabelledRows(X, y, _classes(source, y), None)


def _with_parts(source: str, arrays: dict[str, np.ndarray]) -> LabelledRows:
    n_train = len(arrays["x_train"])
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise UsageError(
            f"{source}: rows of x_train have the shape {arrays['x_train'].shape[1:]}, "
            f"those of x_test {arrays['x_test'].shape[1:]}; expected equal shapes"
        )
    X = np.concatenate([arrays["x_train"], arrays["x_test"]])
    y = np.concatenate([_labels(source, arrays[k]) for k in ("y_train", "y_test")])
    _check_rows(source, X, y)
    return LabelledRows(X, y, _classes(source, y), "p2", n_train)


def _read_openml(name: str) -> LabelledRows:
    from sklearn.datasets import fetch_openml

    name, _, version = name.partition(":")
    try:
        X, y = fetch_openml(
            name,
            version=int(version) if version else "active",
            as_frame=False,
            parser="liac-arff",  # needs no pandas
            return_X_y=True,
        )
    except (OSError, ValueError) as error:  # URLError is an OSError
        raise UsageError(
            f"openml:{name} could not be downloaded ({error}). scikit-learn downloads "
            "a data set once and keeps a copy. Without a network, pass a .npz file"
        ) from error
    if not isinstance(X, np.ndarray) or not np.issubdtype(X.dtype, np.number):
        raise UsageError(
            f"openml:{name} is not a dense numeric table; name another data set"
        )
    y = np.asarray(y).astype(str)
    return LabelledRows(X, y, _classes(f"openml:{name}", y), "table")


def _read_idx_folder(folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for part, pattern in _IDX_PARTS.items():
        found = sorted(folder.glob(pattern))
        if part.endswith("test"):  # t10k-, or test-; "t*" also finds train-
            found = [file for file in found if "train-" not in file.name]
        if not found:
            raise UsageError(
                f"{folder} has no file {pattern}; expected the four IDX files of MNIST"
            )
        arrays[part] = read_idx(found[0])
    return arrays


def read_idx(path: str | Path) -> np.ndarray:
    """Read one IDX file, the format of MNIST, compressed if its name ends in .gz."""
    path = Path(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise UsageError(f"{path} is not an IDX file")
    dtype, n_axes = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise UsageError(f"{path} ends within its header; copy the file again")
    shape = struct.unpack_from(f">{n_axes}I", content, 4)
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise UsageError(
            f"{path} has {len(content) - start} bytes after its header; expected "
            f"{expected} for the shape {shape}. Copy the file again"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _labels(source: str, y: np.ndarray) -> np.ndarray:
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise UsageError(f"{source}: y has the shape {y.shape}; expected (n,)")
    if np.issubdtype(y.dtype, np.floating) and np.all(y == np.round(y)):
        y = y.astype(np.int64)
    if y.dtype == bool or np.issubdtype(y.dtype, np.integer):
        return y.astype(np.int64)
    raise UsageError(
        f"{source}: y has the dtype {y.dtype}; expected 0 (normal) and 1 (anomaly), or "
        "1 and -1, or integer classes. Convert with "
        "y = (labels != the_normal_label).astype(int)"
    )


def _check_rows(source: str, X: np.ndarray, y: np.ndarray) -> None:
    if X.ndim not in (2, 3, 4) or len(X) != len(y):
        raise UsageError(
            f"{source}: X has the shape {X.shape} and y {y.shape}; expected "
            "(n, n_features), (n, H, W) or (n, H, W, C), and n labels"
        )


def _classes(source: str, y: np.ndarray) -> tuple[Any, ...]:
    classes = tuple(np.unique(y).tolist())
    if not 2 <= len(classes) <= _MOST_CLASSES:
        raise UsageError(
            f"{source}: y holds {len(classes)} distinct values; expected 0 (normal) "
            f"and 1 (anomaly), or 1 and -1, or 2 to {_MOST_CLASSES} integer classes. "
            "Convert with y = (labels != the_normal_label).astype(int)"
        )
    return classes

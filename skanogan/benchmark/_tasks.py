"""Tasks: which rows train, which rows test, decided by a seed.

Training rows are always normal and never tested. No row is duplicated: sampling small
tables with replacement before splitting them would put copies of test rows into the
training part.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skanogan.benchmark._errors import UsageError
from skanogan.benchmark._sources import Rows, read_rows, source_names

__all__ = ["PROTOCOLS", "Split", "Task", "load_tasks"]

PROTOCOLS = {
    "p1": "80 % of a class trains; tests: the other 20 % and as many of other classes",
    "p1-70": "70 % of a class trains; tests: the other 30 % and as many of others",
    "p2": "a class of the official training part trains; tests: all of the test part",
    "table": "half of the normal rows (at most 5,000) trains; tests: the other half "
    "and all anomalies (at most 5,000 each); standardised with the training rows",
}
"""What each protocol does, in words."""

_TABLE_ROWS = 5_000


class Split(NamedTuple):
    """Rows to train on, rows to test on, and which of these are normal.

    Attributes
    ----------
    X_train : ndarray of shape (n_train, ...)
        Normal rows only.
    X_test : ndarray of shape (n_test, ...)
        Normal rows and anomalies.
    y_test : ndarray of shape (n_test,)
        +1 for normal, -1 for anomalies, as scikit-learn's detectors predict.
    """

    X_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Task:
    """One thing to detect: a data set, the label that is normal, and a protocol.

    Parameters
    ----------
    name : str
        What tables and pictures call it.
    source : str
        Where the rows come from, a name `skanogan.benchmark.load_tasks` understands.
    protocol : str
        How they are split, a key of `PROTOCOLS`.
    normal : int or str
        The label of the normal rows; all other rows are anomalies.
    limit : int, default=None
        At most so many rows to train and so many to test, for a quick look.
    digest : str, default=""
        Fingerprint of the data, so that results of other data are not mistaken for
        results of these.

    Examples
    --------
    >>> from skanogan.benchmark import load_tasks
    >>> task = load_tasks("digits", classes=[8])[0]
    >>> task.name
    'digits 8'
    >>> X_train, X_test, y_test = task.split(0)
    >>> X_train.shape, X_test.shape
    ((121, 8, 8), (106, 8, 8))
    """

    name: str
    source: str
    protocol: str
    normal: Any
    limit: int | None = None
    digest: str = ""

    def split(self, seed: int) -> Split:
        """Split the rows; the same seed gives the same split.

        Parameters
        ----------
        seed : int
            Decides which normal rows train and which anomalies test.

        Returns
        -------
        split : Split
            ``(X_train, X_test, y_test)``.
        """
        rows, rng = read_rows(self.source), np.random.RandomState(seed)
        is_normal = rows.y == self.normal
        if self.protocol == "p2":
            train, test = _official_parts(rows, is_normal)
        elif self.protocol == "table":
            train, test = _half(is_normal, rng)
        else:
            share = {"p1": 0.8, "p1-70": 0.7}[self.protocol]
            train, test = _one_class(is_normal, share, rng)
        if self.limit is not None:
            train = np.sort(rng.permutation(train)[: self.limit])
            test = _limited_test(test, is_normal, self.limit, rng)
        X_train, X_test = rows.X[train], rows.X[test]
        if self.protocol == "table" and rows.X.ndim == 2:
            X_train, X_test = _standardised(X_train, X_test)
        return Split(X_train, X_test, np.where(is_normal[test], 1, -1))


def load_tasks(
    data: str | Iterable[str] = "embedded",
    *,
    protocol: str = "auto",
    classes: Iterable[Any] | None = None,
    limit: int | None = None,
) -> list[Task]:
    """Tasks from data sets.

    Parameters
    ----------
    data : str or iterable of str, default="embedded"
        - ``"embedded"``: what scikit-learn brings along, which is ``"digits"``,
          ``"breast_cancer"`` and ``"wine"``; each may also be named alone;
        - a ``.npz`` file with X and y, y being 0 (normal) and 1 (anomaly), or 1 and
          -1, or integer classes if a protocol is chosen;
        - a ``.npz`` file with x_train, y_train, x_test and y_test;
        - a folder of ``.npz`` files, one data set each;
        - a folder of IDX files (``train-images-idx3-ubyte.gz`` ...);
        - ``"openml:NAME"`` or ``"openml:NAME:VERSION"``.
    protocol : {"auto", "p1", "p1-70", "p2", "table"}, default="auto"
        How to split, see `PROTOCOLS`. "auto" takes "p1-70" for digits, "p2" where
        there is an official test part, "table" for tables, "p1" for other images.
    classes : iterable, default=None
        Only the tasks with these labels as the normal one.
    limit : int, default=None
        At most so many rows to train and so many to test.

    Returns
    -------
    tasks : list of Task
        One task for each data set and normal label.
    """
    if protocol not in ("auto", *PROTOCOLS):
        raise UsageError(
            f"unknown protocol {protocol!r}; expected auto, {', '.join(PROTOCOLS)}"
        )
    if limit is not None and limit < 2:
        raise UsageError(f"limit is {limit}; expected at least 2 rows")
    wanted = None if classes is None else {str(label) for label in classes}
    data = [data] if isinstance(data, str) else list(data)
    tasks: list[Task] = []
    labels: list[str] = []
    for source in dict.fromkeys(name for item in data for name in source_names(item)):
        rows = read_rows(source)
        chosen = _protocol(source, rows, protocol, wanted is not None)
        digest = f"{zlib.crc32(np.ascontiguousarray(rows.X)):08x}"
        digest += f"{zlib.crc32(np.ascontiguousarray(rows.y)):08x}"
        labels += map(str, rows.normal)
        for label in rows.normal:
            if wanted is None or str(label) in wanted:
                name = _task_name(source, label, single=len(rows.normal) == 1)
                tasks.append(Task(name, source, chosen, label, limit, digest))
    if not tasks:
        raise UsageError(
            f"no task has one of the classes {', '.join(sorted(wanted or ()))}; "
            f"there are {', '.join(dict.fromkeys(labels))}"
        )
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two data sets are called {twice[0]!r}; rename one file")
    return tasks


def _protocol(source: str, rows: Rows, protocol: str, classes_given: bool) -> str:
    if protocol == "p2" and rows.n_train is None:
        raise UsageError(
            f"protocol p2 needs an official test part, which {source} does not have; "
            "use p1 or table"
        )
    if protocol != "auto":
        return protocol
    if rows.protocol is not None:
        return rows.protocol
    if classes_given:
        return "table" if rows.X.ndim == 2 else "p1"
    raise UsageError(
        f"{source}: y holds {len(rows.normal)} classes ({rows.normal[0]} ... "
        f"{rows.normal[-1]}), expected 0 (normal) and 1 (anomaly), or 1 and -1; choose "
        "--protocol p1 to make each class the normal one in turn, or --classes to name "
        "the normal ones, or convert: y = (labels != the_normal_label).astype(int)"
    )


def _task_name(source: str, label: Any, single: bool) -> str:
    stem = source.removeprefix("openml:").replace("\\", "/").rstrip("/")
    stem = stem.rpartition("/")[2].removesuffix(".npz")
    return stem if single else f"{stem} {label}"


def _one_class(
    is_normal: np.ndarray, share: float, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    normal = rng.permutation(np.flatnonzero(is_normal))
    others = rng.permutation(np.flatnonzero(~is_normal))
    n_train = int(share * len(normal))
    held_out = normal[n_train:]
    return normal[:n_train], np.concatenate([held_out, others[: len(held_out)]])


def _half(
    is_normal: np.ndarray, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    normal = rng.permutation(np.flatnonzero(is_normal))
    anomalies = rng.permutation(np.flatnonzero(~is_normal))
    half = len(normal) // 2
    train, held_out = normal[:half][:_TABLE_ROWS], normal[half:][:_TABLE_ROWS]
    return train, np.concatenate([held_out, anomalies[:_TABLE_ROWS]])


def _official_parts(rows: Rows, is_normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    assert rows.n_train is not None  # load_tasks has seen to it
    return np.flatnonzero(is_normal[: rows.n_train]), np.arange(
        rows.n_train, len(rows.y)
    )


def _limited_test(
    test: np.ndarray, is_normal: np.ndarray, limit: int, rng: np.random.RandomState
) -> np.ndarray:
    """At most `limit` test rows, of both kinds in about the old proportion."""
    if len(test) <= limit:
        return test
    test = rng.permutation(test)
    normal, anomalies = test[is_normal[test]], test[~is_normal[test]]
    n_normal = round(limit * len(normal) / len(test))
    n_normal = min(max(n_normal, 1), limit - 1)
    return np.concatenate([normal[:n_normal], anomalies[: limit - n_normal]])


def _standardised(
    X_train: np.ndarray, X_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    X_train, X_test = X_train.astype(np.float64), X_test.astype(np.float64)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test)

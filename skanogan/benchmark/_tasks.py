"""Split labelled rows into training and test rows by a seed.

Training rows are normal and never tested, except for the protocol "unlabelled", which
fits and scores all rows, and for the anomalies that `contamination` asks for. No row is
duplicated: if small tables were sampled with replacement, copies of test rows would be
trained on.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler

from skanogan.benchmark._sources import (
    LabelledRows,
    UsageError,
    read_rows,
    source_names,
)

__all__ = ["PROTOCOLS", "Task", "TrainTest", "load_tasks"]

PROTOCOLS = {
    "p1": "train on 80 % of a class; test on the rest and as many of other classes",
    "p1-70": "train on 70 % of a class; test on the rest and as many of other classes",
    "p2": "train on a class of the official training part; test on the test part",
    "table": "train on half of the normal rows; test on the other half and all "
    "anomalies (at most 5,000 of each); standardise by the training rows",
    "unlabelled": "fit all rows without their labels and score the same rows (at most "
    "5,000; of data with classes, one class and a tenth of others); standardise tables",
}
"""Description of each protocol."""

_TABLE_ROWS = 5_000

_OTHERS = 0.1
"""Share of anomalies in a class with a tenth of others."""


class TrainTest(NamedTuple):
    """Normal rows to train on, rows to test on, and the labels of the latter."""

    X_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Task:
    """A data set, its normal label, and a protocol.

    Parameters
    ----------
    name : str
        Name in tables and plots.
    source : str
        A data set as `skanogan.benchmark.load_tasks` takes it.
    protocol : str
        A key of `PROTOCOLS`.
    normal : int or str
        The label of the normal rows; all other rows are anomalies.
    limit : int, default=None
        Most training rows and most test rows.
    contamination : float, default=0.0
        Share of anomalies among the training rows. They are not tested.
    digest : str, default=""
        Checksum of the data. Cached results of other data are not used.

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
    contamination: float = 0.0
    digest: str = ""

    def split(self, seed: int) -> TrainTest:
        """Split the rows. Equal seeds give equal splits.

        Parameters
        ----------
        seed : int
            Seed of the split.

        Returns
        -------
        split : TrainTest
            ``(X_train, X_test, y_test)``.
        """
        rows, rng = read_rows(self.source), np.random.RandomState(seed)
        is_normal = rows.y == self.normal
        if self.protocol == "unlabelled":
            train = test = _mixed(is_normal, set(rows.normal), self.limit, rng)
        elif self.protocol == "p2":
            assert rows.n_train is not None  # checked by load_tasks
            train = np.flatnonzero(is_normal[: rows.n_train])
            test = np.arange(rows.n_train, len(rows.y))
        else:
            train, test = _divided(is_normal, self.protocol, rng)
        if self.limit is not None and self.protocol != "unlabelled":
            train = np.sort(rng.permutation(train)[: self.limit])
            test = _limited_test(test, is_normal, self.limit, rng)
        if self.contamination:
            train, test = self._contaminated(train, test, is_normal, rows.n_train, rng)
        X_train, X_test = rows.X[train], rows.X[test]
        if self.protocol in ("table", "unlabelled") and rows.X.ndim == 2:
            X_train, X_test = X_train.astype(np.float64), X_test.astype(np.float64)
            scaler = StandardScaler().fit(X_train)
            X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
        return TrainTest(X_train, X_test, np.where(is_normal[test], 1, -1))

    def _contaminated(
        self,
        train: np.ndarray,
        test: np.ndarray,
        is_normal: np.ndarray,
        n_train: int | None,
        rng: np.random.RandomState,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move anomalies to the training rows, but at most half of those there are."""
        if self.protocol == "p2":
            found = np.flatnonzero(~is_normal[:n_train])
        else:
            found = test[~is_normal[test]]
        wanted = round(self.contamination / (1 - self.contamination) * len(train))
        moved = rng.permutation(found)[: min(wanted, len(found) // 2)]
        return rng.permutation(np.r_[train, moved]), np.setdiff1d(test, moved)


def load_tasks(
    data: str | Iterable[str] = "embedded",
    *,
    protocol: str = "auto",
    classes: Iterable[Any] | None = None,
    limit: int | None = None,
    contamination: float = 0.0,
) -> list[Task]:
    """Make tasks from data sets.

    Parameters
    ----------
    data : str or iterable of str, default="embedded"
        - ``"embedded"``: the data sets ``"digits"``, ``"breast_cancer"`` and ``"wine"``
          of scikit-learn, which can also be named one by one;
        - a ``.npz`` file with X and y. y is 0 (normal) and 1 (anomaly), or 1 and -1, or
          integer classes if a protocol is chosen;
        - a ``.npz`` file with x_train, y_train, x_test and y_test;
        - a folder of ``.npz`` files, one for each data set;
        - a folder of IDX files (``train-images-idx3-ubyte.gz`` ...);
        - ``"openml:NAME"`` or ``"openml:NAME:VERSION"``.
    protocol : {"auto", "p1", "p1-70", "p2", "table", "unlabelled"}, default="auto"
        How to split, see `PROTOCOLS`. "auto" is "p1-70" for digits, "p2" for data with
        an official test part, "table" for tables, and "p1" for other images.
    classes : iterable, default=None
        Only tasks with these normal labels.
    limit : int, default=None
        Most training rows and most test rows of each task.
    contamination : float, default=0.0
        Share of anomalies, below 0.5, among the training rows. At most half of the
        anomalies are taken for this, and none of them is tested.

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
        raise UsageError(f"limit is {limit}; expected 2 rows or more")
    if not 0 <= contamination < 0.5:
        raise UsageError(f"contamination is {contamination}; expected 0 to below 0.5")
    if contamination and protocol == "unlabelled":
        raise UsageError(
            "contamination is for training rows that are normal otherwise; the "
            "protocol unlabelled takes the rows as they are"
        )
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
                task = Task(name, source, chosen, label, limit, contamination, digest)
                tasks.append(task)
    if not tasks:
        raise UsageError(
            f"no task has one of the classes {', '.join(sorted(wanted or ()))}; "
            f"expected some of {', '.join(dict.fromkeys(labels))}"
        )
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two data sets are named {twice[0]!r}; rename one file")
    return tasks


def _protocol(
    source: str, rows: LabelledRows, protocol: str, classes_given: bool
) -> str:
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
        f"{rows.normal[-1]}); expected 0 (normal) and 1 (anomaly), or 1 and -1. Pass "
        "--protocol p1 to make each class the normal one in turn, or --classes to name "
        "the normal classes, or convert: y = (labels != the_normal_label).astype(int)"
    )


def _task_name(source: str, label: Any, single: bool) -> str:
    stem = source.removeprefix("openml:").replace("\\", "/").rstrip("/")
    stem = stem.rpartition("/")[2].removesuffix(".npz")
    return stem if single else f"{stem} {label}"


def _mixed(
    is_normal: np.ndarray,
    normal: set[Any],
    limit: int | None,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Find the positions of all rows, or of one of several classes with some others."""
    some, others = np.flatnonzero(is_normal), np.flatnonzero(~is_normal)
    if len(normal) > 1:
        n_others = round(_OTHERS / (1 - _OTHERS) * len(some))
        others = rng.permutation(others)[: max(n_others, 1)]
    rows = rng.permutation(np.r_[some, others])
    return rows[: limit or _TABLE_ROWS]


def _divided(
    is_normal: np.ndarray, protocol: str, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Find the positions of training rows and test rows under any protocol but p2."""
    most = _TABLE_ROWS if protocol == "table" else None
    normal = rng.permutation(np.flatnonzero(is_normal))
    others = rng.permutation(np.flatnonzero(~is_normal))
    n_train = int({"p1": 0.8, "p1-70": 0.7, "table": 0.5}[protocol] * len(normal))
    train, held_out = normal[:n_train][:most], normal[n_train:][:most]
    return train, np.concatenate([held_out, others[: most or len(held_out)]])


def _limited_test(
    test: np.ndarray, is_normal: np.ndarray, limit: int, rng: np.random.RandomState
) -> np.ndarray:
    """Take `limit` test rows; keep the share of anomalies."""
    if len(test) <= limit:
        return test
    test = rng.permutation(test)
    normal, anomalies = test[is_normal[test]], test[~is_normal[test]]
    n_normal = min(max(round(limit * len(normal) / len(test)), 1), limit - 1)
    return np.concatenate([normal[:n_normal], anomalies[: limit - n_normal]])

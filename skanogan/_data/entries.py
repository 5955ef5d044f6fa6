"""Name the columns and rows of entries that are no finite numbers."""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skanogan._data.kinds import columns_of

__all__ = ["explained", "first_names", "refuse_times"]

MOST_NAMED = 3
"""The number of columns that an error names."""

BLOCK = 4096
"""Rows that are searched at once."""

TIMES = ("date", "time", "duration", "period")
"""How the types of dates, times and durations begin, in all kinds of frames."""

KINDS = {
    "strings": "strings",
    "times": "dates or durations",
    "objects": "objects",
    # Last: a column of strings may have gaps, and must be encoded first.
    "NaN": "NaN",
    "infinity": "infinity",
}
"""The kinds of entries, and what a message calls them. The first one found is named."""

REMEDIES = {
    "NaN": "Missing values are not allowed. Put an imputer before the detector, such "
    "as make_pipeline(SimpleImputer(), detector), or leave out these rows.",
    "strings": "All columns must be numbers. Encode categories before the detector, "
    "with OneHotEncoder or OrdinalEncoder of sklearn.preprocessing, or leave out the "
    "column.",
    "times": "All columns must be numbers. Subtract a reference date and divide by a "
    "unit, such as (X[column] - start) / pandas.Timedelta('1h'). Divide durations by a "
    "unit alone.",
    "infinity": "All values must be finite. Replace it, or leave out these rows.",
    "objects": "All columns must be numbers. Convert the column, or leave it out.",
}

Found = dict[str, dict[int, tuple[int, Any]]]


def refuse_times(X: Any) -> None:
    """Raise ValueError if a data frame has columns of dates, times or durations.

    polars would turn them into numbers of a unit that nobody chose.
    """
    columns = columns_of(X) or []
    found = [
        f"{name!r} ({dtype})"
        for name, dtype in columns
        if str(dtype).lower().startswith(TIMES)
    ]
    if found:
        raise ValueError(
            f"X holds dates or durations in {_listed(found)}. {REMEDIES['times']}"
        )


def explained(X: Any, are_images: bool, error: Exception) -> Exception | None:
    """Return an error that names where X holds what `error` refuses, or None.

    X has two dimensions. Only the first kind of entries in `KINDS` is named.
    """
    try:
        found = _search(X)
    except (TypeError, ValueError):  # rows of several lengths, sparse rows
        return None
    kind = next((kind for kind in KINDS if found.get(kind)), None)
    if kind is None:
        return None
    places = found[kind]
    row, value = min(places.values(), key=lambda place: place[0])
    if hasattr(X, "iloc"):  # the name of the row, which stays if a wrapper splits rows
        row = X.index[row]
    if are_images:
        where = f"image {row}"
    else:
        names = [name for name, _ in columns_of(X) or []]
        columns = [repr(names[j]) if names else str(j) for j in sorted(places)]
        where = f"{_listed(columns)}, first in row {row}"
    shown = f" ({value!r:.40})" if kind in ("strings", "times") else ""
    message = f"X holds {KINDS[kind]} in {where}{shown}. {REMEDIES[kind]}"
    if kind == "objects":
        return TypeError(f"{message} ({error})")
    return ValueError(message)


def _search(X: Any) -> Found:
    """Find the first row and entry of each kind in each column."""
    found: Found = {}
    for start, block in _blocks(X):
        for j, column in enumerate(block.T):
            try:
                numbers = column.astype(float)
            except (TypeError, ValueError):
                kinds = np.array([_kind(entry) for entry in column])
            else:
                if np.isfinite(numbers).all():
                    continue
                kinds = np.where(np.isnan(numbers), "NaN", "")
                kinds = np.where(np.isinf(numbers), "infinity", kinds)
            for kind in set(kinds.tolist()) - {""}:
                i = int(np.argmax(kinds == kind))
                found.setdefault(kind, {}).setdefault(j, (start + i, column[i]))
    return found


def _blocks(X: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield some rows at a time, with their position, as arrays of two dimensions."""
    if np.iscomplexobj(X) or len(X) == 0:
        return
    for start in range(0, len(X), BLOCK):
        if hasattr(X, "iloc"):
            rows = X.iloc[start : start + BLOCK]
        elif hasattr(X, "slice"):  # polars, pyarrow
            rows = X.slice(start, BLOCK)
        else:
            rows = X[start : start + BLOCK]
        block = np.asarray(rows)
        if block.ndim != 2:
            raise ValueError("X has not two dimensions.")
        yield start, block


def _kind(entry: Any) -> str:
    """Return the kind of an entry, "" for a finite number."""
    if entry is None or type(entry).__name__ in ("NAType", "NaTType"):
        return "NaN"
    times = (datetime.date, datetime.time, datetime.timedelta, np.datetime64)
    if isinstance(entry, (*times, np.timedelta64)) or hasattr(entry, "freqstr"):
        return "times"
    try:
        number = float(entry)
    except (TypeError, ValueError):
        return "strings" if isinstance(entry, str | bytes) else "objects"
    return "NaN" if np.isnan(number) else "infinity" if np.isinf(number) else ""


def _listed(columns: Sequence[str]) -> str:
    return f"column{'s' * (len(columns) > 1)} {first_names(columns, MOST_NAMED)}"


def first_names(names: Sequence[str], most: int) -> str:
    """Write at most so many names, and how many more there are."""
    n_more = len(names) - most
    return ", ".join(names[:most]) + (f" and {n_more} more" * (n_more > 0))

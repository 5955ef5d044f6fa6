"""Errors that name the columns and rows of entries that are no numbers."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skanogan._data.entries import explained, refuse_times

DATE = dt.date(2026, 1, 31)


def message(X, are_images=False):
    return str(explained(X, are_images, ValueError("what NumPy says")))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["Rome", "Oslo"], dtype="str"),
        pd.Series(["Rome", "Oslo"], dtype=object),
        pd.Categorical(["Rome", "Oslo"]),
        pl.Series(["Rome", "Oslo"]),
        pl.Series(["Rome", "Oslo"], dtype=pl.Categorical),
        pl.Series(["Rome", "Oslo"], dtype=pl.Enum(["Rome", "Oslo"])),
    ],
)
def test_strings_and_categories_are_named_by_column_row_and_value(column):
    frame = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    found = message(frame({"n": [1.0, 2.0], "city": column}))
    assert "strings in column 'city', first in row 0 ('Rome')" in found
    assert "OneHotEncoder or OrdinalEncoder" in found


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT])
def test_missing_values_are_named_by_column_and_first_row(missing):
    X = np.ones((5000, 3), object)
    X[4999, 0] = X[4100, 2] = missing
    for rows, columns in ((X, "0, 2"), (pd.DataFrame(X, columns=[*"abc"]), "'a', 'c'")):
        found = message(rows)
        assert f"NaN in columns {columns}, first in row 4100" in found
        assert "make_pipeline(SimpleImputer(), detector)" in found


def test_a_column_of_strings_with_gaps_must_be_encoded_first():
    assert "strings in column 0, first in row 1" in message([[np.nan], ["a"]])


def test_infinity_is_named_by_column_and_row():
    X = np.ones((7, 3), np.float32)
    X[5, 1] = -np.inf
    assert "infinity in column 1, first in row 5" in message(X)
    assert "infinity in image 5." in message(X, are_images=True)


@pytest.mark.parametrize("entry", [{}, [1], object()])
def test_other_objects_are_named_with_the_error_of_numpy(entry):
    X = np.ones((3, 2), object)
    X[2, 1] = entry
    error = explained(X, False, TypeError("what NumPy says"))
    assert type(error) is TypeError
    assert "objects in column 1, first in row 2" in str(error)
    assert "(what NumPy says)" in str(error)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((3, 2)),
        [["1", "2.5"]],
        [[Decimal(1), True]],
        np.ones(3),
        [[1, 2], [3]],
        np.ones((3, 2)) + 1j,
        pl.DataFrame({"a": [1.0]}),
    ],
)
def test_numbers_and_what_has_no_columns_are_not_explained(X):
    assert explained(X, False, ValueError()) is None


def test_many_columns_are_counted():
    X = pd.DataFrame(np.full((2, 6), np.nan), columns=[*"abcdef"])
    assert "columns 'a', 'b', 'c' and 3 more, first in row 0" in message(X)


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (pd.DataFrame({"a": [1.0], "t": [pd.Timestamp(DATE)]}), "datetime64"),
        (pd.DataFrame({"a": [1.0], "t": [pd.Timestamp(DATE, tz="UTC")]}), ".*UTC"),
        (pd.DataFrame({"a": [1.0], "t": [pd.Timedelta("1h")]}), "timedelta64"),
        (pd.DataFrame({"a": [1.0], "t": [pd.Period("2026-01")]}), "period"),
        (pl.DataFrame({"a": [1.0], "t": [DATE]}), "Date"),
        (pl.DataFrame({"a": [1.0], "t": [dt.datetime(2026, 1, 31)]}), "Datetime"),
        (pl.DataFrame({"a": [1.0], "t": [dt.time(12)]}), "Time"),
        (pl.DataFrame({"a": [1.0], "t": [dt.timedelta(hours=1)]}), "Duration"),
    ],
)
def test_columns_of_times_are_named_with_their_type(frame, named):
    # Regression: polars turned them into numbers, and they were learned.
    with pytest.raises(ValueError, match=rf"durations in column 't' \({named}.*unit"):
        refuse_times(frame)
    refuse_times(frame[["a"]])


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (DATE, "date32"),
        (dt.datetime(2026, 1, 31), "timestamp"),
        (dt.time(1), "time64"),
        (dt.timedelta(hours=1), "duration"),
    ],
)
def test_times_of_pyarrow_are_named(entry, named):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": [1.0, 2.0], "t": [entry, entry]})
    for frame in (table, table.to_batches()[0]):
        with pytest.raises(ValueError, match=rf"column 't' \({named}"):
            refuse_times(frame)


@pytest.mark.parametrize(
    "entry", [DATE, dt.time(1), dt.timedelta(1), pd.Period("2026")]
)
def test_times_among_objects_are_named(entry):
    X = np.ones((3, 2), object)
    X[1, 1] = entry
    assert "dates or durations in column 1, first in row 1" in message(X)


def test_rows_of_pandas_are_named_by_their_index():
    X = pd.DataFrame({"a": [1.0, np.nan]}, index=["first", "second"])
    assert "column 'a', first in row second" in message(X)

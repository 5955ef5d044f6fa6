"""Rows of two tables, recombined cell by cell, in the container that they came in."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["StackedTables", "distances"]


class StackedTables:
    """The rows of X, and below them those of another table with the same columns.

    Parameters
    ----------
    X, others : DataFrame of pandas or polars, or array-like of shape (n, d), (m, d)
        Cells of any type. If X is a frame, the columns of `others` are those of X, in
        any order.
    names : tuple of str
        What error messages call the two.
    """

    def __init__(self, X: Any, others: Any, names: tuple[str, str]) -> None:
        self.is_frame = hasattr(X, "columns")
        if self.is_frame and not hasattr(others, "columns"):
            raise TypeError(
                f"{names[0]} is a data frame and {names[1]} is "
                f"{type(others).__name__}. Pass data frames with the same columns."
            )
        if self.is_frame:
            missing = [name for name in X.columns if name not in others.columns]
            if missing:
                raise ValueError(
                    f"{names[1]} has no column {missing[0]!r}, which {names[0]} has. "
                    "Pass data frames with the same columns."
                )
            others = others[list(X.columns)]
        else:
            X, others = _as_table(X, names[0]), _as_table(others, names[1])
            if X.shape[1] != others.shape[1]:
                raise ValueError(
                    f"{names[0]} has {X.shape[1]} columns and {names[1]} has "
                    f"{others.shape[1]}. Pass tables with the same columns."
                )
        self.n_rows, self.n_others = len(X), len(others)
        self.shape = (self.n_rows, X.shape[1])
        for n, name in ((self.n_rows, names[0]), (self.n_others, names[1])):
            if not n:
                raise ValueError(f"{name} has no rows. Pass at least one.")
        self.names = [str(name) for name in X.columns] if self.is_frame else None
        self._stacked = self._stack(X, others)

    def _stack(self, X: Any, others: Any) -> Any:
        if hasattr(X, "iloc"):
            import pandas as pd

            X, others = X.reset_index(drop=True), others.reset_index(drop=True)
            pairs = [(X.iloc[:, j], others.iloc[:, j]) for j in range(X.shape[1])]
            columns = {j: _one_below_the_other(*pair) for j, pair in enumerate(pairs)}
            return pd.DataFrame(columns).set_axis(X.columns, axis=1)
        if self.is_frame:
            import polars as pl

            return pl.concat([X, others], how="vertical_relaxed")
        return np.concatenate([X, others])

    def column(self, j: int) -> tuple[np.ndarray, bool]:
        """Cells of a column as floats, or as codes of the different values.

        Parameters
        ----------
        j : int
            Position of the column.

        Returns
        -------
        cells : ndarray of shape (n + m,), float64
            NaN for a missing value.
        is_number : bool
            Whether larger and smaller mean something.
        """
        if not self.is_frame:
            cells = self._stacked[:, j]
        elif hasattr(self._stacked, "iloc"):
            column = self._stacked.iloc[:, j]
            # Dates with a time zone would become objects.
            is_date = getattr(column.dtype, "kind", "") == "M"
            cells = column.to_numpy("M8[ns]" if is_date else None)
        else:
            cells = self._stacked.to_series(j).to_numpy()
        if cells.dtype.kind in "mM":
            missing = np.isnat(cells)
            return np.where(missing, np.nan, cells.astype("int64")), True
        if cells.dtype.kind in "biuf":
            return cells.astype(float), True
        missing = np.array([cell is None or cell != cell for cell in _safe(cells)])
        known = cells[~missing]
        codes = np.full(len(cells), np.nan)
        if all(isinstance(cell, (bool, int, float, np.number)) for cell in known):
            codes[~missing] = known.astype(float)
            return codes, True
        at = {text: code for code, text in enumerate(sorted(set(map(str, known))))}
        codes[~missing] = [at[str(cell)] for cell in known]
        return codes, False

    def rows(self, at: np.ndarray) -> Any:
        """Compose rows.

        Parameters
        ----------
        at : ndarray of shape (k, d), int
            For each cell, the row of X that it comes from, or n + the row of the other
            table.

        Returns
        -------
        rows : of the type of X, with k rows
        """
        table = self._stacked
        if not self.is_frame:
            return table[at, np.arange(at.shape[1])]
        if hasattr(table, "iloc"):
            import pandas as pd

            columns = [table.iloc[:, j].take(at[:, j]) for j in range(at.shape[1])]
            found = {j: c.reset_index(drop=True) for j, c in enumerate(columns)}
            return pd.DataFrame(found).set_axis(table.columns, axis=1)
        import polars as pl

        return pl.DataFrame(
            [table.to_series(j).gather(at[:, j]) for j in range(at.shape[1])]
        )


def distances(cells: np.ndarray, others: np.ndarray, is_number: bool) -> np.ndarray:
    """Compare the cells of a column with those of other rows.

    Parameters
    ----------
    cells : ndarray of shape (n,)
        NaN for a missing value.
    others : ndarray of shape (m,)
        The same.
    is_number : bool
        The distance of two numbers is the larger of two shares: that of `others`
        between them, and their difference divided by the range of the middle 90 % of
        `others`, at most 1. The first depends on no unit or extreme value. The second
        counts gaps without rows. Other values differ by 0 or 1. So do a missing value
        and a known one.

    Returns
    -------
    distances : ndarray of shape (n, m)
        From 0 to 1.
    """
    if is_number:
        known = np.sort(others[~np.isnan(others)])
        ranks, of_others = (
            # The middle of equal values.
            (np.searchsorted(known, x) + np.searchsorted(known, x, "right"))
            / (2 * max(len(known), 1))
            for x in (cells, others)
        )
        found = np.abs(ranks[:, None] - of_others)
        low, high = np.quantile(known, [0.05, 0.95]) if len(known) else (0.0, 0.0)
        if low < high:
            gaps = np.abs(cells[:, None] - others) / (high - low)
            found = np.maximum(found, np.minimum(gaps, 1))
    else:
        found = (cells[:, None] != others).astype(float)
    one, other = np.isnan(cells)[:, None], np.isnan(others)
    return np.where(one | other, (one != other).astype(float), found)


def _one_below_the_other(column: Any, other: Any) -> Any:
    """Concatenate two columns of pandas. The dtype of one without values is ignored."""
    import pandas as pd

    n, m = len(column), len(other)
    if column.isna().all():
        return other.reindex([-1] * n + list(range(m))).reset_index(drop=True)
    if other.isna().all():
        return column.reindex(list(range(n)) + [-1] * m).reset_index(drop=True)
    return pd.concat([column, other], ignore_index=True)


def _as_table(X: Any, name: str) -> np.ndarray:
    table = np.asarray(X)
    if table.ndim != 2:
        raise ValueError(
            f"{name} has shape {table.shape}. Pass a table of shape (n, d). For "
            "images, see anomaly_map."
        )
    return table


def _safe(cells: np.ndarray) -> Sequence[Any]:
    """The same cells, with the missing value of pandas replaced by None."""
    return [None if type(cell).__name__ == "NAType" else cell for cell in cells]

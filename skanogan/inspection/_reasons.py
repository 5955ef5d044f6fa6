"""The features that make a row anomalous, and the values that would be normal."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skanogan.inspection._rows import check_count, column_names, finite_scores
from skanogan.inspection._table import StackedTables, distances

__all__ = ["Reasons", "explain"]

Column = tuple[np.ndarray, bool]

CHUNK = 2**22
"""The largest number of distances that are held at a time (32 MB)."""

SCORED = 8192
"""The number of changed rows that are scored at a time."""


@dataclass(kw_only=True, eq=False, repr=False)
class Reasons:
    """What `explain` found for each row. Parameters are attributes.

    Parameters
    ----------
    feature_names : list of str
        Names of the d features.
    scores : ndarray of shape (n,)
        Scores of the rows. Lower is more abnormal.
    contributions : ndarray of shape (n, d)
        The increase of the score if only this feature is set to its normal value. It is
        near zero, or negative, for a feature that is no reason.
    values : of the type of X, n rows
        The rows.
    normal_values : of the type of X, n rows
        For each feature, the value that is normal with the other features of the row.
    row_names : sequence of length n
        The index of a pandas frame, or 0 to n - 1.
    """

    feature_names: list[str]
    scores: np.ndarray
    contributions: np.ndarray
    values: Any
    normal_values: Any
    row_names: Any

    def __repr__(self) -> str:
        n, d = self.contributions.shape
        return f"<Reasons for {n} rows of {d} features: to_frame() lists them>"

    @property
    def order(self) -> np.ndarray:
        """Features of each row, the largest contribution first, of shape (n, d)."""
        return np.argsort(-self.contributions, axis=1, kind="stable")

    def to_frame(self, max_features: int = 3) -> Any:
        """List the main reasons of each row.

        Parameters
        ----------
        max_features : int, default=3
            Number of features for each row.

        Returns
        -------
        frame : pandas.DataFrame
            One line for each reason, with the columns row, score, feature, value,
            normal value and contribution. The largest contribution of a row comes
            first.
        """
        import pandas as pd

        check_count("max_features", max_features)
        lines = [
            (
                self.row_names[i],
                self.scores[i],
                self.feature_names[j],
                _cell(self.values, i, j),
                _cell(self.normal_values, i, j),
                self.contributions[i, j],
            )
            for i, features in enumerate(self.order)
            for j in features[:max_features]
        ]
        names = ["row", "score", "feature", "value", "normal value", "contribution"]
        return pd.DataFrame(lines, columns=names)


def explain(
    estimator: Any,
    X: Any,
    X_normal: Any,
    *,
    n_neighbors: int = 5,
    max_normal: int = 1000,
) -> Reasons:
    """Find the features that make rows anomalous, and the values that would be normal.

    For each feature of a row, `explain` finds the `n_neighbors` normal rows that are
    most similar to the row in all *other* features. The median of their values is the
    normal value. For a feature that is not a number it is the most frequent value. The
    contribution of the feature is the increase of the score if only this feature is set
    to its normal value.

    Only the scores of the estimator are used. In a pipeline, features are the columns
    that go into its first step. A category is therefore one reason, however it is
    encoded.

    Parameters
    ----------
    estimator : object
        A fitted detector, pipeline or search, with `score_samples` or
        `decision_function`. Lower scores are more abnormal.
    X : DataFrame of pandas or polars, or array-like of shape (n, d)
        The rows to explain, as the estimator takes them.
    X_normal : of the type of X, m rows
        Normal rows, for instance those of `fit`. A few hundred are enough. If you do
        not have the training rows, draw rows with the `sample` method of the detector.
    n_neighbors : int, default=5
        Number of normal rows that a normal value comes from.
    max_normal : int, default=1000
        The largest number of normal rows that are used, evenly spread over `X_normal`.

    Returns
    -------
    reasons : Reasons
        Contributions, values and normal values in the units of X. `to_frame` lists
        them.

    See Also
    --------
    AnomalyMapDisplay : The same question for images.
    sklearn.inspection.permutation_importance : Features that matter for a whole table.

    Notes
    -----
    Each feature is judged as if only this feature were wrong. If another feature is
    wrong, the normal value is one that fits the wrong value.

    With d features, d changed rows are scored for each row of X. The distance of two
    rows is the sum of a distance for each feature, as in that of Gower [1]_. For
    numbers it is the share of the normal rows that lie between them. For other values
    it is 0 if they are equal, and 1 if not.

    References
    ----------
    .. [1] J. C. Gower, "A general coefficient of similarity and some of its
       properties", Biometrics 27, 1971. :doi:`10.2307/2528823`

    Examples
    --------
    >>> import numpy as np
    >>> from skanogan import OCGANDetector
    >>> from skanogan.inspection import explain
    >>> rng = np.random.RandomState(0)
    >>> width = rng.uniform(1, 9, size=300)
    >>> X = np.outer(width, [1, 2, 3]) + rng.normal(0, 0.1, size=(300, 3))
    >>> detector = OCGANDetector(max_iter=0, random_state=0).fit(X)
    >>> reasons = explain(detector, [[4.0, 8.0, 3.0], [4.0, 2.0, 12.0]], X)
    >>> reasons.to_frame(1)[["row", "feature", "value", "normal value"]].round()
       row feature  value  normal value
    0    0      x2    3.0          12.0
    1    1      x1    2.0           8.0
    """
    check_count("n_neighbors", n_neighbors)
    check_count("max_normal", max_normal)
    table = StackedTables(X, X_normal, ("X", "X_normal"))
    score = _score_method(estimator)
    (n, d), m = table.shape, table.n_others
    normal = n + np.unique(np.linspace(0, m - 1, min(m, max_normal)).astype(int))
    columns = [table.column(j) for j in range(d)]
    found = np.empty((n, d), int)
    for at in np.array_split(np.arange(n), -(-n * len(normal) // CHUNK)):
        found[at] = _normal_values(columns, at, normal, n_neighbors)
    own = np.repeat(np.arange(n)[:, None], d, axis=1)
    changed = np.repeat(own, d, axis=0)
    changed[np.arange(n * d), np.tile(np.arange(d), n)] = found.ravel()
    scores = finite_scores(score(table.rows(own)))
    gains = [
        finite_scores(score(table.rows(changed[at : at + SCORED])))
        for at in range(0, n * d, SCORED)
    ]
    names = table.names or column_names(X, estimator)
    return Reasons(
        feature_names=names or [f"x{j}" for j in range(d)],
        scores=scores,
        contributions=np.concatenate(gains).reshape(n, d) - scores[:, None],
        values=table.rows(own),
        normal_values=table.rows(found),
        row_names=getattr(X, "index", None) if hasattr(X, "iloc") else np.arange(n),
    )


def _normal_values(
    columns: list[Column],
    at: np.ndarray,
    normal: np.ndarray,
    n_neighbors: int,
) -> np.ndarray:
    """Positions of the rows that the normal values come from, of shape (n, d)."""
    total = np.zeros((len(at), len(normal)))
    for cells, is_number in columns:
        total += distances(cells[at], cells[normal], is_number)
    k = min(n_neighbors, len(normal))
    found = np.empty((len(at), len(columns)), int)
    for j, (cells, is_number) in enumerate(columns):
        others = total - distances(cells[at], cells[normal], is_number)
        near = normal[np.argpartition(others, k - 1, axis=1)[:, :k]]
        for i, rows in enumerate(near):
            found[i, j] = rows[_middle(cells[rows], is_number)]
    return found


def _middle(cells: np.ndarray, is_number: bool) -> int:
    """Position of the median, or of the first of the most frequent values.

    A value is missing only if most values are missing.
    """
    missing = np.isnan(cells)
    if 2 * missing.sum() > len(cells):
        return int(np.flatnonzero(missing)[0])
    known = np.flatnonzero(~missing)
    if is_number:
        return int(
            known[np.argsort(cells[known], kind="stable")[(len(known) - 1) // 2]]
        )
    counts = (cells[known][:, None] == cells[known]).sum(axis=1)
    return int(known[counts.argmax()])


def _score_method(estimator: Any) -> Any:
    for name in ("score_samples", "decision_function"):
        if hasattr(estimator, name):
            return getattr(estimator, name)
    raise TypeError(
        f"{type(estimator).__name__} has no scores. Pass a fitted detector or pipeline "
        "with score_samples or decision_function."
    )


def _cell(table: Any, i: int, j: int) -> Any:
    if hasattr(table, "iloc"):
        return table.iloc[i, j]
    return table[int(i), int(j)]

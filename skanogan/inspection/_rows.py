"""What the displays ask of a detector and of rows, by public names alone."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d

from skanogan._compat import _num_samples

__all__ = [
    "all_names",
    "as_rows",
    "check_count",
    "check_methods",
    "chosen_positions",
    "column_names",
    "finite_scores",
    "matched_rows",
    "most_abnormal",
    "scores_and_threshold",
]


def check_methods(caller: str, detector: Any, names: Sequence[str]) -> None:
    """A detector with these public names, or an error that says what it lacks."""
    missing = [name for name in names if not hasattr(detector, name)]
    if missing:
        raise TypeError(
            f"{caller} needs a fitted detector with {', '.join(names)}; this "
            f"{type(detector).__name__} has no {', '.join(missing)}."
        )


def check_count(name: str, value: Any, most: int | None = None) -> None:
    """An integer of at least 1, and at most `most`, or an error."""
    highest = np.inf if most is None else most
    if not isinstance(value, Integral) or not 1 <= int(value) <= highest:
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise ValueError(f"{name}={value!r}; an integer {wanted} was expected.")


def finite_scores(scores: Any) -> np.ndarray:
    """Scores of shape (n,), float64, at least one and all finite."""
    values = np.asarray(column_or_1d(scores), dtype=np.float64)
    if not len(values):
        raise ValueError("Found 0 scores while a minimum of 1 is required.")
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise ValueError(
            f"{n_bad} of {len(values)} scores are not finite. Leave these rows out."
        )
    return values


def scores_and_threshold(detector: Any, X: Any) -> tuple[np.ndarray, float | None]:
    """Scores, lower for what is more abnormal, and the score that anomalies are below.

    `score_samples` and `offset_` where the detector has both, else `decision_function`
    and 0, else `score_samples` and None.
    """
    if hasattr(detector, "score_samples") and hasattr(detector, "offset_"):
        return finite_scores(detector.score_samples(X)), float(
            np.squeeze(detector.offset_)
        )
    if hasattr(detector, "decision_function"):
        return finite_scores(detector.decision_function(X)), 0.0
    if hasattr(detector, "score_samples"):
        return finite_scores(detector.score_samples(X)), None
    raise TypeError(
        "A detector with score_samples or decision_function was expected; "
        f"{type(detector).__name__} has neither."
    )


def most_abnormal(scores: np.ndarray, n_rows: int) -> np.ndarray:
    """Positions of the lowest scores, lowest first."""
    return np.argsort(scores, kind="stable")[:n_rows]


def chosen_positions(X: Any, indices: Any, most: int) -> np.ndarray:
    """Positions of the rows that the caller asks for by `indices`.

    Parameters
    ----------
    X : array-like of shape (n, ...)
    indices : array-like of int or bool, or slice
        As for indexing an array.
    most : int
        More rows than these are refused.
    """
    at = np.atleast_1d(np.arange(_num_samples(X))[indices])
    if at.ndim != 1 or not 1 <= len(at) <= most:
        raise ValueError(
            f"indices choose {at.size} rows; 1 to {most} can be read in one figure. "
            "Draw them in parts."
        )
    return at


def as_rows(X: Any, image_shape: Sequence[int] | None = None) -> list[np.ndarray]:
    """Rows as arrays, flat or as images; a channel axis of length one is dropped.

    Parameters
    ----------
    X : array-like of shape (n, d), (n, H, W) or (n, H, W, C), or list of images
        Images of a list may differ in size.
    image_shape : tuple of int, default=None
        (H, W) or (H, W, C) of rows that are flat.

    Returns
    -------
    rows : list of ndarray of shape (d,), (H, W) or (H, W, C)
    """
    rows = []
    for row in X.to_numpy() if hasattr(X, "to_numpy") else X:
        row = np.asarray(row)
        if image_shape is not None and row.ndim == 1:
            row = row.reshape(image_shape)
        if row.ndim == 3 and row.shape[-1] == 1:
            row = row[..., 0]
        if not 1 <= row.ndim <= 3 or row.dtype.kind not in "biuf":
            raise ValueError(
                f"A row of shape {row.shape} and dtype {row.dtype}; real numbers of "
                "shape (d,), (H, W) or (H, W, C) were expected."
            )
        rows.append(row)
    return rows


def matched_rows(
    X: Any, reconstructions: Any, maps: Any, image_shape: Sequence[int] | None
) -> tuple[list[np.ndarray], list[np.ndarray] | None, list[np.ndarray]]:
    """Rows, what is closest to them, and their maps, of shapes that agree.

    Parameters
    ----------
    X, reconstructions, maps, image_shape
        As `as_rows` takes them; there may be no `reconstructions`.

    Returns
    -------
    queries, reconstructions, maps : list of ndarray
    """
    queries = as_rows(X, image_shape)
    found = as_rows(maps, None if image_shape is None else image_shape[:2])
    _check_shapes("map", found, [query.shape[:2] for query in queries])
    if reconstructions is None:
        return queries, None, found
    normal = as_rows(reconstructions, image_shape)
    _check_shapes("reconstruction", normal, [query.shape for query in queries])
    return queries, normal, found


def column_names(X: Any, detector: Any = None) -> list[str] | None:
    """Names of the features, as the detector knows them or else X."""
    names = getattr(detector, "feature_names_in_", None)
    if names is None:
        names = getattr(X, "columns", None)
    return None if names is None else [str(name) for name in names]


def all_names(names: Sequence[str] | None, n_features: int) -> list[str]:
    """A name for each feature: x0, x1, and so on if there are none."""
    if names is None:
        return [f"x{j}" for j in range(n_features)]
    if len(names) != n_features:
        raise ValueError(
            f"feature_names holds {len(names)} names for {n_features} features; one "
            "for each was expected."
        )
    return [str(name) for name in names]


def _check_shapes(
    name: str, arrays: Sequence[np.ndarray], expected: Sequence[tuple[int, ...]]
) -> None:
    for array, shape in zip(arrays, expected, strict=True):
        if array.shape != shape:
            raise ValueError(
                f"A {name} of shape {array.shape} where {shape} was expected. If the "
                "rows are flattened images, pass image_shape."
            )

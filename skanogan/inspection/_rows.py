"""Checks and conversions of detectors, rows and scores for the displays."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d

from skanogan._data.image_files import FileReader, is_path
from skanogan._data.images import as_images, read_image
from skanogan._runtime.compatibility import _num_samples

__all__ = [
    "all_names",
    "as_rows",
    "as_rows_or_paths",
    "check_count",
    "check_methods",
    "check_positive",
    "chosen_positions",
    "column_names",
    "finite_scores",
    "inner_detector",
    "matched_rows",
    "scores_and_threshold",
]


def check_methods(caller: str, detector: Any, names: Sequence[str]) -> None:
    """Raise an error unless the detector has these public names."""
    missing = [name for name in names if not hasattr(detector, name)]
    if missing:
        raise TypeError(
            f"This {type(detector).__name__} has no {', '.join(missing)}. {caller} "
            f"needs a fitted detector with {', '.join(names)}."
        )


def inner_detector(
    caller: str, estimator: Any, names: Sequence[str], X: Any = None
) -> tuple[Any, Any, list[str] | None]:
    """Find the detector in a pipeline, a search or a wrapper.

    Parameters
    ----------
    caller : str
        The display that asks.
    estimator : object
        A fitted detector, or what holds one.
    names : sequence of str
        The public names that the display needs.
    X : array-like, default=None
        Rows as the estimator takes them.

    Returns
    -------
    detector : object
        It has all names.
    X : array-like or None
        Rows as the detector takes them.
    feature_names : list of str or None
        Their columns, as the last transformer names them.
    """
    detector, features = estimator, None
    while not all(hasattr(detector, name) for name in names):
        if hasattr(detector, "steps"):
            if len(detector.steps) > 1:
                transformer = detector[:-1]
                X = None if X is None else transformer.transform(X)
                features = _names_out(transformer)
            detector = detector[-1]
        elif hasattr(detector, "best_estimator_"):
            detector = detector.best_estimator_
        else:
            # A wrapper of a detector. Forests also have an estimator_, which is none.
            inner = getattr(detector, "estimator_", None)
            if not all(hasattr(inner, name) for name in names):
                break
            detector = inner
    check_methods(caller, detector, names)
    return detector, X, features or column_names(X, detector)


def _names_out(transformer: Any) -> list[str] | None:
    """The names of the transformed columns. Some transformers know none."""
    try:
        return [str(name) for name in transformer.get_feature_names_out()]
    except (AttributeError, ValueError):
        return None


def check_count(name: str, value: Any, most: int | None = None) -> None:
    """Raise an error unless the value is an integer from 1 to `most`."""
    highest = np.inf if most is None else most
    if not isinstance(value, Integral) or not 1 <= int(value) <= highest:
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise ValueError(f"{name}={value!r} is not an integer {wanted}.")


def check_positive(name: str, value: Any) -> None:
    """Raise an error unless the value is None or a positive, finite number."""
    is_number = isinstance(value, Real)
    if value is not None and not (is_number and 0 < float(value) < np.inf):
        raise ValueError(
            f"{name}={value!r} is not a positive number. Pass one or None."
        )


def finite_scores(scores: Any) -> np.ndarray:
    """Convert scores to float64 of shape (n,), and check that all are finite."""
    values = np.asarray(column_or_1d(scores), dtype=np.float64)
    if not len(values):
        raise ValueError("Found 0 scores while a minimum of 1 is required.")
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise ValueError(
            f"{n_bad} of {len(values)} scores are not finite. Remove these rows."
        )
    return values


def scores_and_threshold(detector: Any, X: Any) -> tuple[np.ndarray, float | None]:
    """Score rows by the methods of the detector, and find the threshold if any."""
    if hasattr(detector, "score_samples") and hasattr(detector, "offset_"):
        threshold = float(np.squeeze(detector.offset_))
        return finite_scores(detector.score_samples(X)), threshold
    if hasattr(detector, "decision_function"):
        return finite_scores(detector.decision_function(X)), 0.0
    if hasattr(detector, "score_samples"):
        return finite_scores(detector.score_samples(X)), None
    raise TypeError(
        f"{type(detector).__name__} has no scores. Pass a fitted detector with "
        "score_samples or decision_function."
    )


def chosen_positions(X: Any, indices: Any, most: int) -> np.ndarray:
    """Find the positions of the rows that any index of an array selects."""
    at = np.atleast_1d(np.arange(_num_samples(X))[indices])
    if at.ndim != 1 or not 1 <= len(at) <= most:
        raise ValueError(
            f"indices selects {at.size} rows. Select 1 to {most} rows per figure."
        )
    return at


def as_rows_or_paths(X: Any, detector: Any = None) -> Any:
    """Return a list of paths or images where a detector of whole images takes X."""
    return as_images(X) if is_path(X) or hasattr(detector, "anomaly_maps") else X


def as_rows(X: Any, image_shape: Sequence[int] | None = None) -> list[np.ndarray]:
    """Convert rows to arrays of shape (d,), (H, W) or (H, W, C) with C > 1.

    A row may be the path of an image.
    """
    rows = []
    # The detector has warned of alpha channels.
    reader = FileReader(warns=False)
    for row in X.to_numpy() if hasattr(X, "to_numpy") else X:
        row = read_image(row, "A row", reader) if is_path(row) else np.asarray(row)
        if image_shape is not None and row.ndim == 1:
            row = row.reshape(image_shape)
        if row.ndim == 3 and row.shape[-1] == 1:
            row = row[..., 0]
        if not 1 <= row.ndim <= 3 or row.dtype.kind not in "biuf":
            raise ValueError(
                f"A row has shape {row.shape} and dtype {row.dtype}. Pass real numbers "
                "of shape (d,), (H, W) or (H, W, C)."
            )
        rows.append(row)
    return rows


def matched_rows(
    X: Any, reconstructions: Any, maps: Any, image_shape: Sequence[int] | None
) -> dict[str, Any]:
    """Convert the arguments of AnomalyMapDisplay, and check that shapes agree."""
    queries = as_rows(X, image_shape)
    found = as_rows(maps, None if image_shape is None else image_shape[:2])
    _check_shapes("map", found, [query.shape[:2] for query in queries])
    normal = None
    if reconstructions is not None:
        normal = as_rows(reconstructions, image_shape)
        _check_shapes("reconstruction", normal, [query.shape for query in queries])
    return {"queries": queries, "reconstructions": normal, "maps": found}


def column_names(X: Any, detector: Any = None) -> list[str] | None:
    """Return the names of the features from the detector or else from X."""
    names = getattr(detector, "feature_names_in_", getattr(X, "columns", None))
    return None if names is None else [str(name) for name in names]


def all_names(names: Sequence[str] | None, n_features: int) -> list[str]:
    """Return one name per feature: x0, x1, and so on if there are no names."""
    if names is None:
        return [f"x{j}" for j in range(n_features)]
    if len(names) != n_features:
        raise ValueError(
            f"feature_names holds {len(names)} names for {n_features} features. Pass "
            "one name per feature."
        )
    return [str(name) for name in names]


def _check_shapes(
    name: str, arrays: Sequence[np.ndarray], expected: Sequence[tuple[int, ...]]
) -> None:
    for array, shape in zip(arrays, expected, strict=True):
        if array.shape != shape:
            raise ValueError(
                f"A {name} has shape {array.shape}, but {shape} is required. If the "
                "rows are flattened images, pass image_shape."
            )

"""Rows, fits and comparisons shared by the estimator checks."""

import pickle
import random
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skanogan.base import BaseDetector

__all__ = [
    "N_ROWS",
    "ROW_METHODS",
    "TOLERANCE",
    "assert_equal",
    "assert_history",
    "assert_scores",
    "assert_state",
    "containers",
    "fit_copy",
    "fresh_copy",
    "losses_of",
    "n_channels",
    "normal_images",
    "normal_rows",
    "random_states",
    "torch_settings",
    "typical_size",
]

N_ROWS = 60

ROW_METHODS = ("reconstruct", "anomaly_map", "embed")
"""Methods that return something other than a score for each row."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""The largest difference of scores that should be equal, as a share of their median.

Matrix products over another number of rows differ by 1e-15 in float64 and by 1e-7 in
float32. The distance to the nearest candidate (a difference of squares) and each step
of a search amplify this. Scores that depend on other rows differ by shares of order 1.
"""


def fresh_copy(detector: BaseDetector, **parameters: Any) -> Any:
    fresh = clone(detector)
    if (
        "random_state" not in parameters
        and detector.get_params()["random_state"] is None
    ):
        parameters["random_state"] = 0
    return fresh.set_params(**parameters)


def fit_copy(detector: BaseDetector, X: Any, **parameters: Any) -> Any:
    return fresh_copy(detector, **parameters).fit(X)


def normal_rows(detector: BaseDetector) -> np.ndarray:
    """Make normal rows of a table, or flat images if `image_shape` is set."""
    shape = detector.get_params()["image_shape"]
    if shape is not None:
        return normal_images(tuple(shape))
    rng = np.random.RandomState(0)
    hidden = rng.normal(size=(N_ROWS, 2))
    return hidden @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(N_ROWS, 6))


def normal_images(shape: tuple[int, ...]) -> np.ndarray:
    """Make flat images of a vertical bar of one or two pixels on noise."""
    rng = np.random.RandomState(0)
    images = 0.1 * rng.uniform(size=(N_ROWS, *shape))
    for image in images:
        left = rng.randint(shape[1] - 2)
        image[:, left : left + rng.randint(1, 3)] += rng.uniform(0.5, 0.9)
    return images.reshape(N_ROWS, -1)


def n_channels(detector: BaseDetector) -> int:
    shape: Any = detector.get_params()["image_shape"] or ()
    return int(shape[2]) if len(shape) == 3 else 1


def containers(X: np.ndarray) -> "Iterator[tuple[str, Any]]":
    for dtype in (np.uint8, np.int16, np.int32, np.int64, np.float32):
        yield np.dtype(dtype).name, X.astype(dtype)
    yield "a list", X.tolist()
    yield "Fortran order", np.asfortranarray(X)
    yield "every second column of an array", np.repeat(X, 2, axis=1)[:, ::2]
    read_only = X.copy()
    read_only.setflags(write=False)
    yield "a read-only array", read_only
    columns = {f"column_{j}": X[:, j] for j in range(X.shape[1])}
    for library in ("pandas", "polars"):
        try:
            frames = __import__(library)
        except ImportError:
            continue
        yield f"a DataFrame of {library}", frames.DataFrame(columns)


def losses_of(record: "dict[str, float]") -> "dict[str, float]":
    return {k: v for k, v in record.items() if k not in ("n_iter", "seconds")}


def random_states() -> dict[str, str]:
    return {
        "random": repr(random.getstate()),
        "numpy": repr(pickle.dumps(np.random.get_state())),  # noqa: NPY002
        "torch": repr(torch.get_rng_state().tolist()),
        "torch.cuda": repr([s.tolist() for s in _cuda_states()]),
    }


def _cuda_states() -> "list[torch.Tensor]":
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def torch_settings() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )


def assert_state(fitted: Any, before: "dict[str, torch.Tensor]", what: str) -> None:
    after = fitted.model_.state_dict()
    assert set(after) == set(before), f"{what} adds or drops weights."
    changed = [key for key in before if not torch.equal(after[key], before[key])]
    assert not changed, f"{what} changes {changed}."
    for key, weight in fitted.model_.named_parameters():
        assert weight.grad is None, f"{what} leaves a gradient in {key}."
        assert not weight.requires_grad, f"{what} leaves {key} trainable."
    training = [key for key, part in fitted.model_.named_modules() if part.training]
    assert not training, f"{what} leaves {training} in training mode."


def assert_history(name: str, fitted: Any) -> None:
    updates = [record["n_iter"] for record in fitted.history_]
    increasing = bool((np.diff([0, *updates]) > 0).all())
    assert (increasing, updates[-1]) == (True, fitted.n_iter_), (
        f"{name}.history_ has n_iter {updates}, but n_iter_ is {fitted.n_iter_}."
    )
    # Each stage of a training, and a record that two stages share, has losses of its
    # own.
    kinds = [kind for kind, _ in groupby(fitted.history_, key=sorted)]
    assert all(kinds.count(kind) == 1 for kind in kinds), f"{name}.history_ has gaps."
    for record in fitted.history_:
        assert np.isfinite(list(record.values())).all(), f"{name}.history_: {record}."


def assert_scores(
    fitted: Any,
    found: np.ndarray,
    expected: np.ndarray,
    what: str,
    scale: "np.ndarray | None" = None,
) -> None:
    dtype = next(fitted.model_.parameters()).dtype
    share = np.abs(found - expected).max() / typical_size(
        expected if scale is None else scale
    )
    assert share <= TOLERANCE[dtype], (
        f"{what}: scores differ by {share:.1e} of their median in {dtype}. At most "
        f"{TOLERANCE[dtype]:.0e} is allowed."
    )


def typical_size(values: np.ndarray) -> float:
    """Return the median of absolute values, or if it is 0 their maximum or 1."""
    sizes = np.abs(values)
    return float(np.median(sizes) or sizes.max() or 1.0)


def assert_equal(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    difference = float(np.abs(found - expected).max())
    assert difference == 0, f"{what} differ by {difference:.1e}."

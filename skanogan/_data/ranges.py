"""Warn of rows in another range than those of `fit`, as of a missed conversion."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from skanogan._data.array_api import in_numpy
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import RangeWarning
from skanogan.nn._scaling import Scaling

__all__ = ["warn_of_another_range", "warned_once"]

MOST_ROWS, MOST_ENTRIES = 256, 2**20
"""The first rows are looked at, up to these numbers. A score does not wait for it."""

FEWEST_ROWS = 10
"""Rows of a table. Fewer may all be anomalies."""

FAR, SHARE = 30.0, 0.1
"""Deviations, and the share of the columns, of which there must be two. In 22 tables of
ADBench and 19 of scikit-learn no batch of 10, 30 or all anomalies has three quarters of
its rows beyond `FAR` on one side, or quartiles that far apart, in so many columns (0 of
6,022 batches). Of 9 tables with a deviation above 100, 8 do if only the rows of fit
were standardised. With 10 deviations, 42 batches of anomalies do."""

OUTSIDE, SHARE_OUTSIDE = 2.0, 0.02
"""Widths of the range of `fit` beyond its ends, and the share of pixels there. Of 2,092
anomalous images (tiles, digits, OCT scans) and 360 darkened ones in four units none
warns; of single images in other units 85 to 100 % do."""

WIDE = 50.0
"""A range of pixels that is much wider than from -1 to 1."""


_warned: ContextVar[list[str] | None] = ContextVar("_warned", default=None)


@contextmanager
def warned_once() -> Iterator[None]:
    """Warn at most once in the block, which scores the places of images one by one."""
    token = _warned.set([])
    try:
        yield
    finally:
        _warned.reset(token)


def warn_of_another_range(detector: Any, values: Any, scaling: Scaling) -> None:
    """Warn if rows, not only some of them, lie far outside of the range of `fit`.

    `values` are rows (n, d), an array or a tensor, validated for the fitted detector.
    `scaling` is that of the training rows.
    """
    n = min(MOST_ROWS, max(1, MOST_ENTRIES // values.shape[1]))
    rows = in_numpy(values[:n]).astype(np.float64)
    shift, scale = scaling.shift.cpu().numpy(), scaling.scale.cpu().numpy()
    found = None
    if detector.image_shape_ is not None:
        low, high = float(shift) - float(scale), float(shift) + float(scale)
        found = _pixels_found(rows, low, high, values.dtype)
    elif len(rows) >= FEWEST_ROWS:
        names = getattr(detector, "feature_names_in_", np.arange(rows.shape[1]))
        found = _columns_found(rows, shift, scale, names)
    earlier = _warned.get()
    if found is None or earlier:
        return
    if earlier is not None:
        earlier.append(found)
    warn(found, RangeWarning)


def _pixels_found(
    rows: np.ndarray, low: float, high: float, dtype: np.dtype
) -> str | None:
    """Describe pixels in other units than those from `low` to `high`."""
    margin = OUTSIDE * (high - low)
    outside = (rows < low - margin) | (rows > high + margin)
    least, most = float(rows.min()), float(rows.max())
    # Floats from 0 to 1 or from -1 to 1; a dark image ends elsewhere or has integers.
    is_unit = -1 <= least and 0.5 < most <= 1 and bool((rows % 1).any())
    if not (
        np.median(outside.mean(1)) >= SHARE_OUTSIDE
        or (is_unit and high - low > WIDE)
        or (dtype == np.uint8 and high - low > 4 * 255)
    ):
        return None
    return (
        f"Pixels are from {least:.3g} to {most:.3g}, but those of fit were from "
        f"{low:.3g} to {high:.3g}. If these are other units, the scores have no "
        "meaning: convert the images to the range of fit."
    )


def _columns_found(
    rows: np.ndarray, shift: np.ndarray, scale: np.ndarray, names: np.ndarray
) -> str | None:
    """Describe columns in other units than those of the mean and deviation of fit."""
    with np.errstate(over="ignore", invalid="ignore"):
        lower, upper = np.quantile((rows - shift) / scale, [0.25, 0.75], axis=0)
        off = (lower > FAR) | (upper < -FAR) | (upper - lower > FAR)
    n_columns = rows.shape[1]
    if off.sum() < max(SHARE * n_columns, min(2, n_columns)):
        return None
    j = int(np.argmax(off))
    median = float(np.median(rows[:, j]))
    return (
        f"X lies more than {FAR:g} standard deviations from the rows of fit in "
        f"{off.sum()} of {n_columns} columns. Column {names[j]}, for instance, has a "
        f"median of {median:.3g}, and in fit a mean of {shift[j]:.3g} and a deviation "
        f"of {scale[j]:.3g}. Prepare X as the rows of fit were, for instance in one "
        "pipeline with the detector."
    )

"""From what the user passes as X to validated flat rows."""

import math
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite
from torch import Tensor

from skanogan._data.array_api import as_numpy
from skanogan._data.entries import explained, first_names, refuse_times
from skanogan._data.kinds import columns_of, refuse_kinds, without_gradients
from skanogan._runtime.compatibility import validate_data
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import ImageShapeWarning

__all__ = ["check_rows", "flatten_images", "with_channels"]


def check_rows(
    estimator: Any, X: Any, *, reset: bool, keep_tensors: bool = False
) -> Any:
    """Validate rows, and flatten images to (n, d) in the dtype of X.

    With `reset` (in `fit`), `image_shape_`, `_sample_shape` and what scikit-learn's
    validation sets are set on the estimator. Otherwise X is compared with them. Where
    scikit-learn's array API dispatch is on, arrays of other libraries become those of
    NumPy. With `keep_tensors`, tensors stay tensors on their device.
    ValueError is raised if X is not made of finite real numbers or has another shape.
    """
    refuse_kinds(X)
    _refuse_masks(X)
    refuse_times(X)
    if not (keep_tensors and isinstance(X, Tensor)):
        X = as_numpy(X)
    X, seen = flatten_images(X)
    if reset:
        expected = with_channels(estimator.image_shape) or with_channels(seen)
    else:
        expected = estimator.image_shape_
    _refuse_one_image(X, seen, expected)
    if seen is not None and with_channels(seen) != expected:
        wanted = expected or f"flat rows of {estimator.n_features_in_} features"
        raise ValueError(
            f"X holds images of shape {tuple(seen)}, but {type(estimator).__name__} is "
            f"expecting {wanted}{' (image_shape)' if reset else ' as in fit'}. Resize "
            "the images, or fit again on images of this shape."
        )
    try:
        # scikit-learn tests the sum of X first. The sum may overflow.
        with np.errstate(invalid="ignore"):
            checked = validate_data(
                estimator, X, reset=reset, ensure_min_samples=2 if reset else 1
            )
        # scikit-learn leaves some frames as they are. Tensors have dtypes without kind.
        if getattr(checked.dtype, "kind", "f") in "OSU":
            checked = checked.astype(np.float64)
            assert_all_finite(checked)
    except OverflowError as error:  # from a Python integer
        raise ValueError(
            f"X holds a number that is too large for float64: {error}. Divide X."
        ) from error
    except (TypeError, ValueError) as error:
        if np.iscomplexobj(X):
            raise ValueError(
                "Complex data not supported: X holds complex numbers. Pass real and "
                "imaginary parts as columns."
            ) from None
        if "feature names should match" in str(error):
            known = {str(name) for name, _ in columns_of(X) or []}
            are_known = known == {str(name) for name in estimator.feature_names_in_}
            remedy = "Pass" if are_known else "Rename the columns if needed, and pass"
            raise ValueError(
                f"{str(error).rstrip()}\n{remedy} X[detector.feature_names_in_]: "
                f"{first_names(estimator.feature_names_in_, 5)}."
            ) from None
        if "features as input" in str(error):
            raise ValueError(
                f"{str(error).rstrip('.')}. Pass the columns of fit, in their order."
            ) from None
        if better := explained(X, seen is not None, error):
            raise better from None
        raise
    values = _as_numbers(checked)
    if reset:
        _check_image_shape(estimator.image_shape, expected, values.shape[1])
        estimator.image_shape_ = expected
        estimator._sample_shape = tuple(seen or (values.shape[1],))
    return values


def flatten_images(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Flatten images to rows; pass anything else through. Return X and (H, W[, C]).

    scikit-learn would take the number of features from the height. Images therefore
    become (n, H * W * C) before scikit-learn validates them. The shape is None for
    rows.
    """
    X = without_gradients(X)
    n_dim = getattr(X, "ndim", None)
    if n_dim is None and isinstance(X, (list, tuple)):
        shapes = {getattr(row, "shape", ()) for row in X}
        if len(shapes) > 1 and {len(shape) for shape in shapes} <= {2, 3}:
            raise ValueError(
                f"X is a list of images of {len(shapes)} shapes, such as "
                f"{sorted(shapes)[:3]}. All images must have one shape. Resize them, "
                "or use skanogan.image.PatchDetector, which takes images of any size."
            )
        try:
            X, n_dim = np.asarray(X), np.ndim(X)
        except ValueError:  # ragged rows: scikit-learn reports them
            return X, None
    if n_dim not in (3, 4):
        return X, None
    images = X if isinstance(X, Tensor) else np.asarray(X)
    n_pixels = math.prod(images.shape[1:])
    return images.reshape(len(images), n_pixels), tuple(images.shape[1:])


def with_channels(shape: "tuple[int, ...] | None") -> tuple[int, int, int] | None:
    """Write (H, W) or (H, W, C) as (H, W, C). ValueError is raised for others."""
    if shape is None:
        return None
    sides = tuple(shape)
    whole = all(isinstance(s, (int, np.integer)) and s > 0 for s in sides)
    if len(sides) not in (2, 3) or not whole:
        raise ValueError(
            f"image_shape={shape!r} is not (height, width) or (height, width, "
            "channels) in positive integers."
        )
    height, width, channels = (*sides, 1)[:3]
    return int(height), int(width), int(channels)


def _refuse_one_image(
    X: Any, seen: tuple[int, ...] | None, expected: tuple[int, int, int] | None
) -> None:
    """Refuse one image where images are expected, unless its rows could be images."""
    shape = getattr(X, "shape", None) if seen is None else (len(X), *seen)
    if expected is None or shape is None or math.prod(shape[1:]) == math.prod(expected):
        return
    if with_channels(shape if len(shape) in (2, 3) else None) == expected:
        raise ValueError(
            f"X is one image of shape {shape}, but images (n, H, W) or (n, H, W, C) "
            "are expected. Pass X[None]."
        )


def _refuse_masks(X: Any) -> None:
    """Refuse masked entries: they have no value, and scikit-learn ignores masks."""
    rows = X if isinstance(X, (list, tuple)) else [X]
    masked = [row.mask for row in rows if isinstance(row, np.ma.MaskedArray)]
    n_masked = sum(int(np.sum(mask)) for mask in masked)
    if n_masked:
        raise ValueError(
            f"X is masked in {n_masked} places. Masked entries have no value. Fill "
            "them, for instance with numpy.ma.filled and sklearn.impute, or leave the "
            "rows out with numpy.ma.compress_rows."
        )


def _as_numbers(values: Any) -> Any:
    """Refuse dates, and numbers of long doubles that float64 cannot hold."""
    if isinstance(values, Tensor):
        if values.is_complex():
            raise ValueError("Complex data not supported: X is a complex tensor.")
        return values
    if values.dtype.kind in "mM":
        raise ValueError(
            f"X holds dates or durations ({values.dtype}). All columns must be "
            "numbers. Divide durations by a unit, such as numpy.timedelta64(1, 's')."
        )
    if values.dtype.itemsize <= 8:
        return values
    with np.errstate(over="ignore"):
        converted = values.astype(np.float64)
    if not np.isfinite(converted).all():
        raise ValueError(
            f"X holds {np.abs(values).max()!s}, which is too large for float64. "
            "Divide X."
        )
    return converted


def _check_image_shape(
    parameter: Any, shape: tuple[int, int, int] | None, n_features: int
) -> None:
    if shape is None:
        return
    if math.prod(shape) != n_features:
        raise ValueError(
            f"X has {n_features} features per row, but image_shape={parameter!r} "
            f"needs {math.prod(shape)}."
        )
    if shape[1] in (3, 4) and shape[2] == 1 and shape[0] >= 16:
        warn(
            f"X is read as images of {shape[0]} x {shape[1]} pixels. If X is one image "
            "in colour, pass a stack of several: X[None] is a stack of one.",
            ImageShapeWarning,
        )
    if shape[0] in (1, 3, 4) and shape[2] > 4:
        warn(
            f"Images of shape {shape} are read as {shape[0]} pixels high with "
            f"{shape[2]} channels. If their channels come first, move them last: "
            "np.moveaxis(X, 1, -1).",
            ImageShapeWarning,
        )

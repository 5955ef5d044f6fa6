"""Checks of images, units, small and constant data, dtypes and containers."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skanogan.base import BaseDetector
from skanogan.exceptions import BatchSizeWarning, CalibrationWarning, DivergenceWarning
from skanogan.utils._check_parts import (
    ROW_METHODS,
    assert_equal,
    assert_scores,
    containers,
    fit_copy,
    n_channels,
    normal_images,
    normal_rows,
    typical_size,
)

__all__ = [
    "IMAGE_CHECKS",
    "check_channels_are_last",
    "check_constant_features",
    "check_containers_and_dtypes_agree",
    "check_image_and_flat_agree",
    "check_shapes_and_units",
    "check_small_batches",
    "check_units_do_not_matter",
]


def check_image_and_flat_agree(name: str, detector: BaseDetector) -> None:
    """Check that images and their flat rows with image_shape are the same rows."""
    height, width = _image_size(detector)
    flat = normal_images((height, width, 1))
    images = flat.reshape(-1, height, width)
    cases = [
        (images, None),
        (images[..., None], None),
        (images, (height, width)),
        (flat, (height, width)),
        (flat, (height, width, 1)),
    ]
    expected = None
    for X, image_shape in cases:
        fitted = fit_copy(detector, X, image_shape=image_shape)
        what = f"{name}: rows of shape {X.shape[1:]} with image_shape={image_shape}"
        assert fitted.n_features_in_ == flat.shape[1], (
            f"{what} have {fitted.n_features_in_} features."
        )
        assert fitted.image_shape_ == (height, width, 1), (
            f"{what} have image_shape_={fitted.image_shape_}."
        )
        for rows in (images, images[..., None], flat):
            scores = fitted.score_samples(rows)
            expected = scores if expected is None else expected
            assert_equal(scores, expected, what)
            assert fitted.reconstruct(rows).shape == rows.shape, what
        assert fitted.anomaly_map(X).shape == images.shape, what
        assert fitted.sample(2).shape == (2, *X.shape[1:]), what


def check_channels_are_last(name: str, detector: BaseDetector) -> None:
    """Check that channels are last in every input and output, and are not mixed up."""
    height, width = _image_size(detector)
    # Height and width differ, so that a swap of the two is an error.
    shape = (height + 1 if height == width else height, width, 3)
    images = normal_images(shape).reshape(-1, *shape)
    fitted = fit_copy(detector, images, image_shape=None)
    assert fitted.image_shape_ == shape, (
        f"{name}.image_shape_ is {fitted.image_shape_} for images of shape {shape}."
    )
    assert fitted.reconstruct(images).shape == images.shape
    assert fitted.anomaly_map(images).shape == images.shape[:3]
    assert fitted.sample(2).shape == (2, *shape)
    assert_equal(
        fitted.score_samples(images.reshape(len(images), -1)),
        fitted.score_samples(images),
        f"{name}: scores of flat images of three channels",
    )


IMAGE_CHECKS = (check_image_and_flat_agree, check_channels_are_last)
"""The checks for detectors that accept images."""


def check_shapes_and_units(name: str, detector: BaseDetector) -> None:
    """Check shapes and dtypes of outputs, and that rows are in the units of X."""
    X = 1000.0 + 5.0 * normal_rows(detector)
    fitted = fit_copy(detector, X)
    drawn, sample = fitted.reconstruct(X), fitted.sample(4, random_state=0)
    residuals, codes = fitted.anomaly_map(X), fitted.embed(X)
    assert drawn.shape == X.shape, f"{name}.reconstruct: {drawn.shape}."
    assert sample.shape == (4, X.shape[1]), f"{name}.sample: {sample.shape}."
    assert residuals.size * n_channels(detector) == X.size, (
        f"{name}.anomaly_map: {residuals.shape} for rows of shape {X.shape}."
    )
    assert codes.shape == (len(X), codes.size // len(X)), f"{name}: {codes.shape}."
    for method, values in zip(
        (*ROW_METHODS, "sample"), (drawn, residuals, codes, sample), strict=True
    ):
        assert values.dtype == np.float64, f"{name}.{method} is {values.dtype}."
        assert np.isfinite(values).all(), f"{name}.{method} is not finite."
    assert (residuals >= 0).all(), f"{name}.anomaly_map is negative."
    for method, values in (("reconstruct", drawn), ("sample", sample)):
        distance = np.abs(values - X.mean()).max() / X.std()
        assert distance < 20, (
            f"{name}.{method} is {distance:.0f} standard deviations from the mean of "
            "X, so it is not in the units of X."
        )


def check_units_do_not_matter(name: str, detector: BaseDetector) -> None:
    """Check that shifted and rescaled data have the scores of the original data."""
    X = normal_rows(detector)
    # After 1,000 updates, the rounding of X + 1e7 (1e-9 of a standard deviation) has
    # grown so that scores differ by a factor. Wrong scaling shows in the first updates.
    budget = detector.max_iter
    few = {"max_iter": 50 if budget == "auto" else min(budget, 50)}
    expected = fit_copy(detector, X, **few).score_samples(X)
    for what, other in {
        "X + 100": X + 100,
        "X * 1e6": X * 1e6,
        "X * 1e-6": X * 1e-6,
        "X + 1e7": X + 1e7,
    }.items():
        fitted = fit_copy(detector, other, **few)
        scores = fitted.score_samples(other)
        assert np.isfinite(scores).all(), f"{name}: scores of {what} are not finite."
        # Training in float32 rounds the scaled rows, which changes a score by 1e-6.
        share = np.abs(scores - expected).max() / typical_size(expected)
        assert share < 1e-2, f"{name}: {what} changes scores by {share:.1e}."


def check_small_batches(name: str, detector: BaseDetector) -> None:
    """Check fits on few rows, and on one row more or fewer than a batch."""
    X = normal_rows(detector)
    cases = [(2, 8), (3, 8), (3, 1), (7, 8), (8, 8), (9, 8), (17, 8), (20, 60)]
    for n, batch_size in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("error", DivergenceWarning)
            warnings.simplefilter("ignore", BatchSizeWarning)
            warnings.simplefilter("ignore", CalibrationWarning)
            fitted = fit_copy(detector, X[:n], batch_size=batch_size)
        scores = fitted.score_samples(X)
        assert np.isfinite([*scores, fitted.offset_]).all(), (
            f"{name}(batch_size={batch_size}) on {n} rows has NaN."
        )


def check_constant_features(name: str, detector: BaseDetector) -> None:
    """Check that constant columns and equal rows give finite scores."""
    X = normal_rows(detector)
    one_constant, one_outlier = X.copy(), X.copy()
    one_constant[:, 0] = 3.0
    one_outlier[:, 0] = np.arange(len(X)) == 0
    for what, rows in {
        "a constant column": one_constant,
        "a column with one value that differs": one_outlier,
        "equal rows": np.repeat(X[:1], len(X), axis=0),
        "zeros": np.zeros_like(X),
    }.items():
        fitted = fit_copy(detector, rows)
        found = {
            "scores": fitted.score_samples(np.concatenate([rows, X])),
            "offset_": fitted.offset_,
            "reconstructions": fitted.reconstruct(X),
        }
        for output, values in found.items():
            assert np.isfinite(values).all(), (
                f"{name} fitted on {what}: {output} not finite."
            )


def check_containers_and_dtypes_agree(name: str, detector: BaseDetector) -> None:
    """Check that equal values have equal scores in every dtype and container."""
    X = normal_rows(detector)
    X = np.round(255 * (X - X.min()) / (X.max() - X.min()))
    # uint8 images are scaled by the range of the dtype, other dtypes by that of X. Both
    # are the same if every row holds 0 and 255.
    X[:, 0], X[:, 1] = 0, 255
    expected = fit_copy(detector, X).score_samples(X)
    for what, rows in containers(X):
        fitted = fit_copy(detector, rows)
        assert_scores(fitted, fitted.score_samples(rows), expected, f"{name}: {what}")


def _image_size(detector: BaseDetector) -> tuple[int, int]:
    """Return height and width of `image_shape`, or 8 x 8."""
    height, width = (detector.image_shape or (8, 8))[:2]
    return height, width

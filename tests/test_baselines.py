"""The baselines: scikit-learn's checks, thresholds, images, and distances by hand."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils import estimator_checks as sklearn_checks

from skanogan.baselines import (
    KNNDistance,
    MahalanobisDistance,
    MeanDistance,
    PCAReconstruction,
)
from skanogan.detectors._thresholds import score_at_false_alarm_rate
from skanogan.exceptions import CalibrationWarning

pytestmark = pytest.mark.filterwarnings(
    "ignore::skanogan.exceptions.CalibrationWarning"
)

BASELINES = [
    KNNDistance(),
    PCAReconstruction(),
    MahalanobisDistance(),
    MeanDistance(),
]

each_baseline = pytest.mark.parametrize(
    "detector", BASELINES, ids=lambda detector: type(detector).__name__
)


def parametrize_with_checks(detectors):
    """scikit-learn's decorator, which gives pytest a generator in version 1.6."""
    mark = sklearn_checks.parametrize_with_checks(detectors).mark
    names, cases = mark.args
    return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


@parametrize_with_checks(BASELINES)
def test_baselines_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@each_baseline
def test_parameters_are_validated_with_messages_of_scikit_learn(detector):
    sklearn_checks.check_param_validation(type(detector).__name__, detector)


@each_baseline
def test_names_of_dataframe_columns_are_kept_and_compared(detector):
    pytest.importorskip("pandas")
    sklearn_checks.check_dataframe_column_names_consistency(
        type(detector).__name__, detector
    )


# Thresholds ---------------------------------------------------------------------


@each_baseline
def test_automatic_thresholds_flag_about_5_percent_of_new_normal_rows(detector):
    rng = np.random.RandomState(0)
    mixing = rng.normal(size=(4, 10))
    X = rng.normal(size=(4000, 4)) @ mixing + 0.3 * rng.normal(size=(4000, 10))
    flagged = clone(detector).fit(X[:2000]).predict(X[2000:]) == -1
    # 2,000 new rows: three standard deviations of a share of 5 % are 1.5 %.
    assert flagged.mean() == pytest.approx(0.05, abs=0.02)


@each_baseline
def test_a_float_contamination_is_the_share_of_flagged_training_rows(detector):
    X = np.random.RandomState(0).normal(size=(200, 5))
    labels = clone(detector).set_params(contamination=0.1).fit_predict(X)
    assert (labels == -1).sum() == 20


@each_baseline
def test_decisions_are_scores_above_the_threshold(detector):
    X = np.random.RandomState(0).normal(size=(50, 3))
    fitted = clone(detector).fit(X)
    decisions = fitted.decision_function(X)
    np.testing.assert_allclose(decisions, fitted.score_samples(X) - fitted.offset_)
    np.testing.assert_array_equal(fitted.predict(X), np.where(decisions < 0, -1, 1))


@pytest.mark.parametrize("contamination", ["often", 0.0, 0.6])
def test_other_contaminations_are_refused(contamination):
    with pytest.raises(ValueError, match="The 'contamination' parameter"):
        KNNDistance(contamination=contamination).fit(np.eye(5))


@each_baseline
def test_few_rows_have_a_finite_threshold(detector):
    fitted = clone(detector).fit([[0.0, 1.0], [1.0, 0.0]])
    assert np.isfinite(fitted.offset_)


# Images and dtypes --------------------------------------------------------------


@each_baseline
@pytest.mark.parametrize("shape", [(8, 8), (4, 4, 4)])
def test_images_are_scored_as_their_flat_rows(detector, shape):
    digits = load_digits().data
    images = digits.reshape(-1, *shape)
    if isinstance(detector, MahalanobisDistance):  # "auto" differs for images
        detector = MahalanobisDistance(shrinkage=0.1)
    by_image = clone(detector).fit(images[:200])
    by_row = clone(detector).fit(digits[:200])
    scores = by_row.score_samples(digits)
    np.testing.assert_array_equal(by_image.score_samples(images), scores)
    np.testing.assert_array_equal(by_image.score_samples(digits), scores)
    assert by_image.offset_ == by_row.offset_
    assert by_image.n_features_in_ == 64


@each_baseline
def test_images_of_another_shape_are_refused(detector):
    images = np.random.RandomState(0).normal(size=(20, 4, 6))
    fitted = clone(detector).fit(images)
    with pytest.raises(ValueError, match="expecting"):
        fitted.score_samples(images.transpose(0, 2, 1))


@each_baseline
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_any_numeric_dtype_is_read_as_float64(detector, dtype):
    digits = load_digits().data[:100]
    scores = clone(detector).fit(digits).score_samples(digits)
    typed = digits.astype(dtype)
    found = clone(detector).fit(typed).score_samples(typed)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, scores)


# Distances by hand --------------------------------------------------------------


def test_the_distance_to_neighbours_is_their_mean():
    X = np.array([[0.0], [1.0], [3.0]])
    fitted = KNNDistance(n_neighbors=2).fit(X)
    assert fitted.score_samples([[5.0]]) == [-(2 + 4) / 2]
    # Without itself, each row is as far from the others as (1 + 3) / 2, ...
    expected = -np.array([2.0, 1.5, 2.5])
    assert fitted.offset_ == pytest.approx(score_at_false_alarm_rate(expected, 0.05))


def test_more_neighbours_than_other_rows_are_all_other_rows():
    X = np.array([[0.0], [1.0], [3.0]])
    assert KNNDistance(n_neighbors=9).fit(X).neighbors_.n_neighbors == 2


def test_the_residual_is_the_squared_distance_to_the_subspace():
    X = np.outer(np.arange(6.0), [3.0, 4.0]) + np.array([1.0, 0.0])
    fitted = PCAReconstruction(n_components=1).fit(X)
    off_the_line = X[2] + 5 * np.array([-0.8, 0.6])
    assert fitted.score_samples(off_the_line[None]) == pytest.approx(-25)
    np.testing.assert_allclose(fitted.score_samples(X), 0, atol=1e-12)


def test_the_distance_to_the_mean_is_a_norm():
    fitted = MeanDistance(p=2).fit([[0.0, 0.0], [2.0, 2.0]])
    assert fitted.score_samples([[4.0, 5.0]]) == [-5]
    assert MeanDistance().fit([[0.0, 0.0], [2.0, 2.0]]).score_samples([[4, 5]]) == [-7]


def test_the_distance_to_the_mean_of_the_other_rows_is_exact():
    X = np.random.RandomState(0).normal(size=(7, 3))
    expected = np.array(
        [-np.abs(X[i] - np.delete(X, i, axis=0).mean(axis=0)).sum() for i in range(7)]
    )
    wanted = score_at_false_alarm_rate(expected, 0.05)
    assert MeanDistance().fit(X).offset_ == pytest.approx(wanted)


@each_baseline
@pytest.mark.parametrize(("n_rows", "warns"), [(3, True), (18, True), (19, False)])
def test_fewer_than_19_rows_cause_a_warning_of_the_threshold(detector, n_rows, warns):
    X = np.random.RandomState(0).normal(size=(n_rows, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clone(detector).fit(X)
        if n_rows >= 10:  # a tenth of fewer rows is less than one row
            clone(detector).set_params(contamination=0.1).fit(X)
    found = [w for w in caught if w.category is CalibrationWarning]
    assert len(found) == warns
    if warns:
        assert "Fit at least 19 normal rows" in str(found[0].message)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (20, 20)])
@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 10.0])
def test_the_mahalanobis_distance_has_the_shrunk_covariance(shape, shrinkage):
    rng = np.random.RandomState(0)
    X = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1]))
    new = 3 * rng.normal(size=(10, shape[1]))
    covariance = np.cov(X, rowvar=False)
    added = shrinkage * np.trace(covariance) / shape[1]
    inverse = np.linalg.inv(covariance + added * np.eye(shape[1]))
    differences = new - X.mean(axis=0)
    squared = np.einsum("ij,jk,ik->i", differences, inverse, differences)
    found = MahalanobisDistance(shrinkage).fit(X).score_samples(new)
    np.testing.assert_allclose(found, -np.sqrt(squared), rtol=1e-6)


def test_tables_and_images_are_shrunk_by_different_shares():
    digits = load_digits()
    for X, share in ((digits.data, 0.001), (digits.images, 0.1)):
        found = MahalanobisDistance().fit(X[:100]).score_samples(X)
        expected = MahalanobisDistance(share).fit(X[:100]).score_samples(X)
        np.testing.assert_array_equal(found, expected)


def test_the_mahalanobis_distance_from_equal_rows_is_euclidean():
    fitted = MahalanobisDistance().fit(np.ones((20, 2)))
    np.testing.assert_allclose(fitted.score_samples([[4.0, 5.0]]), -5)


@each_baseline
@pytest.mark.filterwarnings("error")
def test_equal_rows_have_the_distance_zero_and_are_normal(detector):
    X = np.ones((20, 2))
    fitted = clone(detector).fit(X)
    assert not fitted.score_samples(X).any()
    assert (fitted.predict([[1, 1], [4, 5]]) == [1, -1]).all()


def test_the_mahalanobis_threshold_is_cross_fitted():
    # In the training rows themselves 30 of 40 directions leave distances too small.
    rng = np.random.RandomState(0)
    X, new = rng.normal(size=(60, 40)), rng.normal(size=(2000, 40))
    fitted = MahalanobisDistance().fit(X)
    naive = np.percentile(fitted.score_samples(X), 5)
    assert (fitted.score_samples(new) < naive).mean() > 0.5
    # Each fold leaves out a fifth of the rows, so that fewer are flagged.
    assert (fitted.predict(new) == -1).mean() < 0.1

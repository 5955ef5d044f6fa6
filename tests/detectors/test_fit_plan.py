"""What weights of rows do to a fit."""

import numpy as np
import pytest
from cheap import cheap
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.exceptions import CalibrationWarning

DETECTORS = [
    cheap(AnoGANDetector),
    cheap(FAnoGANDetector),
    cheap(OCGANDetector),
    cheap(OCGANDetector, n_estimators=2, n_neighbors=3),
    cheap(AnoGANDetector, contamination=0.1),
    cheap(AnoGANDetector, support_fraction=0.8),
]
each = pytest.mark.parametrize("detector", DETECTORS, ids=str)


@pytest.fixture
def two_groups():
    """400 rows around 0, and 100 rows around 6."""
    rng = np.random.RandomState(0)
    return np.concatenate([rng.normal(size=(400, 4)), rng.normal(6, 1, (100, 4))])


def assert_alike(detector, other, X):
    assert np.array_equal(detector.score_samples(X), other.score_samples(X))
    assert detector.offset_ == other.offset_


@each
def test_equal_weights_are_as_none(detector, two_groups):
    weights = np.full(len(two_groups), 0.3)
    with_weights = clone(detector).fit(two_groups, sample_weight=weights)
    assert_alike(with_weights, clone(detector).fit(two_groups), two_groups)


@each
def test_a_row_of_weight_zero_is_as_if_left_out(detector, two_groups):
    weights = np.repeat([1, 0], [400, 100])
    with_weights = clone(detector).fit(two_groups, sample_weight=weights)
    without = clone(detector).fit(two_groups[:400])
    assert_alike(with_weights, without, two_groups)
    assert not with_weights.support_[400:].any()


def test_weights_of_anomalies_have_no_effect(two_groups):
    y = np.repeat([1, -1], [400, 100])
    weights = np.repeat([1.0, 50.0], [400, 100])
    with_weights = cheap(AnoGANDetector).fit(two_groups, y, weights)
    assert_alike(with_weights, cheap(AnoGANDetector).fit(two_groups, y), two_groups)


@pytest.mark.parametrize(
    "detector_class", [AnoGANDetector, FAnoGANDetector, OCGANDetector]
)
def test_a_group_of_small_weight_becomes_anomalous(detector_class, two_groups):
    y, labels = np.ones(500, int), np.repeat([1, -1], [400, 100])

    def auroc(weight):
        detector = detector_class(max_iter=30, random_state=0)
        detector.fit(two_groups, y, np.repeat([1.0, weight], [400, 100]))
        return roc_auc_score(labels, detector.score_samples(two_groups))

    assert auroc(0.05) > 0.9 > 0.8 > auroc(1.0) > auroc(20.0)


def test_the_threshold_counts_rows_by_their_weights(two_groups):
    # A fifth of the rows has half of the weight, and lies below the others.
    weights = np.repeat([1.0, 4.0], [400, 100])
    detector = cheap(AnoGANDetector, contamination=0.1, support_fraction=0.4)
    flagged = detector.fit(two_groups, None, weights).predict(two_groups) == -1
    assert np.average(flagged, weights=weights) == pytest.approx(0.1, abs=0.01)


def test_the_warning_of_few_rows_counts_each_row_once():
    X = np.random.RandomState(0).normal(size=(30, 3))
    with pytest.warns(CalibrationWarning, match=r"7 held-out normal rows \(of 30\)"):
        cheap(OCGANDetector).fit(X, np.ones(30), np.repeat([1.0, 9.0], 15))


def test_too_few_rows_with_a_weight_are_refused(two_groups):
    weights = np.eye(500)[0]
    with pytest.raises(ValueError, match=r"Found 1 row\(s\)"):
        cheap(AnoGANDetector).fit(two_groups, sample_weight=weights)


def test_fit_predict_passes_weights_to_fit(two_groups):
    weights = np.repeat([1, 0], [400, 100])
    labels = cheap(AnoGANDetector).fit_predict(two_groups, sample_weight=weights)
    expected = cheap(AnoGANDetector).fit(two_groups[:400]).predict(two_groups)
    assert np.array_equal(labels, expected)

"""Thresholds: the false alarm rate that they keep, and the rows that they rest on."""

import functools
import warnings

import numpy as np
import pytest
from scipy import stats

from skanogan.detectors._thresholds import (
    FALSE_ALARM_RATE,
    score_at_false_alarm_rate,
    threshold,
)
from skanogan.exceptions import CalibrationWarning
from skanogan.models import AnoGAN

N_SIMULATIONS = 2000


def share_below(n, distribution, rate=0.05):
    """The mean probability that a new row falls below the threshold, and its error."""
    rng = np.random.RandomState(n)
    anomaly_scores = distribution.rvs((N_SIMULATIONS, n), random_state=rng)
    thresholds = [score_at_false_alarm_rate(-scores, rate) for scores in anomaly_scores]
    shares = distribution.sf(-np.array(thresholds))
    return shares.mean(), shares.std() / np.sqrt(N_SIMULATIONS)


@pytest.mark.parametrize("n", [3, 8, 20, 30, 100, 1000])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
def test_5_percent_of_new_lognormal_scores_fall_below_the_threshold(n, sigma):
    mean, error = share_below(n, stats.lognorm(sigma))
    # The rate is exact for n < 19 and at the order statistics. Between two of them the
    # interpolation changes it by up to half a percent.
    assert mean == pytest.approx(0.05, abs=0.005 + 4 * error)


@pytest.mark.parametrize("n", [20, 30, 100, 1000])
@pytest.mark.parametrize(
    "distribution",
    [stats.chi2(3), stats.expon(), stats.uniform(1, 2), stats.t(3), stats.norm(-5)],
    ids=lambda frozen: frozen.dist.name,
)
def test_from_20_rows_the_rate_is_5_percent_for_any_distribution(n, distribution):
    mean, error = share_below(n, distribution)
    assert mean == pytest.approx(0.05, abs=0.012 + 4 * error)


@pytest.mark.parametrize("distribution", [stats.chi2(5), stats.gamma(20)])
def test_with_8_rows_the_rate_is_3_to_7_percent_for_other_distributions(distribution):
    mean, _ = share_below(8, distribution)
    assert 0.03 < mean < 0.07


@pytest.mark.parametrize("n", [5, 8, 18])
def test_scores_of_both_signs_are_treated_as_normal_instead_of_lognormal(n):
    mean, error = share_below(n, stats.norm(0, 2))
    assert mean == pytest.approx(0.05, abs=0.005 + 4 * error)


@pytest.mark.parametrize("n", [8, 20, 100])
def test_the_threshold_is_below_the_median(n):
    scores = -np.random.RandomState(0).lognormal(size=n)
    assert score_at_false_alarm_rate(scores, 0.05) < np.median(scores)


@pytest.mark.parametrize("n", [8, 20, 100])
def test_a_higher_rate_flags_more(n):
    scores = -np.random.RandomState(0).lognormal(size=n)
    low, high = (score_at_false_alarm_rate(scores, rate) for rate in (0.05, 0.2))
    assert low < high


@pytest.mark.parametrize("n", [8, 20, 100])
def test_scores_in_another_unit_scale_the_threshold(n):
    scores = -np.random.RandomState(0).lognormal(size=n)
    threshold = score_at_false_alarm_rate(scores, 0.05)
    scaled = score_at_false_alarm_rate(1000 * scores, 0.05)
    assert scaled == pytest.approx(1000 * threshold)


def test_with_19_rows_the_threshold_is_the_smallest_score():
    scores = -np.random.RandomState(0).lognormal(size=19)
    assert score_at_false_alarm_rate(scores, 0.05) == pytest.approx(scores.min())


@pytest.mark.parametrize("scores", [[-3.0], [-3.0, -3.0], [0.0] * 5, [-1e-300] * 4])
def test_the_threshold_of_equal_scores_is_that_score(scores):
    threshold = score_at_false_alarm_rate(np.array(scores), 0.05)
    assert threshold == pytest.approx(scores[0])


def test_two_scores_far_apart_have_a_finite_threshold():
    assert np.isfinite(score_at_false_alarm_rate(np.array([-1e-6, -1e6]), 0.05))


def test_a_detector_flags_about_5_percent_of_new_normal_rows(make_detector):
    # The mean over seeds, because the rate of one threshold from 60 held-out rows has a
    # standard deviation of 2.8 %.
    shares = []
    for seed in range(8):
        rng = np.random.RandomState(seed)
        X = rng.normal(size=(1600, 4)) @ rng.normal(size=(4, 4))
        detector = make_detector(random_state=seed, max_iter=30).fit(X[:600])
        shares.append((detector.predict(X[600:]) == -1).mean())
    assert 0.02 < np.mean(shares) < 0.08


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5])
def test_a_float_flags_that_share_of_the_rows_passed_to_fit(make_detector, share):
    # Regression: other packages take the threshold from the rate in the test data.
    X = np.random.RandomState(0).normal(size=(200, 3))
    detector = make_detector(contamination=share).fit(X)
    assert (detector.predict(X) == -1).sum() == 200 * share
    assert detector.offset_ == np.percentile(detector.score_samples(X), 100 * share)


@pytest.mark.parametrize(("n_rows", "warns"), [(60, True), (76, False)])
def test_too_few_held_out_rows_cause_a_warning(make_detector, n_rows, warns):
    X = np.random.RandomState(0).normal(size=(n_rows, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_detector().fit(X)
        make_detector(contamination=0.1).fit(X)
    found = [w for w in caught if w.category is CalibrationWarning]
    assert len(found) == warns
    if warns:
        assert "15 held-out normal rows (of 60). 19 are needed" in str(found[0].message)
        assert "Fit at least 76 normal rows" in str(found[0].message)
        assert found[0].filename == __file__


@pytest.mark.parametrize(("n_rows", "warns"), [(185, True), (186, False)])
def test_the_warning_counts_rows_for_the_validation_fraction(
    make_detector, n_rows, warns
):
    X = np.random.RandomState(0).normal(size=(n_rows, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_detector(validation_fraction=0.1, support_fraction=1).fit(X)
    found = [str(w.message) for w in caught if w.category is CalibrationWarning]
    assert len(found) == warns
    assert not warns or "Fit at least 186 normal rows" in found[0]


@pytest.mark.parametrize("contamination", ["auto", 0.1, 0.5])
def test_a_threshold_that_equals_scores_is_lowered_below_their_rounding(contamination):
    scores = np.repeat([-3.0, -2.0, 1.0], [8, 40, 11])
    offset = threshold(scores, contamination)
    tied = scores[np.abs(scores - offset).argmin()]
    assert tied - 1e-8 < offset < tied - 1e-10


def test_a_threshold_between_two_scores_is_not_moved():
    scores = np.arange(20.0)
    assert threshold(scores, 0.1) == np.percentile(scores, 10)


def test_the_threshold_of_scores_that_are_all_zero_is_zero():
    assert threshold(np.zeros(30), "auto") == threshold(np.zeros(30), 0.1) == 0


def test_contamination_changes_only_the_threshold_of_rows_that_all_stay(
    make_detector, blob
):
    make = functools.partial(make_detector, support_fraction=1)
    first, second = (make(contamination=c).fit(blob) for c in ("auto", 0.2))
    assert np.array_equal(first.score_samples(blob), second.score_samples(blob))
    assert first.offset_ != second.offset_


@pytest.fixture
def trained_on(monkeypatch):
    """The set of rows that models are trained on."""
    seen = set()
    step = AnoGAN.train_step

    def recorded(self, x):
        seen.update(map(tuple, x.tolist()))
        return step(self, x)

    monkeypatch.setattr(AnoGAN, "train_step", recorded)
    return seen


def test_held_out_rows_are_not_trained_on(make_detector, blob, trained_on):
    make_detector(validation_fraction=0.25, batch_size=10, max_iter=30).fit(blob)
    assert len(trained_on) == 60


def test_auto_calibrates_on_the_held_out_rows_only(make_detector, blob, trained_on):
    # Scores of training rows are higher than those of new rows.
    detector = make_detector(validation_fraction=0.25, batch_size=10, max_iter=30)
    detector.fit(blob)
    held_out = np.array([tuple(row) not in trained_on for row in blob])
    scores = detector.score_samples(blob[held_out])
    assert detector.offset_ == score_at_false_alarm_rate(scores, FALSE_ALARM_RATE)

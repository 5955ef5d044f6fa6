"""A refit, and another thread that scores meanwhile."""

import numpy as np
import pytest
from cheap import cheap

from skanogan import AnoGANDetector
from skanogan.baselines import MahalanobisDistance
from skanogan.conformal import ConformalDetector
from skanogan.image import PatchDetector
from skanogan.models import AnoGAN, Ensemble

IMAGES = np.random.RandomState(0).normal(size=(30, 12, 12))
ROWS = np.random.RandomState(0).normal(size=(60, 4))


def patches():
    return PatchDetector(cheap(AnoGANDetector), patch_size=8, random_state=0)


def conformal():
    return ConformalDetector(cheap(AnoGANDetector), alpha=0.1, random_state=0)


CASES = {
    "detector": (lambda: cheap(AnoGANDetector), ROWS),
    "conformal": (conformal, ROWS),
    "patches": (patches, IMAGES),
}


@pytest.fixture
def refit_while_scoring(monkeypatch):
    """Fit the detector again, on other rows, once a score has been computed."""
    score = Ensemble.score

    def refit(detector, X):
        def and_refit(model, x):
            found = score(model, x)
            monkeypatch.setattr(Ensemble, "score", score)
            detector.fit(X)
            return found

        monkeypatch.setattr(Ensemble, "score", and_refit)

    return refit


@pytest.mark.filterwarnings("ignore::skanogan.exceptions.CalibrationWarning")
@pytest.mark.parametrize("kind", CASES)
def test_a_refit_while_rows_are_scored_changes_neither_score_nor_threshold(
    kind, refit_while_scoring
):
    make, X = CASES[kind]
    detector = make().fit(X)
    expected, offset = detector.decision_function(X), detector.offset_
    refit_while_scoring(detector, 3 * X[::-1] + 1)
    assert np.array_equal(detector.decision_function(X), expected)
    assert detector.offset_ != offset


def test_p_values_compare_scores_with_the_calibration_of_the_same_fit(
    refit_while_scoring,
):
    detector = conformal().fit(ROWS)
    expected = detector.p_values(ROWS)
    refit_while_scoring(detector, 3 * ROWS)
    assert np.array_equal(detector.p_values(ROWS), expected)


def test_during_a_refit_the_attributes_are_those_of_the_earlier_fit(monkeypatch):
    detector = cheap(AnoGANDetector).fit(ROWS)
    before, step, seen = dict(vars(detector)), AnoGAN.train_step, []

    def looking(model, x):
        seen.append(all(vars(detector)[k] is v for k, v in before.items()))
        return step(model, x)

    monkeypatch.setattr(AnoGAN, "train_step", looking)
    detector.fit(ROWS[:, :2])
    assert seen == [True] * 10
    assert detector.n_features_in_ == 2


def test_a_baseline_keeps_its_attributes_if_its_second_fit_fails(monkeypatch):
    detector = MahalanobisDistance().fit(ROWS)
    expected = detector.decision_function(ROWS)
    monkeypatch.setattr(MahalanobisDistance, "_fit_rows", lambda self, X: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        detector.fit(ROWS[:, :2])
    assert np.array_equal(detector.decision_function(ROWS), expected)

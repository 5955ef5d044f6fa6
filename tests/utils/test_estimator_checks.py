"""The estimator checks find the faults that they are written for."""

import sys

import numpy as np
import pytest

from skanogan import AnoGANDetector
from skanogan.utils._check_parts import typical_size
from skanogan.utils.estimator_checks import (
    CHECKS,
    detector_checks,
    parametrize_with_checks,
)


class SubtractsTheMean(AnoGANDetector):
    def score_samples(self, X):
        scores = super().score_samples(X)
        return scores - scores.mean()


class KeepsRows(AnoGANDetector):
    def embed(self, X):
        self.rows_ = X
        return super().embed(X)


class DrawsGlobally(AnoGANDetector):
    def fit(self, X, y=None):
        np.random.rand()  # noqa: NPY002
        return super().fit(X, y)


class ChangesBeforeItFails(AnoGANDetector):
    def fit(self, X, y=None):
        self.token_ = object()
        return super().fit(X, y)


class ForgetsItsLastRecord(AnoGANDetector):
    def fit(self, X, y=None):
        super().fit(X, y)
        self.history_ = self.history_[:-1]
        return self


class ReconstructsZeros(AnoGANDetector):
    def reconstruct(self, X):
        return np.zeros_like(super().reconstruct(X))


class TablesOnly(AnoGANDetector):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = False
        return tags


def names_of_checks(detector):
    return [check.func.__name__ for _, check in detector_checks(detector)]


@pytest.mark.parametrize(
    ("fault", "name", "message"),
    [
        (SubtractsTheMean, "scores_depend_on_their_row_alone", "scored one by one"),
        (KeepsRows, "scoring_leaves_weights_unchanged", r"gained .*rows_"),
        (DrawsGlobally, "global_rng_untouched", r"fit changes .* of numpy"),
        (ChangesBeforeItFails, "failed_fit_leaves_detector_as_it_was", "token_"),
        (ForgetsItsLastRecord, "history_has_equal_intervals", "but n_iter_ is 5"),
        (ReconstructsZeros, "shapes_and_units", "not in the units of X"),
        (ReconstructsZeros, "rows_have_reconstructions_of_their_own", "has 1 diff"),
    ],
)
def test_a_check_names_the_fault_and_the_class(fault, name, message):
    (check,) = (each for each in CHECKS if each.__name__ == f"check_{name}")
    cheap = fault(max_iter=5, n_candidates=16, hidden_layer_sizes=(8,), device="cpu")
    with pytest.raises(AssertionError, match=rf"{fault.__name__}.*{message}"):
        check(fault.__name__, cheap)


def test_checks_of_images_are_left_out_for_detectors_of_tables():
    left_out = set(names_of_checks(AnoGANDetector()))
    left_out -= set(names_of_checks(TablesOnly()))
    assert left_out == {"check_image_and_flat_agree", "check_channels_are_last"}


def test_there_is_one_check_of_each_name():
    names = names_of_checks(AnoGANDetector())
    assert len(names) == len(set(names)) == len(CHECKS) > 20


@pytest.mark.parametrize(
    ("values", "size"), [([-3, 0, 1, 2], 1.5), ([0, 0, 0, -4], 4), ([0, 0], 1)]
)
def test_scores_of_zero_have_a_size_to_compare_with(values, size):
    assert typical_size(np.array(values)) == size


def test_the_error_without_pytest_names_two_remedies(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(ImportError, match=r"skanogan\[test\].*detector_checks"):
        parametrize_with_checks([AnoGANDetector()])

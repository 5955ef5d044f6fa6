"""The training of a detector: divergence, early ends, and the warnings about them."""

import numpy as np
import pytest
import torch

from skanogan import AnoGANDetector
from skanogan.exceptions import (
    BatchSizeWarning,
    DiscriminatorWinsWarning,
    DivergenceError,
    DivergenceWarning,
)
from skanogan.models import AnoGAN, FAnoGAN


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_before_the_first_record_is_an_error_with_advice(
    make_detector, blob
):
    detector = make_detector(learning_rate=1e30)
    with pytest.raises(
        DivergenceError,
        match=r"within its first 1 updates, and no earlier state was kept\. "
        "Lower learning_rate",
    ):
        detector.fit(blob)
    assert not hasattr(detector, "model_")


@pytest.fixture
def diverging_after(monkeypatch):
    """Make the updates of AnoGAN diverge after a number of them."""

    def diverge(n_updates):
        step, count = AnoGAN.train_step, [0]

        def broken(self, x):
            losses = step(self, x)
            count[0] += 1
            if count[0] > n_updates:
                with torch.no_grad():
                    next(self.generator.parameters()).fill_(torch.nan)
            return losses

        monkeypatch.setattr(AnoGAN, "train_step", broken)

    return diverge


def test_a_detector_that_diverges_keeps_its_last_finite_state(
    make_detector, blob, diverging_after
):
    healthy = make_detector(max_iter=33).fit(blob)
    diverging_after(33)
    detector = make_detector(max_iter=60)  # a record every 3 updates
    with pytest.warns(
        DivergenceWarning,
        match=r"by update 36 of 60\. .* state of update 33\. Lower learning_rate",
    ) as caught:
        detector.fit(blob)
    assert caught[0].filename == __file__
    assert detector.n_iter_ == 33
    assert detector.history_[-1]["n_iter"] == 33
    assert np.array_equal(detector.score_samples(blob), healthy.score_samples(blob))


def test_a_warm_start_that_diverges_leaves_the_first_fit(
    make_detector, blob, diverging_after
):
    detector = make_detector(warm_start=True).fit(blob)
    scores = detector.score_samples(blob)
    diverging_after(0)
    with pytest.raises(DivergenceError):
        detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), scores)
    assert detector.n_iter_ == 10


def test_divergence_before_the_first_record_of_the_encoder_is_an_error(
    make_fanogan, blob, monkeypatch
):
    # Regression: the detector scored with an encoder that had never been trained.
    step = FAnoGAN.train_step

    def diverging(self, x):
        losses = step(self, x)
        factors = {name: np.nan if name == "encoder_loss" else 1.0 for name in losses}
        return {name: factors[name] * loss for name, loss in losses.items()}

    monkeypatch.setattr(FAnoGAN, "train_step", diverging)
    with pytest.raises(DivergenceError, match="no earlier state was kept"):
        make_fanogan().fit(blob)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_training_reduces_the_residual_of_normal_rows_far_from_zero(
    make_detector, blob, zeros, kind
):
    # Regression: a generator that ends in tanh cannot reach rows around 100.
    X = (blob if kind == "table" else zeros) + 100
    search = {"anomaly_score": "residual", "n_candidates": 1, "n_steps": 30}
    residuals = [
        make_detector(max_iter=n, learning_rate=2e-3, **search).fit(X).score_samples(X)
        for n in (1, 300)
    ]
    assert np.isfinite(residuals).all()
    assert np.mean(residuals[1]) > np.mean(residuals[0])


def test_a_discriminator_that_wins_causes_a_warning():
    # D memorises 30 rows of 60 columns.
    rows = np.random.RandomState(0).uniform(size=(30, 60))
    detector = AnoGANDetector(
        max_iter=400, learning_rate=2e-3, gradient_penalty=0, random_state=0
    )
    with pytest.warns(DiscriminatorWinsWarning, match="gradient_penalty=1"):
        detector.fit(rows)
    last = detector.history_[-1]
    assert last["real_logit"] - last["drawn_logit"] >= 8


def test_a_discriminator_that_does_not_win_causes_no_warning(
    make_detector, blob, recwarn
):
    make_detector(max_iter=50).fit(blob)
    assert not [w for w in recwarn if w.category is DiscriminatorWinsWarning]


def test_a_batch_larger_than_the_training_rows_causes_a_warning(make_detector, blob):
    with pytest.warns(
        BatchSizeWarning, match="batch_size=73 is larger than the 60 rows to train on"
    ) as caught:
        make_detector(batch_size=73).fit(blob)
    assert caught[0].filename == __file__


def test_training_ends_when_the_validation_error_stops_falling(make_ocgan, blob):
    detector = make_ocgan(max_iter=200, learning_rate=0.5, n_iter_no_change=20)
    detector.fit(blob)
    errors = [record["validation_error"] for record in detector.history_]
    least = int(np.argmin(errors))
    every = detector.history_[0]["n_iter"]
    assert detector.n_iter_ < 200
    assert (len(errors) - 1 - least) * every == 20


def test_n_iter_no_change_ends_the_training_of_the_encoder_only(make_fanogan, blob):
    parameters = {"max_iter": 40, "encoder_max_iter": 100, "n_iter_no_change": 7}
    detector = make_fanogan(**parameters, encoder_learning_rate=1.0).fit(blob)
    assert 40 < detector.n_iter_ < 140

"""Every parameter of the GAN's detectors arrives where it is meant to."""

import numpy as np
import pytest

from skanogan.exceptions import DiscriminatorWinsWarning
from skanogan.models import AnoGAN, FAnoGAN
from skanogan.models._fanogan import FANOGAN_SCORES

OF_THE_BORDER = {
    *("image_shape", "contamination", "scoring_dtype", "warm_start", "memory"),
    *("checkpoint", "verbose", "device", "random_state", "validation_fraction"),
}
"""Tested where they are at home; the last two change which rows are trained on."""

NETWORKS = {"generator", "discriminator"}
"""tests/test_own_networks.py, tests/test_detector.py."""

OF_TRAINING = {
    "hidden_layer_sizes": (15, 16),
    "latent_dim": 3,
    "prior": "uniform",
    "adversarial_loss": "hinge",
    "gradient_penalty": 5.0,
    "learning_rate": 2e-3,
    "beta_1": 0.9,
    "averaging": 0.1,
    "max_iter": 9,
    "batch_size": 16,
    "whitening_floor": 0.5,
}

OF_THE_SEARCH = {
    "anomaly_score": "residual",
    "start": "nearest",
    "n_restarts": 2,
    "n_steps": 2,
    "step_size": 0.2,
    "tol": 0.9,
    "discrimination_weight": 0.9,
    "prior_weight": 2.0,
}

OF_THE_BANK = {"n_candidates": 7}

OF_THE_ENCODER = {
    "encoder_max_iter": 7,
    "encoder_learning_rate": 0.01,
    "encoder_activation": "tanh",
    "feature_weight": 3.0,
    "n_iter_no_change": 1,
}

OF_IMAGES = {"backbone": "mlp", "n_filters": 5}

SEARCH = {"anomaly_score": "anogan", "start": "random", "n_steps": 40}


def assert_scores_change(make, X, base, changed):
    plain, other = make(**base).fit(X), make(**{**base, **changed}).fit(X)
    assert not np.allclose(plain.score_samples(X), other.score_samples(X), rtol=1e-6)


def each(table):
    return pytest.mark.parametrize(
        "changed", [{name: value} for name, value in table.items()], ids=list(table)
    )


@each(OF_TRAINING)
@pytest.mark.parametrize("kind", ["make_detector", "make_fanogan"])
def test_a_parameter_of_training_changes_the_scores(request, kind, blob, changed):
    make = request.getfixturevalue(kind)
    assert_scores_change(make, blob, {"learning_rate": 5e-3}, changed)


@each(OF_THE_SEARCH)
def test_a_parameter_of_the_search_changes_the_scores(make_detector, blob, changed):
    assert_scores_change(make_detector, blob, SEARCH, changed)


@each(OF_THE_BANK)
def test_a_parameter_of_the_bank_changes_the_scores(make_detector, blob, changed):
    assert_scores_change(make_detector, blob, {}, changed)


@each({"encoder_max_iter": 7})
def test_a_parameter_of_anogans_encoder_changes_the_scores(
    make_detector, blob, changed
):
    base = {"start": "encoder", "encoder_max_iter": 12}
    assert_scores_change(make_detector, blob, base, changed)


@each({k: v for k, v in OF_THE_ENCODER.items() if k != "n_iter_no_change"})
def test_a_parameter_of_the_encoder_changes_the_scores(make_fanogan, blob, changed):
    base = {"anomaly_score": "f_anogan", "encoder_max_iter": 40}
    assert_scores_change(make_fanogan, blob, base, changed)


def test_patience_ends_the_encoders_training(make_fanogan, blob):
    # At this rate the error on held-out rows soon rises.
    base = {"encoder_learning_rate": 0.5, "encoder_max_iter": 40}
    patient = make_fanogan(**base).fit(blob)
    assert make_fanogan(**base, n_iter_no_change=1).fit(blob).n_iter_ < patient.n_iter_


@pytest.mark.parametrize("name", sorted(set(FANOGAN_SCORES) - {"whitened"}))
def test_the_score_of_fanogan_is_the_one_asked_for(make_fanogan, blob, name):
    assert_scores_change(make_fanogan, blob, {}, {"anomaly_score": name})


@each(OF_IMAGES)
@pytest.mark.parametrize("kind", ["make_detector", "make_fanogan"])
def test_a_parameter_of_images_changes_their_scores(request, kind, zeros, changed):
    make = request.getfixturevalue(kind)
    assert_scores_change(make, zeros, {"max_iter": 3}, changed)


def test_no_parameter_is_forgotten(make_detector, make_fanogan):
    common = OF_THE_BORDER | NETWORKS | set(OF_TRAINING) | set(OF_IMAGES)
    anogan = common | set(OF_THE_SEARCH) | set(OF_THE_BANK) | {"encoder_max_iter"}
    assert set(make_detector().get_params()) == anogan
    fanogan = common | set(OF_THE_ENCODER) | {"anomaly_score"}
    assert set(make_fanogan().get_params()) == fanogan


# Defaults that depend on the rows -----------------------------------------------


@pytest.mark.parametrize("kind", ["make_detector", "make_fanogan"])
@pytest.mark.parametrize(
    ("shape", "latent_dim"),
    [((5,), 5), ((1,), 1), ((64,), 64), ((200,), 64), ((7, 9), 63), ((8, 8), 32)],
)
def test_latent_dim_by_default_is_a_row_up_to_64_and_32_for_convolutions(
    request, kind, shape, latent_dim
):
    X = np.random.RandomState(0).normal(size=(12, *shape))
    make = request.getfixturevalue(kind)
    detector = make(latent_dim="auto", max_iter=1).fit(X)
    assert detector.model_.latent_dim == latent_dim


@pytest.mark.parametrize(
    ("shape", "batch_size"), [((5,), 128), ((4, 4), 64), ((8, 8), 64)]
)
def test_a_batch_by_default_is_128_rows_or_64_images(
    make_detector, monkeypatch, shape, batch_size
):
    seen, train_step = [], AnoGAN.train_step

    def counting(self, x):
        seen.append(len(x))
        return train_step(self, x)

    monkeypatch.setattr(AnoGAN, "train_step", counting)
    n = 5 * batch_size
    X = np.random.RandomState(0).normal(size=(n, *shape))
    make_detector(max_iter=4, validation_fraction=1 / 5).fit(X)
    assert seen == [batch_size] * 4


@pytest.mark.parametrize(("shape", "floor"), [((5,), 0.001), ((8, 8), 0.1)])
def test_the_floor_by_default_is_a_tenth_for_images_and_a_thousandth_for_tables(
    make_detector, make_fanogan, shape, floor
):
    X = np.random.RandomState(0).normal(size=(40, *shape))
    for make in (make_detector, make_fanogan):
        default, same = (
            make(max_iter=2, whitening_floor=given).fit(X).score_samples(X)
            for given in ("auto", floor)
        )
        assert np.array_equal(default, same)


# What a training says -------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "warns"),
    [("cross_entropy", True), ("hinge", False), ("least_squares", False)],
)
@pytest.mark.parametrize("model", [AnoGAN, FAnoGAN])
def test_a_wide_gap_of_logits_tells_of_a_lost_game_where_they_are_log_odds(
    make_detector, make_fanogan, blob, monkeypatch, recwarn, loss, warns, model
):
    train = model._train_gan

    def won(self, real):
        losses = train(self, real)
        return {**losses, "real_logit": losses["drawn_logit"] + 9}

    monkeypatch.setattr(model, "_train_gan", won)
    make = make_detector if model is AnoGAN else make_fanogan
    make(adversarial_loss=loss).fit(blob)
    told = [w for w in recwarn if issubclass(w.category, DiscriminatorWinsWarning)]
    assert bool(told) is warns

"""FAnoGANDetector: what the encoder adds to a GAN."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.utils._param_validation import InvalidParameterError

from skanogan.models._fanogan import FANOGAN_SCORES


@pytest.fixture
def labelled(blob):
    """120 rows, a third of them anomalies 6 deviations away, marked -1."""
    far = blob[:40] + 6 * blob.std(0)
    return np.concatenate([blob, far]), np.repeat([1, -1], [80, 40])


@pytest.fixture
def digits():
    """100 zeros and 50 ones of 8 x 8 pixels, marked 1 and -1."""
    digits = load_digits()
    zeros, ones = (digits.images[digits.target == k] for k in (0, 1))
    return np.concatenate([zeros[:100], ones[:50]]), np.repeat([1, -1], [100, 50])


def latents(detector, X):
    with torch.no_grad():
        return detector.model_.members[0].find_latents(torch.from_numpy(X)).numpy()


# Parameters -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("encoder_max_iter", -1),
        ("encoder_learning_rate", 0.0),
        ("feature_weight", -0.1),
        ("anomaly_score", "anogan"),
    ],
)
def test_a_parameter_out_of_range_is_refused_with_its_range(
    make_fanogan, blob, parameter, value
):
    detector = make_fanogan(**{parameter: value})
    with pytest.raises(
        InvalidParameterError, match=rf"'{parameter}' parameter of .* must be .* Got"
    ):
        detector.fit(blob)


@pytest.mark.parametrize(
    ("parameter", "value", "backbone"),
    [("hidden_layer_sizes", (16, 17), "mlp"), ("n_filters", 5, "convolutional")],
)
def test_sizes_apply_to_all_three_networks(
    make_fanogan, zeros, parameter, value, backbone
):
    plain, other = (
        make_fanogan(backbone=backbone, max_iter=1, **changed)
        .fit(zeros)
        .model_.members[0]
        for changed in ({}, {parameter: value})
    )
    for name in ("generator", "discriminator", "encoder"):
        first, second = (
            [weight.shape for weight in getattr(model, name).parameters()]
            for model in (plain, other)
        )
        assert first != second, name


def test_the_feature_weight_also_changes_the_training_of_the_encoder(
    make_fanogan, blob
):
    first, second = (
        make_fanogan(feature_weight=weight, anomaly_score="residual").fit(blob)
        for weight in (1.0, 30.0)
    )
    assert not np.allclose(first.score_samples(blob), second.score_samples(blob))


@pytest.mark.parametrize(("prior", "bounded"), [("normal", False), ("uniform", True)])
@pytest.mark.parametrize("kind", ["table", "images"])
def test_latents_are_bounded_if_the_prior_is_uniform(
    make_fanogan, blob, zeros, kind, prior, bounded
):
    X, parameters = (blob, {}) if kind == "table" else (zeros, {"image_shape": (8, 8)})
    X = X.reshape(len(X), -1)
    if kind == "images":
        parameters["backbone"] = "convolutional"
    detector = make_fanogan(prior=prior, **parameters)
    far = X.mean(0) + 1000 * (X - X.mean(0))
    far = far if kind == "table" else far.reshape(-1, 1, 8, 8)
    found = latents(detector.fit(X), far)
    assert found.shape == (len(X), 4)
    assert bool((np.abs(found) <= 1).all()) is bounded


# Anomalies --------------------------------------------------------------------


@pytest.mark.parametrize("score", FANOGAN_SCORES)
def test_every_score_separates_far_rows_from_normal_ones(make_fanogan, labelled, score):
    X, y = labelled
    detector = make_fanogan(anomaly_score=score, max_iter=100, encoder_max_iter=100)
    detector.fit(X, y)
    assert roc_auc_score(y, detector.score_samples(X)) > 0.9
    predicted = detector.predict(X)
    assert (predicted[y == -1] == -1).mean() > 0.8
    # The threshold comes from 16 held-out rows, and "latent" is a noisy score.
    assert (predicted[y == 1] == 1).mean() > 0.5


@pytest.mark.parametrize("backbone", ["mlp", "convolutional"])
def test_scores_separate_other_digits_from_zeros(make_fanogan, digits, backbone):
    X, y = digits
    detector = make_fanogan(backbone=backbone, max_iter=100, encoder_max_iter=50)
    detector.fit(X, y)
    assert detector.image_shape_ == (8, 8, 1)
    assert roc_auc_score(y, detector.score_samples(X)) > 0.95
    assert detector.reconstruct(X).shape == X.shape
    assert detector.anomaly_map(X).shape == X.shape


# The two stages ---------------------------------------------------------------


def test_history_holds_the_losses_of_both_stages(make_fanogan, blob):
    detector = make_fanogan(max_iter=30, encoder_max_iter=30).fit(blob)
    assert [record["n_iter"] for record in detector.history_] == [*range(3, 61, 3)]
    for record in detector.history_:
        of_gan = {"discriminator_loss", "generator_loss", "real_logit", "drawn_logit"}
        of_encoder = {"encoder_loss", "validation_error"}
        losses = of_gan if record["n_iter"] <= 30 else of_encoder
        assert set(record) == losses | {"n_iter", "seconds", "fit"}
    assert detector.n_iter_ == 60


def test_a_record_across_the_boundary_holds_the_mean_of_each_loss(make_fanogan, blob):
    # A batch holds all rows and the encoder hardly moves, so its loss is constant.
    detector = make_fanogan(
        max_iter=32, encoder_max_iter=28, encoder_learning_rate=1e-9
    ).fit(blob)
    shared, encoders_own = detector.history_[10:12]
    assert shared["n_iter"] == 33
    assert {"encoder_loss", "real_logit"} <= set(shared)
    # The first is the mean of one update, the second of three.
    assert shared["encoder_loss"] == pytest.approx(encoders_own["encoder_loss"], 1e-3)


def test_longer_training_of_the_encoder_lowers_the_error_of_new_rows(
    make_fanogan, blob
):
    few, many = (
        make_fanogan(encoder_max_iter=n, max_iter=100).fit(blob) for n in (1, 300)
    )
    errors = [d.history_[-1]["validation_error"] for d in (few, many)]
    assert errors[1] < errors[0]
    residuals = [np.square(d.anomaly_map(blob)).mean() for d in (few, many)]
    assert residuals[1] < residuals[0]


def test_updates_of_the_encoder_do_not_change_what_the_gan_draws(make_fanogan, blob):
    few, many = (make_fanogan(encoder_max_iter=n).fit(blob) for n in (1, 40))
    drawn = [d.sample(5, random_state=0) for d in (few, many)]
    assert np.array_equal(*drawn)
    assert not np.allclose(few.reconstruct(blob), many.reconstruct(blob))


def test_a_warm_start_trains_both_stages_again(make_fanogan, blob):
    detector = make_fanogan(warm_start=True).fit(blob)
    drawn, rebuilt = detector.sample(5, random_state=0), detector.reconstruct(blob)
    detector.fit(blob)
    assert detector.n_iter_ == 40
    assert not np.allclose(detector.sample(5, random_state=0), drawn)
    assert not np.allclose(detector.reconstruct(blob), rebuilt)

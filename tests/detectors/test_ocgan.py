"""OCGANDetector: parts, parameters, training and scores."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skanogan.exceptions import CollapseWarning, DivergenceWarning
from skanogan.models import OCGAN
from skanogan.models._ocgan import OCGAN_SCORES

KINDS = {"table": {}, "images": {"backbone": "convolutional"}}
"""The MLP is the default for images of 8 x 8 pixels."""

ABLATION = {
    "auto-encoder": (False, False, 0),
    "with latent discriminator": (True, False, 0),
    "with both discriminators": (True, True, 0),
    "with mining": (True, True, 5),
}


def parts(latent, visual, n_mining_steps):
    return {
        "latent_discriminator": latent,
        "visual_discriminator": visual,
        "n_mining_steps": n_mining_steps,
    }


@pytest.fixture
def mining_at_once(monkeypatch):
    """Let mining begin at the first update."""
    monkeypatch.setattr("skanogan.models._mining.CHECK_EVERY", 1)
    monkeypatch.setattr("skanogan.models._mining.UNEXPLAINED", np.inf)
    monkeypatch.setattr("skanogan.models._mining.BELIEVED", 0.0)


@pytest.fixture
def rows(blob, zeros):
    return {"table": blob, "images": zeros}


@pytest.fixture
def labelled(blob):
    """120 rows, a third of them anomalies 6 deviations away, marked -1."""
    far = blob[:40] + 6 * blob.std(0)
    return np.concatenate([blob, far]), np.repeat([1, -1], [80, 40])


@pytest.fixture
def rgb():
    """30 images of 9 x 8 pixels in three channels."""
    return np.random.RandomState(0).uniform(0, 255, size=(30, 9, 8, 3))


@pytest.fixture
def held_out(monkeypatch):
    """The rows that `validation_error` is called with, as tensors."""
    asked = []
    measure = OCGAN.validation_error

    def noted(self, x):
        asked.append(x.clone())
        return measure(self, x)

    monkeypatch.setattr(OCGAN, "validation_error", noted)
    return asked


@pytest.fixture
def scripted(monkeypatch):
    """Set the validation errors of the records and return the auto-encoders then."""

    def script(errors):
        coming, states = iter(errors), []

        def told(self, x):
            state = self._average.network.state_dict()
            states.append({name: value.clone() for name, value in state.items()})
            return torch.full((len(x),), next(coming))

        monkeypatch.setattr(OCGAN, "validation_error", told)
        return states

    return script


def is_in(detector, state):
    """Whether the fitted auto-encoder, in float64, has these weights in float32."""
    found = detector.model_.members[0].autoencoder.state_dict()
    return all(torch.equal(found[k].float(), state[k].float()) for k in state)


# Parts and scores -------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "parameter", "off", "on", "needs"),
    [
        ("latent", "latent_discriminator", False, True, "latent_discriminator=True"),
        ("visual", "visual_discriminator", False, True, "visual_discriminator=True"),
        ("classifier", "n_mining_steps", 0, 1, "n_mining_steps of 1 or more"),
    ],
)
def test_a_score_that_needs_a_part_switched_off_is_refused(
    make_ocgan, blob, score, parameter, off, on, needs
):
    detector = make_ocgan(anomaly_score=score, **{parameter: off})
    with pytest.raises(
        ValueError,
        match=rf"anomaly_score='{score}' was given with {parameter}={off}, but needs "
        rf"{needs}",
    ):
        detector.fit(blob)
    assert not hasattr(detector, "model_")
    detector.set_params(**{parameter: on}).fit(blob)


@pytest.mark.parametrize("score", OCGAN_SCORES)
@pytest.mark.parametrize("kind", KINDS)
def test_score_samples_is_minus_the_score_of_the_model(make_ocgan, rows, score, kind):
    X = rows[kind]
    detector = make_ocgan(anomaly_score=score, **KINDS[kind]).fit(X)
    x = torch.from_numpy(X)
    with torch.no_grad():
        expected = -detector.model_.score(x if kind == "table" else x[:, None])
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-4)
    assert len(np.unique(detector.score_samples(X))) > len(X) / 2


@pytest.mark.parametrize("score", ["whitened", "reconstruction"])
def test_scores_separate_far_rows_from_normal_ones(make_ocgan, labelled, score):
    X, y = labelled
    detector = make_ocgan(anomaly_score=score, max_iter=100).fit(X, y)
    assert roc_auc_score(y, detector.decision_function(X)) > 0.9


def test_scores_separate_other_digits_from_zeros(make_ocgan, zeros):
    digits = load_digits()
    ones = digits.images[digits.target == 1][:50]
    detector = make_ocgan(max_iter=100, **KINDS["images"]).fit(zeros[:50])
    scores = detector.score_samples(np.concatenate([zeros[50:], ones]))
    assert roc_auc_score(np.repeat([1, 0], 50), scores) > 0.9


@pytest.mark.parametrize("line", ABLATION)
def test_every_line_of_the_papers_ablation_learns(make_ocgan, blob, line):
    detector = make_ocgan(anomaly_score="reconstruction", max_iter=300)
    detector.set_params(**parts(*ABLATION[line])).fit(blob)
    errors = [record["validation_error"] for record in detector.history_]
    assert min(errors) < 0.6 * errors[0]
    present = [
        getattr(detector.model_.members[0], name) is not None
        for name in ("latent_discriminator", "visual_discriminator", "classifier")
    ]
    assert present == [bool(part) for part in ABLATION[line]]


@pytest.mark.usefixtures("mining_at_once")
def test_the_lines_of_the_ablation_are_four_different_detectors(make_ocgan, blob):
    scores = []
    for line in ABLATION.values():
        detector = make_ocgan(anomaly_score="reconstruction")
        scores.append(detector.set_params(**parts(*line)).fit(blob).score_samples(blob))
    for i, first in enumerate(scores):
        assert not any(np.array_equal(first, second) for second in scores[i + 1 :])


@pytest.mark.usefixtures("mining_at_once")
def test_mining_without_a_visual_discriminator_has_no_effect(make_ocgan, blob):
    scores = [
        make_ocgan(visual_discriminator=False, n_mining_steps=n_mining_steps)
        .fit(blob)
        .score_samples(blob)
        for n_mining_steps in (5, 0)
    ]
    assert np.array_equal(*scores)


# Parameters -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("hidden_layer_sizes", (15, 16)),
        ("normalization", "group"),
        ("normalization", "batch"),
        ("latent_dim", 3),
        ("noise_variance", 0.3),
        ("reconstruction_weight", 50.0),
        ("n_mining_steps", 4),
        ("learning_rate", 2e-3),
        ("discriminator_learning_rate", 1e-3),
        ("ema_decay", 0.1),
        ("batch_size", 16),
        ("shrinkage", 0.5),
        ("validation_fraction", 0.4),
    ],
)
@pytest.mark.usefixtures("mining_at_once")
def test_every_parameter_changes_the_scores_of_a_table(
    make_ocgan, blob, parameter, value
):
    base = {"learning_rate": 0.01, "max_iter": 12}
    plain = make_ocgan(**base).fit(blob)
    other = make_ocgan(**{**base, parameter: value}).fit(blob)
    assert not np.array_equal(plain.score_samples(blob), other.score_samples(blob))


@pytest.mark.parametrize(
    ("parameter", "value"), [("n_filters", 5), ("backbone", "mlp")]
)
def test_every_parameter_of_images_changes_their_scores(
    make_ocgan, zeros, parameter, value
):
    plain = make_ocgan(**KINDS["images"]).fit(zeros)
    other = make_ocgan(**{**KINDS["images"], parameter: value}).fit(zeros)
    assert not np.array_equal(plain.score_samples(zeros), other.score_samples(zeros))


def test_every_convolutional_network_has_the_channels_of_the_paper_or_n_filters(
    make_ocgan, zeros
):
    model = (
        make_ocgan(n_filters=5, max_iter=1, **KINDS["images"])
        .fit(zeros)
        .model_.members[0]
    )
    channels = [
        network.blocks[0][0].out_channels
        for network in (
            model.autoencoder.encoder,
            model.visual_discriminator,
            model.classifier,
        )
    ]
    assert channels == [5, 12, 5]


@pytest.mark.parametrize(
    ("shape", "latent_dim"),
    [((5,), 2), ((1,), 1), ((40,), 20), ((200,), 64), ((9, 8), 36), ((16, 17), 16)],
)
def test_latent_dim_by_default_is_half_a_row_up_to_64_and_16_for_convolutions(
    make_ocgan, shape, latent_dim
):
    X = np.random.RandomState(0).normal(size=(12, *shape))
    detector = make_ocgan(latent_dim="auto", max_iter=2).fit(X)
    assert detector.model_.members[0].latent_dim == latent_dim
    assert detector.embed(X).shape == (12, latent_dim)


@pytest.mark.parametrize(
    ("shape", "parameters", "convolutional"),
    [
        ((5,), {}, False),
        ((15, 16), {}, False),
        ((16, 16), {}, True),
        ((16, 16), {"backbone": "mlp"}, False),
        ((8, 9), {"backbone": "convolutional"}, True),
    ],
)
def test_images_of_16_by_16_and_more_have_convolutions_by_default(
    make_ocgan, shape, parameters, convolutional
):
    X = np.random.RandomState(0).normal(size=(12, *shape))
    model = make_ocgan(max_iter=1, **parameters).fit(X).model_.members[0]
    for network in (model.autoencoder.encoder, model.autoencoder.decoder):
        kinds = {type(layer) for layer in network.modules()}
        assert bool(kinds & {nn.Conv2d, nn.ConvTranspose2d}) == convolutional
        # The "auto" of normalization.
        assert (nn.GroupNorm in kinds) == convolutional
    for critic in (model.visual_discriminator, model.classifier):
        kinds = {type(layer) for layer in critic.modules()}
        assert (nn.Conv2d in kinds) == convolutional


@pytest.mark.parametrize(
    ("kind", "asked", "variance"),
    [
        ("table", "auto", 1.0),
        ("images", "auto", 0.2),
        ("table", 0.05, 0.05),
        ("images", 3, 3.0),
        ("images", 0, 0.0),
    ],
)
def test_noise_variance_by_default_depends_on_the_kind_of_rows(
    make_ocgan, rows, kind, asked, variance
):
    detector = make_ocgan(noise_variance=asked, max_iter=1).fit(rows[kind])
    assert detector.model_.members[0].game.noise_variance == variance


def test_mining_waits_while_the_networks_learn_nothing(make_ocgan, blob):
    detector = make_ocgan(learning_rate=1e-9, max_iter=60).fit(blob)
    assert [record["mining"] for record in detector.history_] == [0] * 20


def test_mining_begins_once_reconstructions_are_good_and_does_not_end(make_ocgan, blob):
    detector = make_ocgan(learning_rate=3e-3, max_iter=200).fit(blob)
    mining = [record["mining"] for record in detector.history_]
    assert mining[0] == 0
    assert mining[-1] == 1
    assert mining == sorted(mining)


# Training and the state that it keeps -----------------------------------------


def test_history_holds_losses_errors_and_seconds(make_ocgan, blob):
    detector = make_ocgan(max_iter=40).fit(blob)
    for record in detector.history_:
        assert set(record) == {
            "n_iter",
            "classifier_loss",
            "latent_loss",
            "visual_loss",
            "mining",
            "generator_loss",
            "reconstruction_error",
            "validation_error",
            "seconds",
            "fit",
        }
    assert [record["n_iter"] for record in detector.history_] == [*range(2, 41, 2)]


@pytest.mark.parametrize("learning_rate", [1e-3, 0.3])
@pytest.mark.parametrize("ema_decay", [0.0, 0.99])
@pytest.mark.parametrize("normalization", ["group", "batch"])
def test_the_state_that_scores_is_the_one_with_the_least_validation_error(
    make_ocgan, blob, held_out, learning_rate, ema_decay, normalization
):
    # Regression: models chosen by the AUROC on test data, or the last one taken.
    detector = make_ocgan(
        anomaly_score="reconstruction",
        learning_rate=learning_rate,
        ema_decay=ema_decay,
        normalization=normalization,
        max_iter=40,
    ).fit(blob)
    errors = [record["validation_error"] for record in detector.history_]
    found = -detector.score_samples(held_out[0].numpy()).mean()
    # The errors are computed in float32, the scores in float64.
    assert found == pytest.approx(min(errors), rel=1e-4)
    assert len(set(errors)) == 20


def test_a_worse_state_at_the_end_is_not_the_one_that_scores(
    make_ocgan, blob, scripted
):
    states = scripted([3.0, 1.0, 2.0, 4.0])
    detector = make_ocgan(max_iter=4).fit(blob)
    found = [record["validation_error"] for record in detector.history_]
    assert found == [3.0, 1.0, 2.0, 4.0]
    assert [is_in(detector, state) for state in states] == [False, True, False, False]
    assert detector.n_iter_ == 4


def test_held_out_rows_are_normal_and_not_trained_on(
    make_ocgan, labelled, held_out, monkeypatch
):
    X, y = labelled
    trained_on = []
    step = OCGAN.train_step

    def noted(self, x):
        trained_on.append(x.clone())
        return step(self, x)

    monkeypatch.setattr(OCGAN, "train_step", noted)
    make_ocgan().fit(X, y)
    validated = {tuple(row) for row in held_out[0].tolist()}
    trained = {tuple(row) for rows in trained_on for row in rows.tolist()}
    assert all(torch.equal(rows, held_out[0]) for rows in held_out)
    assert len(validated) == 20
    assert not validated & trained
    assert validated | trained == {tuple(row) for row in X[y == 1].tolist()}


def test_the_threshold_is_calibrated_on_the_rows_that_states_are_compared_on(
    make_ocgan, blob, held_out
):
    detector = make_ocgan(validation_fraction=0.5).fit(blob)
    flagged = detector.predict(held_out[0].numpy()) == -1
    assert 0 < flagged.sum() <= 0.05 * 41


def test_anomalies_in_y_are_left_out(make_ocgan, blob):
    y = np.where(np.arange(80) < 20, -1, 1)
    first = make_ocgan().fit(blob, y)
    second = make_ocgan().fit(np.where(y[:, None] == -1, 1e3, blob), y)
    assert np.array_equal(first.score_samples(blob), second.score_samples(blob))
    assert first.offset_ == second.offset_
    everything = make_ocgan().fit(blob)
    assert not np.array_equal(first.score_samples(blob), everything.score_samples(blob))


def test_a_fit_that_diverges_keeps_the_best_state_and_names_it(
    make_ocgan, blob, scripted
):
    states = scripted([3.0, 1.0, 2.0, np.nan])
    with pytest.warns(
        DivergenceWarning,
        match=r"by update 4 of 10\. .* state of update 2\. Lower learning_rate and",
    ):
        detector = make_ocgan().fit(blob)
    assert [is_in(detector, state) for state in states] == [False, True, False, False]
    assert np.isfinite(detector.score_samples(blob)).all()


def test_longer_training_lowers_the_error_of_new_normal_rows(make_ocgan, blob):
    old, new = blob[:60], blob[60:]
    errors = [
        -make_ocgan(anomaly_score="reconstruction", max_iter=n)
        .fit(old)
        .score_samples(new)
        .mean()
        for n in (1, 300)
    ]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("kind", KINDS)
def test_training_works_far_from_zero(make_ocgan, rows, kind):
    # Regression: rows around 100 under a tanh that ends at 1.
    X = rows[kind] + 100
    parameters = {"anomaly_score": "reconstruction", "learning_rate": 3e-3}
    parameters |= KINDS[kind]
    scores = [
        make_ocgan(max_iter=n, **parameters).fit(X).score_samples(X) for n in (1, 100)
    ]
    assert np.isfinite(scores).all()
    assert np.mean(scores[1]) > 0.7 * np.mean(scores[0])


def test_constant_reconstructions_give_a_warning_with_advice(
    make_ocgan, blob, monkeypatch
):
    finish = OCGAN.finish_training

    def flattened(self):
        finish(self)
        for weight in self.autoencoder.decoder.parameters():
            weight.zero_()

    monkeypatch.setattr(OCGAN, "finish_training", flattened)
    with pytest.warns(
        CollapseWarning,
        match=r"0\.0% of the variance.*Lower .* or raise reconstruction_weight",
    ) as caught:
        make_ocgan().fit(blob)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error::skanogan.exceptions.CollapseWarning")
def test_reconstructions_that_vary_give_no_warning(make_ocgan, blob):
    make_ocgan(max_iter=150, learning_rate=3e-3).fit(blob)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", ["group", "batch"])
def test_two_rows_are_enough_for_a_fit(make_ocgan, rows, kind, normalization):
    X = rows[kind]
    detector = make_ocgan(normalization=normalization, **KINDS[kind]).fit(X[:2])
    assert np.isfinite(detector.score_samples(X)).all()
    assert np.isfinite(detector.offset_)
    assert np.isfinite(detector.reconstruct(X)).all()


# Warm starts ------------------------------------------------------------------


def test_a_warm_start_continues_and_its_updates_add_up(make_ocgan, blob):
    detector = make_ocgan(warm_start=True).fit(blob)
    first = min(record["validation_error"] for record in detector.history_)
    detector.set_params(max_iter=200).fit(blob)
    assert detector.n_iter_ == 210
    updates = [record["n_iter"] for record in detector.history_]
    assert updates == [*range(1, 11), *range(20, 211, 10)]
    errors = [record["validation_error"] for record in detector.history_[10:]]
    assert errors[-1] < first


def test_a_warm_start_begins_with_the_weights_that_scores_use(make_ocgan, blob):
    detector = make_ocgan(warm_start=True).fit(blob)
    first = {k: w.clone() for k, w in detector.model_.named_parameters()}
    rates = {"learning_rate": 1e-9, "discriminator_learning_rate": 1e-9}
    detector.set_params(max_iter=1, **rates).fit(blob)
    for name, weight in detector.model_.named_parameters():
        torch.testing.assert_close(weight, first[name], atol=1e-6, rtol=0)


def test_a_warm_start_trains_a_part_that_is_switched_on(make_ocgan, blob):
    detector = make_ocgan(warm_start=True, n_mining_steps=0).fit(blob)
    detector.set_params(n_mining_steps=5, anomaly_score="classifier").fit(blob)
    assert np.isfinite(detector.score_samples(blob)).all()
    assert "mining" not in detector.history_[0]
    assert "mining" in detector.history_[-1]


# Seeds and pickles ------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("mining_at_once")
def test_the_seed_determines_scores_to_the_bit(make_ocgan, rows, kind):
    X = rows[kind]
    parameters = {"max_iter": 12, **KINDS[kind]}
    first, again, other = (
        make_ocgan(random_state=seed, **parameters).fit(X).score_samples(X)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("mining_at_once")
def test_fit_does_not_change_the_global_random_state(make_ocgan, rows, kind):
    X = rows[kind]
    before = torch.get_rng_state()
    detector = make_ocgan(**KINDS[kind]).fit(X)
    detector.score_samples(X)
    detector.sample(3, random_state=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pickle_scores_draws_and_reconstructs_as_the_original(make_ocgan, zeros):
    detector = make_ocgan(**KINDS["images"]).fit(zeros)
    opened = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(opened.score_samples(zeros), detector.score_samples(zeros))
    assert np.array_equal(opened.reconstruct(zeros), detector.reconstruct(zeros))
    drawn = [d.sample(3, random_state=0) for d in (detector, opened)]
    assert np.array_equal(*drawn)
    assert opened.history_ == detector.history_


def test_a_pickle_can_be_trained_further(make_ocgan, blob):
    detector = make_ocgan(warm_start=True).fit(blob)
    opened = pickle.loads(pickle.dumps(detector)).fit(blob)
    assert np.array_equal(
        opened.score_samples(blob), detector.fit(blob).score_samples(blob)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("mining_at_once")
def test_every_device_fits_and_scores(make_ocgan, rows, device, kind):
    X = rows[kind]
    detector = make_ocgan(device=device, **KINDS[kind]).fit(X)
    assert detector.device_.type == device
    assert np.isfinite(detector.score_samples(X)).all()
    assert detector.sample(2, random_state=0).shape == (2, *X.shape[1:])


# Kinds of rows --------------------------------------------------------------


def test_flat_rows_with_image_shape_are_the_images(make_ocgan, zeros):
    flat = zeros.reshape(len(zeros), -1)
    images = make_ocgan(**KINDS["images"]).fit(zeros)
    flattened = make_ocgan(image_shape=(8, 8), **KINDS["images"]).fit(flat)
    expected = images.score_samples(zeros)
    assert np.array_equal(flattened.score_samples(flat), expected)
    assert np.array_equal(images.score_samples(flat), expected)
    assert np.array_equal(flattened.reconstruct(zeros), images.reconstruct(zeros))


@pytest.mark.parametrize("backbone", ["convolutional", "mlp"])
def test_images_of_three_channels_are_accepted(make_ocgan, rgb, backbone):
    detector = make_ocgan(backbone=backbone).fit(rgb)
    assert detector.image_shape_ == (9, 8, 3)
    assert detector.score_samples(rgb).shape == (30,)
    assert detector.reconstruct(rgb).shape == rgb.shape
    assert detector.anomaly_map(rgb).shape == rgb.shape[:3]
    assert detector.sample(2, random_state=0).shape == (2, 9, 8, 3)


def test_samples_of_uint8_images_are_in_the_range_of_the_type(make_ocgan, zeros):
    images = (10 * zeros).astype(np.uint8)
    detector = make_ocgan(**KINDS["images"]).fit(images)
    assert detector.sample(100, random_state=0).min() >= 0
    assert detector.sample(100, random_state=0).max() <= 255


def test_samples_and_reconstructions_of_images_are_in_their_units(make_ocgan, zeros):
    X = 1000 + zeros
    detector = make_ocgan(max_iter=30, **KINDS["images"]).fit(X)
    for drawn in (detector.sample(100, random_state=0), detector.reconstruct(X)):
        assert drawn.shape == X.shape
        assert drawn.min() >= X.min()
        assert drawn.max() <= X.max()


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_codes_in_the_box(make_ocgan, rows, kind):
    X = rows[kind]
    codes = make_ocgan(latent_dim=3, **KINDS[kind]).fit(X).embed(X)
    assert codes.shape == (len(X), 3)
    assert np.abs(codes).max() < 1
    assert codes.std(0).min() > 0


def test_decoded_embeddings_are_the_reconstructions(make_ocgan, blob):
    detector = make_ocgan(n_neighbors=0).fit(blob)
    codes = torch.from_numpy(detector.embed(blob))
    with torch.no_grad():
        decoded = detector.model_.members[0].autoencoder.decoder(codes).numpy()
    scaling = detector.model_.scaling
    expected = decoded * scaling.scale.numpy() + scaling.shift.numpy()
    np.testing.assert_allclose(detector.reconstruct(blob), expected, rtol=1e-9)


def test_scores_do_not_depend_on_the_other_rows_or_on_earlier_calls(make_ocgan, blob):
    detector = make_ocgan(normalization="batch").fit(blob)
    expected = detector.score_samples(blob)
    far = np.concatenate([blob[:5], blob[:1] + 1e4])
    np.testing.assert_allclose(detector.score_samples(far)[:5], expected[:5], rtol=1e-9)
    detector.sample(5)
    detector.reconstruct(blob)
    assert np.array_equal(detector.score_samples(blob), expected)


# Tools of scikit-learn ------------------------------------------------------


def minus_reconstruction_error(detector, X, y=None):
    """The paper chooses learning rate and size of the code by normal rows alone."""
    return -np.mean(((X - detector.reconstruct(X)) / X.std(0)) ** 2)


def test_a_grid_search_can_select_by_the_error_on_normal_rows(make_ocgan, blob):
    search = GridSearchCV(
        make_ocgan(max_iter=60),
        {"learning_rate": [1e-6, 3e-3], "latent_dim": [1, 4]},
        scoring=minus_reconstruction_error,
        cv=KFold(2),
        error_score="raise",
    ).fit(blob)
    assert search.best_params_["learning_rate"] == 3e-3
    assert (
        search.best_estimator_.embed(blob).shape[1]
        == (search.best_params_["latent_dim"])
    )
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_clone_is_unfitted_and_has_the_parameters(make_ocgan, blob):
    detector = make_ocgan(n_mining_steps=0, noise_variance=0.05).fit(blob)
    other = clone(detector)
    assert not hasattr(other, "model_")
    assert other.get_params() == detector.get_params()
    assert np.array_equal(
        other.fit(blob).score_samples(blob), detector.score_samples(blob)
    )

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_outlier_detector
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skanogan.exceptions import CollapseWarning


@pytest.fixture
def labelled(blob):
    """160 rows, a quarter of them anomalies 6 deviations away, marked -1."""
    far = blob[:40] + 6 * blob.std(0)
    X = np.concatenate([blob, blob + 0.01 * blob.std(0), far])
    return X, np.repeat([1, -1], [160, 40])


def networks(d=5, latent_dim=3):
    return {
        "generator": nn.Sequential(
            nn.Linear(latent_dim, 8), nn.ReLU(), nn.Linear(8, d)
        ),
        "discriminator": nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1)),
        "latent_dim": latent_dim,
    }


class OwnDiscriminator(nn.Module):
    def __init__(self, d=5):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(d, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(8, 1)

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.body(x))


# In scikit-learn's tools ------------------------------------------------------


def test_a_detector_is_an_outlier_detector_also_in_a_pipeline(make_detector):
    assert is_outlier_detector(make_detector())
    assert is_outlier_detector(make_pipeline(StandardScaler(), make_detector()))


def test_a_pipeline_with_a_scaler_scores_like_the_detector(make_detector, blob):
    pipeline = make_pipeline(StandardScaler(), make_detector()).fit(blob)
    alone = make_detector().fit(blob)
    # Columns are standardised twice, with a rounding in between
    np.testing.assert_allclose(
        pipeline.score_samples(blob), alone.score_samples(blob), rtol=1e-3
    )
    assert set(pipeline.predict(blob)) <= {-1, 1}


def test_a_grid_search_ranks_by_roc_auc_of_labels_1_and_minus_1(
    make_detector, labelled
):
    X, y = labelled
    search = GridSearchCV(
        make_detector(),
        {"anomaly_score": ["whitened", "residual"]},
        scoring="roc_auc",
        cv=StratifiedKFold(2),
        error_score="raise",
    ).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.predict(X).shape == (200,)


def test_cross_validation_takes_images(make_detector, zeros):
    X = np.concatenate([zeros, 16 - zeros[:50]])
    y = np.repeat([1, -1], [100, 50])
    scores = cross_val_score(
        make_detector(max_iter=150),
        X,
        y,
        scoring="roc_auc",
        cv=StratifiedKFold(2),
        error_score="raise",
    )
    assert scores.min() > 0.9


@pytest.mark.parametrize(
    "score", ["whitened", "anogan", "residual", "discrimination", "gan_r"]
)
@pytest.mark.parametrize("start", ["nearest", "random"])
def test_every_score_tells_far_rows_from_normal_ones(
    make_detector, labelled, score, start
):
    X, y = labelled
    detector = make_detector(anomaly_score=score, start=start, n_steps=10, max_iter=30)
    detector.fit(X, y)
    assert roc_auc_score(y, detector.decision_function(X)) > 0.9


def test_predictions_are_the_sign_of_the_decision_function(make_detector, blob):
    detector = make_detector(contamination=0.2).fit(blob)
    decision = detector.decision_function(blob)
    np.testing.assert_allclose(
        decision, detector.score_samples(blob) - detector.offset_
    )
    assert np.array_equal(detector.predict(blob), np.where(decision < 0, -1, 1))
    assert np.array_equal(
        make_detector(contamination=0.2).fit_predict(blob), detector.predict(blob)
    )


def test_a_score_of_exactly_the_offset_is_normal(make_detector, blob):
    detector = make_detector().fit(blob)
    detector.offset_ = detector.score_samples(blob[:1])[0]
    assert detector.predict(blob[:1]) == 1


# Defects of other implementations ---------------------------------------------


def test_regression_scores_do_not_depend_on_the_calls_before(make_detector, blob):
    # A latent carried over from row to row, and networks that go on training.
    detector = make_detector(start="random", anomaly_score="anogan", n_steps=5)
    detector.fit(blob)
    expected = detector.score_samples(blob)
    detector.score_samples(blob[::-1] * 3)
    detector.sample(5)
    detector.reconstruct(blob)
    assert np.array_equal(detector.score_samples(blob), expected)


def test_regression_scores_are_not_scaled_over_the_test_set(make_detector, blob):
    detector = make_detector().fit(blob)
    expected = detector.score_samples(blob[:5])
    outlier = blob[:1] + 1e4
    with_outlier = detector.score_samples(np.concatenate([blob[:5], outlier]))
    np.testing.assert_allclose(with_outlier[:5], expected, rtol=1e-9)
    assert expected.min() < 0


def test_regression_batch_norm_and_dropout_rest_while_scoring(make_detector, blob):
    own = {**networks(), "discriminator": OwnDiscriminator()}
    own["generator"].insert(1, nn.BatchNorm1d(8))
    own["generator"].append(nn.Dropout(0.5))
    detector = make_detector(**own, n_steps=3).fit(blob)
    scores = detector.score_samples(blob)
    assert np.array_equal(detector.score_samples(blob), scores)
    one_by_one = [detector.score_samples(x[None])[0] for x in blob]
    np.testing.assert_allclose(one_by_one, scores, rtol=1e-9)


def test_regression_rows_get_latents_of_their_own(make_detector, blob):
    detector = make_detector(start="random", anomaly_score="anogan", n_steps=20)
    detector.fit(blob)
    x = torch.from_numpy(blob)
    latents = detector.model_.find_latents(x)
    # Adam's steps on a sum of absolute values may agree for two rows, not for most.
    assert len(torch.unique(latents, dim=0)) > len(blob) / 2


def test_regression_the_search_lowers_the_loss_of_new_rows(make_detector, blob):
    losses = [
        -make_detector(start="random", anomaly_score="anogan", n_steps=n)
        .fit(blob)
        .score_samples(blob)
        .mean()
        for n in (0, 10, 100)
    ]
    assert losses[2] < losses[1] < losses[0]


# Networks of one's own --------------------------------------------------------


def test_own_sequential_networks_are_used_and_left_as_they_were(make_detector, blob):
    own = networks()
    before = copy.deepcopy(own["generator"].state_dict())
    detector = make_detector(**own, learning_rate=1e-2).fit(blob)
    after = own["generator"].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert own["generator"].training
    fitted = detector.model_.generator.state_dict()
    assert set(fitted) == set(before)
    assert any(not torch.equal(before[k], fitted[k].float()) for k in before)


def test_training_starts_from_the_weights_of_own_networks(make_detector, blob):
    own = networks()
    detector = make_detector(**own, max_iter=1, learning_rate=1e-9).fit(blob)
    for a, b in zip(
        own["generator"].parameters(),
        detector.model_.generator.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a.detach(), b.float(), atol=1e-6, rtol=0)


def test_own_discriminator_gives_the_embedding(make_detector, blob):
    detector = make_detector(discriminator=OwnDiscriminator()).fit(blob)
    assert detector.embed(blob).shape == (80, 8)
    own = make_detector(**networks()).fit(blob)
    assert own.embed(blob).shape == (80, 8)


def test_own_networks_in_float64_and_frozen_are_trained_like_any_other(
    make_detector, blob
):
    own = networks()
    plain = make_detector(**own).fit(blob)
    for network in (own["generator"], own["discriminator"]):
        network.double().requires_grad_(False).eval()
    other = make_detector(**own).fit(blob)
    assert np.array_equal(plain.score_samples(blob), other.score_samples(blob))


def test_own_networks_are_cloned_and_pickled(make_detector, blob):
    detector = make_detector(**networks())
    expected = detector.fit(blob).score_samples(blob)
    for other in (clone(detector).fit(blob), pickle.loads(pickle.dumps(detector))):
        assert np.array_equal(other.score_samples(blob), expected)


def test_own_networks_of_images_work_on_images(make_detector, zeros):
    generator = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
    discriminator = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1)
    )
    detector = make_detector(
        generator=generator, discriminator=discriminator, latent_dim=3
    ).fit(zeros)
    assert detector.reconstruct(zeros).shape == zeros.shape


# Kinds of rows ----------------------------------------------------------------


def test_a_memmap_of_uint8_images_is_read_and_left_alone(
    make_detector, zeros, tmp_path
):
    images = (15 * zeros).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    detector = make_detector().fit(mapped)
    expected = make_detector().fit(images)
    assert np.array_equal(
        detector.score_samples(mapped), expected.score_samples(images)
    )
    assert np.array_equal(np.load(tmp_path / "images.npy"), images)


def test_rows_that_do_not_stay_on_the_device_give_the_same_scores(
    make_detector, blob, monkeypatch
):
    expected = make_detector().fit(blob).score_samples(blob)
    monkeypatch.setattr("skanogan._inputs.RESIDENT_BYTES", {"cpu": 0})
    assert np.array_equal(make_detector().fit(blob).score_samples(blob), expected)


def test_reconstructions_of_lists_of_images_have_their_shape(make_detector, zeros):
    detector = make_detector().fit(zeros.tolist())
    assert detector.image_shape_ == (8, 8, 1)
    assert detector.reconstruct(zeros.tolist()).shape == zeros.shape


def test_small_images_get_an_mlp_and_larger_ones_convolutions(make_detector, zeros):
    def kinds(detector):
        return {type(module) for module in detector.model_.modules()}

    assert nn.Conv2d in kinds(make_detector().fit(zeros))
    assert nn.Conv2d not in kinds(make_detector().fit(zeros[:, 1:]))
    assert nn.Conv2d not in kinds(make_detector(backbone="mlp").fit(zeros))


def test_images_of_odd_sizes_and_four_channels_are_taken(make_detector):
    rng = np.random.RandomState(0)
    for shape in [(9, 8), (11, 13, 2), (8, 17, 3), (16, 9, 4)]:
        X = rng.uniform(size=(12, *shape))
        detector = make_detector(max_iter=2).fit(X)
        assert detector.reconstruct(X).shape == X.shape
        assert detector.anomaly_map(X).shape == X.shape[:3]


def test_feature_names_are_kept_of_frames_alone(make_detector, blob):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(blob, columns=list("abcde"))
    detector = make_detector().fit(frame)
    assert detector.feature_names_in_.tolist() == list("abcde")
    assert not hasattr(make_detector().fit(blob), "feature_names_in_")
    with pytest.raises(ValueError, match="feature names"):
        detector.score_samples(frame[list("edcba")])


# What a fit says --------------------------------------------------------------


def test_a_collapsed_generator_is_told_with_a_remedy(make_detector, blob):
    # Regression: a generator that draws one row for all latents goes unnoticed.
    with torch.no_grad():
        generator = nn.Linear(4, 5)
        generator.weight.zero_()
    detector = make_detector(generator=generator, max_iter=1, learning_rate=1e-9)
    with pytest.warns(
        CollapseWarning, match=r"0\.0% of the variance.*gradient_penalty=1"
    ) as caught:
        detector.fit(blob)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error::skanogan.exceptions.CollapseWarning")
def test_a_generator_that_spreads_is_not_warned_about(make_detector, blob):
    with torch.no_grad():
        generator = nn.Linear(5, 5)
        generator.weight.copy_(torch.eye(5))
    make_detector(generator=generator, latent_dim=5, max_iter=1).fit(blob)


def test_a_bar_is_drawn_on_stderr_and_only_when_asked_for(make_detector, blob, capfd):
    make_detector(verbose=1).fit(blob)
    out, err = capfd.readouterr()
    assert out == ""
    assert "AnoGANDetector" in err
    assert "10/10" in err
    assert "generator_loss" in err


def test_by_default_nothing_is_written(make_detector, blob, capfd):
    detector = make_detector().fit(blob)
    detector.predict(blob)
    assert capfd.readouterr() == ("", "")


def test_a_torch_device_is_taken_and_kept(make_detector, blob):
    device = torch.device("cpu")
    detector = make_detector(device=device).fit(blob)
    assert detector.device_ == device
    assert detector.device is device
    assert clone(detector).device == device


def test_history_holds_losses_logits_and_seconds(make_detector, blob):
    detector = make_detector(max_iter=40).fit(blob)
    assert set(detector.history_[0]) == {
        "n_iter",
        "discriminator_loss",
        "generator_loss",
        "real_logit",
        "drawn_logit",
        "seconds",
        "fit",
    }
    assert [record["n_iter"] for record in detector.history_] == [*range(2, 41, 2)]
    assert detector.n_iter_ == 40


def test_a_warm_start_goes_on_from_the_weights_that_scored(make_detector, blob):
    detector = make_detector(warm_start=True, averaging=0.0).fit(blob)
    first = [w.clone() for w in detector.model_.generator.parameters()]
    detector.set_params(max_iter=1, learning_rate=1e-9).fit(blob)
    for a, b in zip(first, detector.model_.generator.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert [record["n_iter"] for record in detector.history_] == [*range(1, 12)]


def test_a_warm_start_takes_the_parameters_as_they_are_now(make_detector, blob):
    detector = make_detector(warm_start=True, anomaly_score="residual").fit(blob)
    before = detector.score_samples(blob)
    detector.set_params(max_iter=1, learning_rate=1e-9, anomaly_score="p_d").fit(blob)
    x = torch.from_numpy(blob)
    expected = detector.model_.discriminator(detector.model_._scaled(x)).numpy()
    np.testing.assert_allclose(detector.score_samples(blob), expected, rtol=1e-9)
    assert not np.allclose(before, expected)


def test_a_warm_start_keeps_the_scaling_to_the_digit(make_detector, blob):
    detector = make_detector(warm_start=True).fit(blob + 1e7)
    shift = detector.model_.scaling.shift.clone()
    detector.fit(blob + 1e7)
    assert torch.equal(detector.model_.scaling.shift, shift)


# Samples and seeds ------------------------------------------------------------


def test_samples_repeat_with_a_seed(make_detector, blob):
    detector = make_detector().fit(blob)
    first, again, other = (detector.sample(4, random_state=s) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_samples_of_a_random_state_instance_move_it_on(make_detector, blob):
    detector = make_detector().fit(blob)
    used, equal = np.random.RandomState(0), np.random.RandomState(0)
    first, second = (detector.sample(4, random_state=used) for _ in range(2))
    assert np.array_equal(detector.sample(4, random_state=equal), first)
    assert not np.array_equal(first, second)


def test_another_seed_gives_another_detector(make_detector, blob):
    first, second = (
        make_detector(random_state=s).fit(blob).score_samples(blob) for s in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_a_random_state_instance_moves_on_from_fit_to_fit(make_detector, blob):
    rng = np.random.RandomState(0)
    first, second = (
        make_detector(random_state=rng).fit(blob).score_samples(blob) for _ in range(2)
    )
    assert not np.array_equal(first, second)

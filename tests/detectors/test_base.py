"""Detectors as users meet them: labels, scores, networks of their own, warnings."""

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

from skanogan.conformal import ConformalDetector
from skanogan.exceptions import CollapseWarning
from skanogan.models import AnoGAN


@pytest.fixture
def labelled(blob):
    """200 rows, a fifth of them anomalies 6 deviations away, marked -1."""
    far = blob[:40] + 6 * blob.std(0)
    X = np.concatenate([blob, blob + 0.01 * blob.std(0), far])
    return X, np.repeat([1, -1], [160, 40])


def networks(d=5, latent_dim=3):
    """Parameters of a detector with two networks of the user."""
    return {
        "generator": nn.Sequential(
            nn.Linear(latent_dim, 8), nn.ReLU(), nn.Linear(8, d)
        ),
        "discriminator": nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1)),
        "latent_dim": latent_dim,
    }


class WithFeatures(nn.Module):
    """A discriminator with a method `features`."""

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


# In the tools of scikit-learn ------------------------------------------------------


def test_a_detector_and_its_pipeline_are_outlier_detectors(make_detector):
    assert is_outlier_detector(make_detector())
    assert is_outlier_detector(make_pipeline(StandardScaler(), make_detector()))


def test_a_pipeline_with_a_scaler_scores_like_the_detector(make_detector, blob):
    pipeline = make_pipeline(StandardScaler(), make_detector()).fit(blob)
    alone = make_detector().fit(blob)
    # Standardised columns are standardised again, with a rounding between.
    np.testing.assert_allclose(
        pipeline.score_samples(blob), alone.score_samples(blob), rtol=1e-3
    )
    assert set(pipeline.predict(blob)) <= {-1, 1}


def test_a_grid_search_by_roc_auc_finds_the_anomalies(make_detector, labelled):
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


def test_cross_validation_accepts_images(make_detector, zeros):
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
@pytest.mark.parametrize("n_candidates", [64, 1])
def test_every_score_separates_far_rows_from_normal_rows(
    make_detector, labelled, score, n_candidates
):
    X, y = labelled
    detector = make_detector(
        anomaly_score=score, n_candidates=n_candidates, n_steps=10, max_iter=30
    )
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


# Labels -----------------------------------------------------------------------


@pytest.fixture(params=["make_detector", "make_fanogan", "make_ocgan"])
def make(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def quarter(blob):
    """Labels of `blob` by which every fourth row is an anomaly."""
    labels = np.ones(len(blob), int)
    labels[::4] = -1
    return labels


def test_fit_predict_leaves_anomalies_out_of_the_fit(make, blob, quarter):
    expected = make().fit(blob, quarter)
    detector = make()
    labels = detector.fit_predict(blob, quarter)
    assert np.array_equal(labels, expected.predict(blob))
    assert detector.offset_ == expected.offset_ != make().fit(blob).offset_


def test_fit_predict_of_a_conformal_detector_leaves_anomalies_out(
    make_detector, blob, quarter
):
    detector = ConformalDetector(make_detector(), alpha=0.2, random_state=0)
    expected = copy.deepcopy(detector).fit(blob, quarter).decision_function(blob)
    labels = detector.fit_predict(blob, quarter)
    assert np.array_equal(labels, np.where(expected < 0, -1, 1))
    assert len(detector.calibration_scores_) == 15


# Defects of other packages ----------------------------------------------------


def test_scores_do_not_depend_on_earlier_calls(make_detector, blob):
    # A latent that is kept from row to row, or networks that continue to train.
    detector = make_detector(n_candidates=1, anomaly_score="anogan", n_steps=5)
    detector.fit(blob)
    expected = detector.score_samples(blob)
    detector.score_samples(blob[::-1] * 3)
    detector.sample(5)
    detector.reconstruct(blob)
    assert np.array_equal(detector.score_samples(blob), expected)


def test_scores_are_not_scaled_over_the_test_set(make_detector, blob):
    detector = make_detector().fit(blob)
    expected = detector.score_samples(blob[:5])
    outlier = blob[:1] + 1e4
    with_outlier = detector.score_samples(np.concatenate([blob[:5], outlier]))
    np.testing.assert_allclose(with_outlier[:5], expected, rtol=1e-9)
    assert expected.min() < 0


def test_scoring_uses_batch_normalisation_and_dropout_in_eval_mode(make_detector, blob):
    own = {**networks(), "discriminator": WithFeatures()}
    own["generator"].insert(1, nn.BatchNorm1d(8))
    own["generator"].append(nn.Dropout(0.5))
    detector = make_detector(**own, n_steps=3).fit(blob)
    scores = detector.score_samples(blob)
    assert np.array_equal(detector.score_samples(blob), scores)
    one_by_one = [detector.score_samples(x[None])[0] for x in blob]
    np.testing.assert_allclose(one_by_one, scores, rtol=1e-9)


def test_rows_that_start_from_one_latent_find_different_latents(make_detector, blob):
    detector = make_detector(n_candidates=1, anomaly_score="anogan", n_steps=20)
    detector.fit(blob)
    x = torch.from_numpy(blob)
    latents = detector.model_.members[0].find_latents(x)
    # The steps of Adam on a sum of absolute values can be equal for some rows.
    assert len(torch.unique(latents, dim=0)) > len(blob) / 2


def test_more_steps_of_the_search_lower_the_loss(make_detector, blob):
    losses = [
        -make_detector(n_candidates=1, anomaly_score="anogan", n_steps=n)
        .fit(blob)
        .score_samples(blob)
        .mean()
        for n in (0, 10, 100)
    ]
    assert losses[2] < losses[1] < losses[0]


# Networks of the user ---------------------------------------------------------


def test_given_networks_are_copied_and_the_copies_trained(make_detector, blob):
    own = networks()
    before = copy.deepcopy(own["generator"].state_dict())
    detector = make_detector(**own, learning_rate=1e-2).fit(blob)
    after = own["generator"].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert own["generator"].training
    fitted = detector.model_.members[0].generator.state_dict()
    assert set(fitted) == set(before)
    assert any(not torch.equal(before[k], fitted[k].float()) for k in before)


def test_training_starts_from_the_given_weights(make_detector, blob):
    own = networks()
    detector = make_detector(**own, max_iter=1, learning_rate=1e-9).fit(blob)
    for a, b in zip(
        own["generator"].parameters(),
        detector.model_.members[0].generator.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a.detach(), b.float(), atol=1e-6, rtol=0)


def test_a_given_discriminator_computes_the_embedding(make_detector, blob):
    detector = make_detector(discriminator=WithFeatures()).fit(blob)
    assert detector.embed(blob).shape == (80, 8)
    own = make_detector(**networks()).fit(blob)
    assert own.embed(blob).shape == (80, 8)


def test_given_networks_in_float64_and_frozen_are_trained_as_others(
    make_detector, blob
):
    own = networks()
    plain = make_detector(**own).fit(blob)
    for network in (own["generator"], own["discriminator"]):
        network.double().requires_grad_(False).eval()
    other = make_detector(**own).fit(blob)
    assert np.array_equal(plain.score_samples(blob), other.score_samples(blob))


def test_detectors_with_given_networks_are_cloned_and_pickled(make_detector, blob):
    detector = make_detector(**networks())
    expected = detector.fit(blob).score_samples(blob)
    for other in (clone(detector).fit(blob), pickle.loads(pickle.dumps(detector))):
        assert np.array_equal(other.score_samples(blob), expected)


def test_given_convolutional_networks_are_trained_on_images(make_detector, zeros):
    generator = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
    discriminator = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1)
    )
    detector = make_detector(
        generator=generator, discriminator=discriminator, latent_dim=3
    ).fit(zeros)
    assert detector.reconstruct(zeros).shape == zeros.shape


# Kinds of rows ----------------------------------------------------------------


def test_a_memmap_of_images_gives_the_same_scores_and_is_not_changed(
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


def test_rows_read_batch_by_batch_give_the_same_scores(
    make_detector, blob, monkeypatch
):
    expected = make_detector().fit(blob).score_samples(blob)
    monkeypatch.setattr("skanogan._data.rows.RESIDENT_BYTES", {"cpu": 0})
    assert np.array_equal(make_detector().fit(blob).score_samples(blob), expected)


def test_a_list_of_images_is_reconstructed_in_its_shape(make_detector, zeros):
    detector = make_detector().fit(zeros.tolist())
    assert detector.image_shape_ == (8, 8, 1)
    assert detector.reconstruct(zeros.tolist()).shape == zeros.shape


def test_images_of_8_pixels_get_convolutions_and_smaller_ones_an_mlp(
    make_detector, zeros
):
    def kinds(detector):
        return {type(module) for module in detector.model_.modules()}

    assert nn.Conv2d in kinds(make_detector().fit(zeros))
    assert nn.Conv2d not in kinds(make_detector().fit(zeros[:, 1:]))
    assert nn.Conv2d not in kinds(make_detector(backbone="mlp").fit(zeros))


def test_images_of_odd_sizes_and_up_to_four_channels_are_accepted(make_detector):
    rng = np.random.RandomState(0)
    for shape in [(9, 8), (11, 13, 2), (8, 17, 3), (16, 9, 4)]:
        X = rng.uniform(size=(12, *shape))
        detector = make_detector(max_iter=2).fit(X)
        assert detector.reconstruct(X).shape == X.shape
        assert detector.anomaly_map(X).shape == X.shape[:3]


def test_feature_names_are_kept_for_dataframes_only(make_detector, blob):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(blob, columns=list("abcde"))
    detector = make_detector().fit(frame)
    assert detector.feature_names_in_.tolist() == list("abcde")
    assert not hasattr(make_detector().fit(blob), "feature_names_in_")
    with pytest.raises(ValueError, match="feature names"):
        detector.score_samples(frame[list("edcba")])


# Warnings, progress and attributes of a fit -----------------------------------


def test_a_collapsed_generator_causes_a_warning_with_advice(make_detector, blob):
    # This generator draws the same row for all latents.
    with torch.no_grad():
        generator = nn.Linear(4, 5)
        generator.weight.zero_()
    detector = make_detector(generator=generator, max_iter=1, learning_rate=1e-9)
    with pytest.warns(
        CollapseWarning,
        match=r"generated rows have 0\.0% of the variance .*gradient_penalty=1",
    ) as caught:
        detector.fit(blob)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error::skanogan.exceptions.CollapseWarning")
def test_a_generator_that_does_not_collapse_causes_no_warning(make_detector, blob):
    with torch.no_grad():
        generator = nn.Linear(5, 5)
        generator.weight.copy_(torch.eye(5))
    make_detector(generator=generator, latent_dim=5, max_iter=1).fit(blob)


def test_verbose_shows_a_progress_bar_on_stderr(make_detector, blob, capfd):
    make_detector(verbose=1).fit(blob)
    out, err = capfd.readouterr()
    assert out == ""
    assert "AnoGANDetector" in err
    assert "10/10" in err
    assert "generator_loss" in err


def test_by_default_nothing_is_printed(make_detector, blob, capfd):
    detector = make_detector().fit(blob)
    detector.predict(blob)
    assert capfd.readouterr() == ("", "")


def test_a_torch_device_is_accepted(make_detector, blob):
    device = torch.device("cpu")
    detector = make_detector(device=device).fit(blob)
    assert detector.device_ == device
    assert detector.device is device
    assert clone(detector).device == device


def test_history_has_losses_logits_and_seconds(make_detector, blob):
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


# A second fit -----------------------------------------------------------------


def test_a_second_fit_neither_copies_nor_moves_the_first_model(
    make_detector, blob, monkeypatch
):
    detector = make_detector().fit(blob)
    first = detector.model_

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(type(detector), "__getstate__", refuse)
    monkeypatch.setattr(type(detector), "__setstate__", refuse)
    detector.fit(blob)
    assert detector.model_ is not first


def test_an_interrupted_fit_leaves_the_detector_as_it_was(
    make_detector, blob, interrupt_once
):
    fresh, fitted = make_detector(), make_detector().fit(blob)
    before, scores = dict(vars(fresh)), fitted.score_samples(blob)
    for detector in (fresh, fitted):
        interrupt_once(AnoGAN, at=5)
        with pytest.raises(KeyboardInterrupt):
            detector.fit(blob)
    assert vars(fresh) == before
    assert np.array_equal(fitted.score_samples(blob), scores)


# Samples and seeds ------------------------------------------------------------


def test_samples_repeat_with_a_seed(make_detector, blob):
    detector = make_detector().fit(blob)
    first, again, other = (detector.sample(4, random_state=s) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_samples_advance_a_random_state_instance(make_detector, blob):
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


def test_fits_advance_a_random_state_instance(make_detector, blob):
    rng = np.random.RandomState(0)
    first, second = (
        make_detector(random_state=rng).fit(blob).score_samples(blob) for _ in range(2)
    )
    assert not np.array_equal(first, second)

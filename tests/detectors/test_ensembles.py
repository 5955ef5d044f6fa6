"""Several members, nearest rows, and networks that are not trained."""

import copy

import numpy as np
import pytest
import torch
from cheap import cheap
from torch import nn

import skanogan
from skanogan.utils.discovery import all_detectors

detectors = pytest.mark.parametrize(
    "detector_class", [c for _, c in all_detectors()], ids=lambda c: c.__name__
)


@pytest.fixture(params=["table", "images"])
def X(request, blob, zeros):
    return blob if request.param == "table" else zeros[:40]


# Members ------------------------------------------------------------------------


@detectors
def test_members_have_weights_of_their_own(detector_class, X):
    ensemble = cheap(detector_class, n_estimators=3).fit(X).model_
    first, *others = (list(member.parameters()) for member in ensemble.members)
    for member in others:
        assert not any(
            torch.equal(a, b)
            for a, b in zip(first, member, strict=True)
            if a.ndim > 1  # biases may begin equal
        )


@detectors
def test_the_first_member_begins_as_a_single_one(detector_class, blob):
    untrained = {"max_iter": 0, "encoder_max_iter": 0}
    one = cheap(detector_class, **untrained).fit(blob)
    three = cheap(detector_class, n_estimators=3, **untrained).fit(blob)
    for a, b in zip(
        one.model_.members[0].parameters(),
        three.model_.members[0].parameters(),
        strict=True,
    ):
        assert torch.equal(a, b)


@detectors
def test_an_ensemble_scores_each_row_alone(detector_class, X):
    detector = cheap(detector_class, n_estimators=3).fit(X)
    scores = detector.score_samples(X)
    alone = [detector.score_samples(X[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(alone, scores[:5], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        detector.score_samples(X[::-1]), scores[::-1], rtol=1e-4, atol=1e-5
    )


@detectors
def test_an_ensemble_does_all_that_a_single_detector_does(detector_class, X):
    detector = cheap(detector_class, n_estimators=3).fit(X)
    single = cheap(detector_class).fit(X)
    assert detector.reconstruct(X[:4]).shape == X[:4].shape
    for kind in ("residual", "features"):
        assert detector.anomaly_map(X[:4], kind=kind).shape == X[:4].shape
    assert detector.sample(4).shape == X[:4].shape
    width = single.embed(X[:4]).shape[1]
    assert detector.embed(X[:4]).shape == (4, 3 * width)


@detectors
def test_an_ensemble_is_saved_and_loaded(detector_class, X, tmp_path):
    detector = cheap(detector_class, n_estimators=3).fit(X)
    detector.save(tmp_path / "ensemble")
    loaded = skanogan.load(tmp_path / "ensemble")
    assert np.array_equal(loaded.score_samples(X), detector.score_samples(X))
    assert np.array_equal(loaded.reconstruct(X), detector.reconstruct(X))


@detectors
def test_a_file_of_other_members_is_refused(detector_class, blob, tmp_path):
    detector = cheap(detector_class, n_estimators=3).fit(blob)
    detector.set_params(n_estimators=2)
    with pytest.raises(ValueError, match=r"members\.2: \w+, now None"):
        detector.save(tmp_path / "ensemble")
    detector.set_params(n_estimators=3, n_neighbors=5)
    with pytest.raises(ValueError, match="n_neighbors: 1, now 5"):
        detector.save(tmp_path / "ensemble")


@detectors
def test_an_interrupted_ensemble_resumes_with_the_same_scores(
    detector_class, X, tmp_path, interrupt_once
):
    parameters = {"n_estimators": 3, "checkpoint": tmp_path / "file"}
    whole = cheap(detector_class, n_estimators=3).fit(X)
    with pytest.MonkeyPatch.context() as patch:
        step, done = skanogan.models.Ensemble.train_step, []

        def interrupted(self, x):
            done.append(x)
            if len(done) == 6:
                raise KeyboardInterrupt
            return step(self, x)

        patch.setattr(skanogan.models.Ensemble, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cheap(detector_class, **parameters).fit(X)
    resumed = cheap(detector_class, **parameters).fit(X)
    assert np.array_equal(resumed.score_samples(X), whole.score_samples(X))


@detectors
def test_the_cache_holds_ensembles(detector_class, blob, tmp_path, monkeypatch):
    parameters = {"n_estimators": 3, "memory": str(tmp_path)}
    first = cheap(detector_class, **parameters).fit(blob)
    monkeypatch.setattr(skanogan.models.Ensemble, "train_step", None)
    second = cheap(detector_class, **parameters).fit(blob)
    assert np.array_equal(first.score_samples(blob), second.score_samples(blob))


@detectors
def test_a_warm_start_may_add_members(detector_class, blob):
    detector = cheap(detector_class, n_estimators=2, warm_start=True).fit(blob)
    before = copy.deepcopy(dict(detector.model_.members[1].named_parameters()))
    detector.set_params(n_estimators=3, max_iter=0)
    if "encoder_max_iter" in detector.get_params():
        detector.set_params(encoder_max_iter=0)
    detector.fit(blob)
    after = dict(detector.model_.members[1].named_parameters())
    assert len(detector.model_.members) == 3
    assert all(torch.equal(after[name], before[name]) for name in after)


@detectors
def test_more_members_spread_less_over_seeds(detector_class, blob):
    far = blob[:20] + 3 * blob.std(0) * np.random.RandomState(0).normal(size=(20, 5))

    def spread(n):
        scores = [
            cheap(detector_class, n_estimators=n, random_state=s, n_neighbors=0)
            .set_params(validation_fraction=0.2)
            .fit(blob)
            .score_samples(far)
            for s in range(6)
        ]
        ranks = np.argsort(np.argsort(scores, axis=1), axis=1)
        return ranks.std(0).mean()

    assert spread(8) < spread(1)


def test_own_networks_make_members_that_begin_alike_and_train_apart(
    make_detector, blob
):
    generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5))
    detector = make_detector(generator=generator, latent_dim=3, n_estimators=2)
    detector.set_params(max_iter=0).fit(blob)
    a, b = (member.generator[0].weight for member in detector.model_.members)
    assert torch.equal(a, b)
    detector.set_params(max_iter=5).fit(blob)
    a, b = (member.generator[0].weight for member in detector.model_.members)
    assert not torch.equal(a, b)


# Nearest rows -------------------------------------------------------------------


@detectors
def test_the_closest_normal_row_is_no_farther_than_the_nearest_training_row(
    detector_class, blob
):
    detector = cheap(detector_class).fit(blob)
    stored = detector.model_.neighbors.rows.numpy()
    new = blob + 0.5 * blob.std(0)
    scaled = detector.model_.scaling(torch.from_numpy(new), torch.float64).numpy()
    nearest = ((scaled[:, None] - stored) ** 2).sum(2).min(1)
    residual = (detector.anomaly_map(new) ** 2).sum(1)
    assert (residual <= nearest + 1e-9).all()
    assert (residual < nearest - 1e-9).any() or np.allclose(residual, nearest)


@detectors
def test_large_images_and_published_scores_store_no_rows(detector_class, blob, zeros):
    published = {"OCGANDetector": "reconstruction"}.get(
        detector_class.__name__, "residual"
    )
    for detector in (
        cheap(detector_class).fit(np.tile(zeros, (1, 2, 2))),
        cheap(detector_class, anomaly_score=published).fit(blob),
    ):
        assert not hasattr(detector.model_, "neighbors")


@detectors
def test_small_images_have_the_budget_of_tables(detector_class, zeros):
    small, large = zeros[:40], np.tile(zeros[:40], (1, 2, 2))
    detector = detector_class(n_filters=2, n_estimators=1)
    for X, is_small in ((small, True), (large, False)):
        detector.image_shape_ = (*X.shape[1:], 1)
        assert (detector._n_updates() <= 200) == is_small


@detectors
def test_images_have_nearest_rows_if_asked_for(detector_class, zeros):
    detector = cheap(detector_class, n_neighbors=3).fit(zeros)
    assert detector.model_.neighbors.rows.shape[1:] == (1, 8, 8)
    assert detector.reconstruct(zeros[:2]).shape == (2, 8, 8)


@detectors
def test_more_neighbours_than_rows_take_all_rows(detector_class, blob):
    detector = cheap(detector_class, n_neighbors=1000).fit(blob)
    assert np.isfinite(detector.score_samples(blob)).all()
    assert detector.model_.neighbors.n_neighbors == len(detector.model_.neighbors.rows)


@detectors
def test_training_rows_are_scored_as_if_they_were_not_stored(detector_class):
    rng = np.random.RandomState(0)
    X, new = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    model = cheap(detector_class).fit(X).model_
    with torch.no_grad():
        own, other = (
            float(model.neighbors(model._scaled(torch.from_numpy(rows))).median())
            for rows in (X, new)
        )
    assert own == pytest.approx(other, rel=0.3)


# The score ----------------------------------------------------------------------


@detectors
def test_the_default_score_has_the_order_of_the_distance(detector_class, X):
    detector = cheap(detector_class, n_neighbors=0).fit(X)
    x = torch.from_numpy(X if X.ndim == 2 else X[:, None])
    with torch.no_grad():
        lengths = detector.model_.members[0].score(x).numpy()
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(-detector.score_samples(X)[order]) >= -1e-6).all()


@detectors
def test_default_scores_of_normal_rows_are_near_zero_and_of_far_ones_are_moderate(
    detector_class,
):
    rng = np.random.RandomState(0)
    X, new = rng.normal(size=(300, 4)), rng.normal(size=(200, 4))
    detector = cheap(detector_class).fit(X)
    normal = detector.score_samples(new)
    assert abs(normal.mean()) < 1
    assert 0.2 < normal.std() < 3
    far = detector.score_samples(new + 1e6)
    assert np.isfinite(far).all()
    assert (far < normal.min()).all()
    assert (far > -1000).all()


# Networks that are not trained ---------------------------------------------------


@detectors
def test_without_updates_the_networks_are_as_they_were_made(detector_class, X):
    untrained = {"max_iter": 0, "encoder_max_iter": 0}
    detector = cheap(detector_class, **untrained).fit(X)
    assert detector.n_iter_ == 0
    assert detector.history_ == []
    first = detector.model_.members[0]
    again = cheap(detector_class, **untrained).fit(X).model_.members[0]
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    trained = cheap(detector_class, max_iter=1, encoder_max_iter=1).fit(X).model_
    assert not all(
        torch.equal(a.to(b), b)
        for a, b in zip(first.parameters(), trained.parameters(), strict=True)
    )
    assert set(detector.predict(X)) <= {-1, 1}


def test_without_updates_a_generator_of_ones_own_is_kept(make_detector, blob):
    generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5))
    detector = make_detector(generator=generator, latent_dim=3, max_iter=0).fit(blob)
    kept = detector.model_.members[0].generator
    for a, b in zip(kept.parameters(), generator.parameters(), strict=True):
        assert torch.equal(a, b.double())


def test_fanogan_may_train_only_its_encoder(make_fanogan, blob):
    untrained = make_fanogan(max_iter=0, encoder_max_iter=0).fit(blob)
    detector = make_fanogan(max_iter=0, encoder_max_iter=20).fit(blob)
    assert detector.n_iter_ == 20
    a, b = untrained.model_.members[0], detector.model_.members[0]
    assert torch.equal(a.generator[0].weight, b.generator[0].weight)
    assert not torch.equal(a.encoder.head.weight, b.encoder.head.weight)


def test_fanogan_may_train_no_encoder_without_a_warning(make_fanogan, blob, recwarn):
    detector = make_fanogan(max_iter=20, encoder_max_iter=0).fit(blob)
    assert detector.n_iter_ == 20
    assert not [w for w in recwarn if "stopped" in str(w.message)]


@detectors
def test_a_checkpoint_and_a_cache_are_not_written_without_updates(
    detector_class, blob, tmp_path
):
    cheap(
        detector_class,
        max_iter=0,
        encoder_max_iter=0,
        checkpoint=tmp_path / "file",
        memory=str(tmp_path / "folder"),
    ).fit(blob)
    assert not (tmp_path / "file").exists()
    assert not (tmp_path / "folder").exists()

"""Trainings in a cache (`memory`): which are found, and which are repeated."""

import pickle
import shutil
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from cheap import cheap
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skanogan
from skanogan._training import run as training_run
from skanogan.exceptions import DivergenceWarning
from skanogan.metrics import outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyKFold
from skanogan.models import AnoGAN
from skanogan.utils.discovery import all_detectors

# Another value for each parameter that does not change the trained weights.
OTHER_SCORING = {
    "n_neighbors": 3,
    "anomaly_score": "residual",
    "n_candidates": 5,
    "n_steps": 2,
    "step_size": 0.5,
    "discrimination_weight": 0.7,
    "shrinkage": 0.5,
    "scoring_dtype": "float32",
    "verbose": 1,
}

BASE_PARAMETERS = {
    *("image_shape", "validation_fraction", "random_state", "device", "warm_start"),
    *("memory", "checkpoint", "contamination", "support_fraction"),
    *("scoring_dtype", "verbose"),
}
"""Parameters that `BaseDetector` declares to be without effect on the weights."""

# Another value for parameters that change the trained weights.
OTHER_TRAINING = {
    "hidden_layer_sizes": (9, 8),
    "latent_dim": 3,
    "learning_rate": 1e-2,
    "ema_decay": 0.5,
    "max_iter": 7,
    "batch_size": 13,
    "random_state": 1,
    "validation_fraction": 0.4,
    "support_fraction": 0.9,
    "encoder_max_iter": 7,
    "encoder_learning_rate": 1e-2,
    "feature_weight": 3.0,
    "gradient_penalty": 5.0,
    "prior": "uniform",
    "n_mining_steps": 2,
    "noise_variance": 0.5,
}


@pytest.fixture
def trainings(monkeypatch):
    """A list with one entry for each training that runs."""
    done = []
    train = training_run.train

    def counted(model, *args, **kwargs):
        done.append(type(model).__name__)
        return train(model, *args, **kwargs)

    monkeypatch.setattr(training_run, "train", counted)
    return done


detectors = pytest.mark.parametrize(
    "detector_class", [c for _, c in all_detectors()], ids=lambda c: c.__name__
)


@detectors
def test_a_second_fit_takes_the_weights_from_the_cache(
    detector_class, blob, trainings, tmp_path
):
    plain = cheap(detector_class).fit(blob)
    first = cheap(detector_class, memory=tmp_path).fit(blob)
    second = cheap(detector_class, memory=tmp_path).fit(blob)
    assert len(trainings) == 2
    for fitted in (first, second):
        assert np.array_equal(fitted.score_samples(blob), plain.score_samples(blob))
        assert fitted.offset_ == plain.offset_
    assert second.history_ == first.history_
    assert second.n_iter_ == plain.n_iter_
    assert not any(p.requires_grad for p in second.model_.parameters())
    assert not any(m.training for m in second.model_.modules())


@detectors
def test_one_other_training_row_is_another_training(
    detector_class, zeros, trainings, tmp_path
):
    # uint8 images are scaled by their dtype, so that only the rows differ.
    images = zeros[:12].astype(np.uint8)
    detector = cheap(detector_class, backbone="mlp", memory=tmp_path)
    for at in range(len(images)):  # some are held out, the others trained on
        other = images.copy()
        other[at] = 16 - other[at]
        detector.fit(other)
        assert len(trainings) == at + 1
    detector.fit(other)
    assert len(trainings) == len(images)


@detectors
def test_parameters_of_scoring_do_not_train_and_change_no_weight(
    detector_class, blob, trainings, tmp_path
):
    first = cheap(detector_class, memory=tmp_path).fit(blob)
    weights = dict(first.model_.named_parameters())
    named = set(detector_class().get_params())
    for name, value in OTHER_SCORING.items():
        if name not in named:
            continue
        if name == "anomaly_score" and detector_class is skanogan.OCGANDetector:
            value = "reconstruction"
        plain = cheap(detector_class, **{name: value}).fit(blob)
        kept = cheap(detector_class, memory=tmp_path, **{name: value}).fit(blob)
        assert np.array_equal(kept.score_samples(blob), plain.score_samples(blob)), name
        for key, weight in plain.model_.named_parameters():
            assert torch.equal(weight.float(), weights[key].float()), (name, key)
    without_memory = len([n for n in OTHER_SCORING if n in named])
    assert len(trainings) == 1 + without_memory


@detectors
def test_exactly_the_parameters_of_scoring_are_declared_as_such(detector_class):
    named = set(detector_class().get_params())
    of_scoring = set(OTHER_SCORING) & named
    assert detector_class._scoring_parameters == BASE_PARAMETERS | of_scoring


@detectors
def test_a_cache_can_be_moved(detector_class, blob, trainings, tmp_path):
    cheap(detector_class, memory=tmp_path / "here").fit(blob)
    shutil.move(tmp_path / "here", tmp_path / "there")
    cheap(detector_class, memory=tmp_path / "there").fit(blob)
    assert len(trainings) == 1


@detectors
def test_the_cache_is_searched_before_the_checkpoint(
    detector_class, blob, trainings, tmp_path
):
    for name in ("a", "b"):
        cheap(detector_class, memory=tmp_path, checkpoint=tmp_path / name).fit(blob)
    assert len(trainings) == 1
    assert not (tmp_path / "b").exists()


def test_a_resumed_fit_is_kept_in_the_present_cache(
    make_detector, blob, trainings, tmp_path, interrupt_once
):
    updates = interrupt_once(AnoGAN, at=7)
    detector = make_detector(memory=tmp_path / "here", checkpoint=tmp_path / "fit")
    with pytest.raises(KeyboardInterrupt):
        detector.fit(blob)
    detector.set_params(memory=tmp_path / "there")
    scores = detector.fit(blob).score_samples(blob)
    assert len(updates) == 11
    again = make_detector(memory=tmp_path / "there").fit(blob)
    assert len(trainings) == 2
    assert np.array_equal(again.score_samples(blob), scores)
    assert np.array_equal(make_detector().fit(blob).score_samples(blob), scores)


@detectors
def test_a_checkpoint_can_be_renamed(detector_class, blob, trainings, tmp_path):
    cheap(detector_class, checkpoint=tmp_path / "a", verbose=1).fit(blob)
    (tmp_path / "a").rename(tmp_path / "b")
    scores = [
        cheap(detector_class, **more).fit(blob).score_samples(blob)
        for more in ({"checkpoint": tmp_path / "b"}, {})
    ]
    assert np.array_equal(*scores)


@pytest.mark.parametrize(
    ("detector_class", "name"),
    [
        pytest.param(detector_class, name, id=f"{detector_class.__name__}-{name}")
        for _, detector_class in all_detectors()
        for name in OTHER_TRAINING
        if name in detector_class().get_params()
    ],
)
def test_another_parameter_of_training_trains_again(
    detector_class, name, blob, trainings, tmp_path
):
    cheap(detector_class, memory=tmp_path).fit(blob)
    changed = {name: OTHER_TRAINING[name]}
    kept = cheap(detector_class, memory=tmp_path, **changed).fit(blob)
    assert len(trainings) == 2
    plain = cheap(detector_class, **changed).fit(blob)
    assert np.array_equal(kept.score_samples(blob), plain.score_samples(blob))


def test_one_changed_value_or_another_dtype_trains_again(
    make_detector, blob, trainings, tmp_path
):
    make_detector(memory=tmp_path).fit(blob)
    changed = blob.copy()
    changed[-1, -1] += 1e-9
    make_detector(memory=tmp_path).fit(changed)
    make_detector(memory=tmp_path).fit(blob.astype(np.float32))
    assert len(trainings) == 3


def test_images_and_their_flat_rows_share_a_training(
    make_detector, zeros, trainings, tmp_path
):
    images = make_detector(memory=tmp_path).fit(zeros)
    flat = make_detector(memory=tmp_path, image_shape=(8, 8))
    rows = zeros.reshape(len(zeros), -1)
    flat.fit(rows)
    assert len(trainings) == 1
    assert np.array_equal(flat.score_samples(rows), images.score_samples(zeros))
    make_detector(memory=tmp_path).fit(rows)
    assert len(trainings) == 2


def test_rows_left_out_by_their_label_do_not_matter(
    make_detector, blob, trainings, tmp_path
):
    make_detector(memory=tmp_path).fit(blob)
    y = np.repeat([1, -1], [len(blob), 3])
    more = np.concatenate([blob, blob[:3] + 100])
    make_detector(memory=tmp_path).fit(more, y)
    assert len(trainings) == 1


def test_mapped_rows_share_the_training_of_rows_in_memory(
    make_detector, blob, trainings, tmp_path
):
    np.save(tmp_path / "rows.npy", blob)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    make_detector(memory=tmp_path / "cache").fit(blob)
    make_detector(memory=tmp_path / "cache").fit(mapped)
    assert len(trainings) == 1


def test_another_version_trains_again(
    make_detector, blob, trainings, tmp_path, monkeypatch
):
    make_detector(memory=tmp_path).fit(blob)
    monkeypatch.setattr("skanogan._training.cache_key.__version__", "another")
    make_detector(memory=tmp_path).fit(blob)
    assert len(trainings) == 2


def make_generator():
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5))
    rng = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        nn.init.uniform_(weight, -0.3, 0.3, generator=rng)
    return network


class Shifted(nn.Module):
    """A layer of code without weights."""

    def forward(self, x):
        return x + 1.0


def test_other_weights_of_a_given_network_train_again(
    make_detector, blob, trainings, tmp_path
):
    network = make_generator()
    make_detector(memory=tmp_path, generator=network).fit(blob)
    make_detector(memory=tmp_path, generator=make_generator()).fit(blob)
    assert len(trainings) == 1
    with torch.no_grad():
        network[0].weight[0, 0] += 1
    make_detector(memory=tmp_path, generator=network).fit(blob)
    assert len(trainings) == 2


def test_other_code_of_a_given_network_trains_again(
    make_detector, blob, trainings, tmp_path, monkeypatch
):
    network = nn.Sequential(make_generator(), Shifted())
    make_detector(memory=tmp_path, generator=network).fit(blob)
    make_detector(memory=tmp_path, generator=network).fit(blob)
    assert len(trainings) == 1
    monkeypatch.setattr(
        "skanogan._training.cache_key.inspect.getsource", lambda kind: "another code"
    )
    make_detector(memory=tmp_path, generator=network).fit(blob)
    assert len(trainings) == 2


def entries(folder):
    return sorted(folder.rglob("output.pkl"))


def test_an_entry_that_cannot_be_read_is_replaced(
    make_detector, blob, trainings, tmp_path
):
    scores = make_detector(memory=tmp_path).fit(blob).score_samples(blob)
    (entry,) = entries(tmp_path)
    entry.write_bytes(entry.read_bytes()[:1000])
    for _ in range(2):
        again = make_detector(memory=tmp_path).fit(blob)
        assert np.array_equal(again.score_samples(blob), scores)
    assert len(trainings) == 2


def test_an_entry_with_altered_weights_is_replaced_with_a_warning(
    make_detector, blob, trainings, tmp_path
):
    scores = make_detector(memory=tmp_path).fit(blob).score_samples(blob)
    (entry,) = entries(tmp_path)
    training, digest = joblib.load(entry)
    next(iter(training.state.values()))[...] += 1
    joblib.dump((training, digest), entry)
    with pytest.warns(UserWarning, match="altered on disk. It is discarded"):
        again = make_detector(memory=tmp_path).fit(blob)
    assert np.array_equal(again.score_samples(blob), scores)
    make_detector(memory=tmp_path).fit(blob)
    assert len(trainings) == 2


def test_a_warning_of_training_is_repeated_from_the_cache(
    make_detector, blob, trainings, tmp_path, monkeypatch
):
    step, done = AnoGAN.train_step, []

    def broken(model, x):
        done.append(x)
        if len(done) > 5:
            with torch.no_grad():
                next(model.generator.parameters()).fill_(torch.nan)
        return step(model, x)

    monkeypatch.setattr(AnoGAN, "train_step", broken)
    messages = []
    for _ in range(2):
        with pytest.warns(DivergenceWarning) as caught:
            make_detector(memory=tmp_path).fit(blob)
        messages.append([str(w.message) for w in caught])
    assert messages[0] == messages[1]
    assert len(trainings) == 1


def test_a_fit_without_a_seed_is_not_cached(make_detector, blob, trainings, tmp_path):
    for _ in range(2):
        make_detector(memory=tmp_path, random_state=None).fit(blob)
    assert len(trainings) == 2
    assert not entries(tmp_path)


def test_a_warm_start_is_another_training_than_the_first_fit(
    make_detector, blob, trainings, tmp_path
):
    kept = make_detector(memory=tmp_path, warm_start=True)
    plain = make_detector(warm_start=True)
    for detector in (kept, plain):
        detector.fit(blob).fit(blob)
    assert len(trainings) == 4
    assert kept.n_iter_ == plain.n_iter_ == 20
    assert np.array_equal(kept.score_samples(blob), plain.score_samples(blob))


def test_a_memory_of_joblib_is_accepted(make_detector, blob, trainings, tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0, mmap_mode="r")
    make_detector(memory=memory).fit(blob)
    again = make_detector(memory=memory).fit(blob)
    assert len(trainings) == 1
    scores = pickle.loads(pickle.dumps(again)).score_samples(blob)
    assert np.array_equal(scores, again.score_samples(blob))


def test_a_memory_without_the_interface_is_refused(make_detector, blob):
    with pytest.raises(ValueError, match="The 'memory' parameter"):
        make_detector(memory=3).fit(blob)


def test_a_grid_over_scoring_parameters_trains_once_per_fold(
    make_detector, blob, trainings, tmp_path
):
    X = np.concatenate([blob, blob[:20] * 3])
    y = np.repeat([1, -1], [len(blob), 20])
    grid = {
        "anogandetector__n_steps": [0, 2],
        "anogandetector__contamination": [0.1, 0.3],
    }
    results = []
    for memory in (None, tmp_path):
        pipeline = make_pipeline(StandardScaler(), make_detector(memory=memory))
        search = GridSearchCV(
            pipeline,
            grid,
            scoring=outlier_roc_auc_scorer,
            cv=NoveltyKFold(3),
            refit=False,
        )
        before = len(trainings)
        results.append(search.fit(X, y).cv_results_["mean_test_score"])
        assert len(trainings) - before == (12 if memory is None else 3)
    assert np.array_equal(*results)


def test_two_processes_share_a_cache(make_detector, blob, tmp_path):
    np.save(tmp_path / "rows.npy", blob)
    code = f"""
import numpy as np
from skanogan import AnoGANDetector
X = np.load({str(tmp_path / "rows.npy")!r})
parameters = {make_detector().get_params()!r}
detector = AnoGANDetector(**parameters).set_params(memory={str(tmp_path / "cache")!r})
np.save({str(tmp_path)!r} + "/scores_%d.npy" % __import__("os").getpid(),
        detector.fit(X).score_samples(X))
"""
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    first, second = (np.load(p) for p in sorted(tmp_path.glob("scores_*.npy")))
    assert np.array_equal(first, second)
    assert len(entries(tmp_path / "cache")) == 1
    assert np.array_equal(first, clone(make_detector()).fit(blob).score_samples(blob))

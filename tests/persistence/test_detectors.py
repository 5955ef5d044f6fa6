"""What a file keeps of a detector, what it refuses to keep, and how it is written."""

import copy
import os
import pickle
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

import skanogan
from skanogan._base import BaseDetector
from skanogan._gan import GANDetector
from skanogan._persistence import files
from skanogan.exceptions import (
    DeviceFallbackWarning,
    ModelFileError,
    ModelVersionWarning,
)
from skanogan.models._anogan import AnoGAN, Search
from skanogan.models._fixed import Fixed
from skanogan.models._metric import WhitenedMetric
from skanogan.utils.discovery import all_detectors

CLASSES = [detector_class for _, detector_class in all_detectors()]

CHEAP = {
    "max_iter": 4,
    "encoder_max_iter": 3,
    "n_candidates": 32,
    "hidden_layer_sizes": (8, 8),
    "n_filters": 2,
    "discriminator_filters": 2,
    "classifier_filters": 2,
    "latent_dim": 3,
    "device": "cpu",
    "random_state": 0,
}

ROW_METHODS = (
    "score_samples",
    "decision_function",
    "predict",
    "reconstruct",
    "anomaly_map",
    "embed",
    "feature_map",
)


def cheap(detector_class, **parameters):
    """An instance with those of the parameters that its class has."""
    names = detector_class().get_params()
    wanted = {**CHEAP, **parameters}
    return detector_class(**{k: v for k, v in wanted.items() if k in names})


def through_a_file(detector, folder, **options):
    path = folder / "detector.safetensors"
    detector.save(path)
    return skanogan.load(path, **options)


def assert_same(opened, detector, X):
    """Equal to the bit, in all that a user can ask for."""
    assert type(opened) is type(detector)
    for name in ROW_METHODS:
        if hasattr(detector, name):
            expected = getattr(detector, name)(X)
            np.testing.assert_array_equal(getattr(opened, name)(X), expected, name)
    np.testing.assert_array_equal(
        opened.sample(3, random_state=1), detector.sample(3, random_state=1)
    )
    assert opened.get_params() == detector.get_params()
    left_out = {"model_", "feature_names_in_", *detector.get_params()}
    for name in set(vars(detector)) - left_out:
        assert getattr(opened, name) == getattr(detector, name), name
        assert type(getattr(opened, name)) is type(getattr(detector, name)), name
    assert set(vars(opened)) == set(vars(detector))
    assert not opened.model_.training
    assert not any(weight.requires_grad for weight in opened.model_.parameters())


KINDS = {
    "table": {},
    "table in float32": {"scoring_dtype": "float32"},
    "image": {"backbone": "convolutional"},
    "image in float64": {"backbone": "convolutional", "scoring_dtype": "float64"},
    "image in bfloat16": {"backbone": "convolutional", "scoring_dtype": "bfloat16"},
    "image through an mlp": {"backbone": "mlp"},
}


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    return rng.randint(256, size=(40, 16, 17, 2)).astype(np.uint8)


@pytest.fixture
def rows(blob, images):
    return lambda kind: images if "image" in kind else blob


# What is kept -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("detector_class", CLASSES)
def test_scores_and_all_else_are_equal_to_the_bit(detector_class, kind, rows, tmp_path):
    X = rows(kind)
    detector = cheap(detector_class, **KINDS[kind]).fit(X)
    assert_same(through_a_file(detector, tmp_path), detector, X)


def ways_of_scoring():
    """Every score from every start, of the detectors that have a choice of them."""
    for detector_class in CLASSES:
        choices = detector_class._parameter_constraints
        for score in sorted(choices["anomaly_score"][0].options):
            if "start" not in choices:
                yield detector_class, {"anomaly_score": score}
                continue
            for start in sorted(choices["start"][0].options):
                n_restarts = 1 if start == "encoder" else 2
                search = {"n_steps": 2, "n_restarts": n_restarts, "tol": 0.1}
                yield (
                    detector_class,
                    {"anomaly_score": score, "start": start, **search},
                )


@pytest.mark.parametrize(("detector_class", "parameters"), list(ways_of_scoring()))
def test_every_way_of_scoring_is_kept(detector_class, parameters, blob, tmp_path):
    detector = cheap(detector_class, **parameters).fit(blob)
    assert_same(through_a_file(detector, tmp_path), detector, blob)


@pytest.mark.parametrize("detector_class", CLASSES)
def test_training_goes_on_after_opening_as_it_would_have(
    detector_class, blob, tmp_path
):
    detector = cheap(detector_class, warm_start=True).fit(blob)
    opened = through_a_file(detector, tmp_path)
    opened.fit(blob)
    detector.fit(blob)
    for record in (*opened.history_, *detector.history_):
        del record["seconds"]
    assert_same(opened, detector, blob)
    assert detector.n_iter_ == 2 * detector._n_updates()


def test_names_of_columns_are_kept_and_compared(make_detector, blob, tmp_path):
    X = pd.DataFrame(blob, columns=["länge", 'a "b"', "\\", "名前", ""])
    opened = through_a_file(make_detector().fit(X), tmp_path)
    assert opened.feature_names_in_.tolist() == list(X.columns)
    assert opened.feature_names_in_.dtype == object
    opened.score_samples(X)
    with pytest.raises(ValueError, match="feature names"):
        opened.score_samples(X[X.columns[::-1]])


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layer_sizes": [8, 8]},
        {"hidden_layer_sizes": (np.int64(8), 8)},
        {"image_shape": (np.int32(1), 5)},
        {"learning_rate": np.float32(1e-3), "max_iter": np.int64(3)},
        {"warm_start": np.bool_(False), "verbose": False},
        {"device": torch.device("cpu")},
        {"random_state": None},
        {"random_state": np.int64(7)},
    ],
    ids=str,
)
def test_parameters_are_kept_with_their_types(
    make_detector, blob, tmp_path, parameters
):
    detector = make_detector(**parameters).fit(blob)
    opened = through_a_file(detector, tmp_path)
    assert_same(opened, detector, blob)
    for name, value in parameters.items():
        plain = value.item() if isinstance(value, np.generic) else value
        assert type(getattr(opened, name)) is type(plain)


def test_flat_rows_of_images_stay_flat(make_detector, images, tmp_path):
    flat = images.reshape(len(images), -1)
    detector = make_detector(image_shape=images.shape[1:]).fit(flat)
    opened = through_a_file(detector, tmp_path)
    assert opened.sample(2).shape == (2, flat.shape[1])
    np.testing.assert_array_equal(
        opened.score_samples(images), detector.score_samples(flat)
    )


def test_an_opened_detector_is_a_detector_like_any_other(make_detector, blob, tmp_path):
    detector = make_detector().fit(blob)
    opened = through_a_file(detector, tmp_path)
    joblib.dump(opened, tmp_path / "detector.joblib")
    for again in (
        through_a_file(opened, tmp_path),
        pickle.loads(pickle.dumps(opened)),
        joblib.load(tmp_path / "detector.joblib"),
        copy.deepcopy(opened),
        clone(opened).fit(blob),
    ):
        expected = detector.score_samples(blob)
        np.testing.assert_array_equal(again.score_samples(blob), expected)


@pytest.mark.parametrize("detector_class", CLASSES)
def test_the_same_detector_gives_the_same_bytes(detector_class, blob, tmp_path):
    detector = cheap(detector_class).fit(blob)
    for name in ("first", "second"):
        detector.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_file_is_one_that_safetensors_reads(make_detector, blob, tmp_path):
    detector = make_detector().fit(blob)
    detector.save(tmp_path / "detector")
    with safetensors.safe_open(tmp_path / "detector", "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    torch.testing.assert_close(found, dict(detector.model_.state_dict()))


def test_a_file_opens_in_inference_mode_and_trains_afterwards(
    make_detector, blob, tmp_path
):
    detector = make_detector(warm_start=True).fit(blob)
    state = torch.get_rng_state()
    with torch.inference_mode():
        opened = through_a_file(detector, tmp_path)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    opened.fit(blob)
    detector.fit(blob)
    np.testing.assert_array_equal(
        opened.score_samples(blob), detector.score_samples(blob)
    )


# A new method -----------------------------------------------------------------


class Bands(Fixed):
    """A part of numbers and tensors, with parts of its own kind beside it."""

    def __init__(self, edges, n_bands):
        super().__init__()
        self.register_buffer("edges", edges)
        self.n_bands = n_bands


class NewModel(AnoGAN):
    def prepare_scoring(self, x, rng):
        super().prepare_scoring(x, rng)
        features = self._features(x)
        self.metrics = nn.ModuleDict(
            {
                name: WhitenedMetric.fit(features * scale, 0.1, 2)
                for name, scale in (("near", 1.0), ("far", 2.0))
            }
        )
        self.bands = Bands(features.mean(0), 3)
        self.register_buffer("offsets", torch.arange(4))
        self.temperature = 0.7

    def score(self, x):
        near, far = self.metrics["near"], self.metrics["far"]
        features = self._features(x) - self.bands.edges
        lengths = near.squared_length(features) + far.squared_length(features)
        return super().score(x) + self.temperature * lengths / self.bands.n_bands


class NewDetector(GANDetector):
    """A detector of few parameters: what others leave open is settled here."""

    n_bands_: int | None

    _parameter_constraints = {  # noqa: RUF012
        **GANDetector._parameter_constraints,
        "memory": [str, os.PathLike, None],
    }

    backbone, hidden_layer_sizes, n_filters, latent_dim = "mlp", (8,), 1, 3
    generator = discriminator = image_shape = None
    prior, adversarial_loss = "normal", "hinge"
    gradient_penalty, learning_rate, beta_1, averaging = 0.0, 2e-4, 0.5, 0.9
    batch_size = validation_fraction = contamination = scoring_dtype = "auto"
    warm_start, verbose = False, 0

    def __init__(self, *, max_iter=5, memory=None, device="cpu", random_state=None):
        self.max_iter = max_iter
        self.memory = memory
        self.device = device
        self.random_state = random_state

    def _make_model(self, rows, row_shape, rng):
        search = Search("whitened", "nearest", 32, 1, 0, 0.1, 0.0, 0.1, 0.0, 0.01)
        return NewModel(self._gan_parts(rows, row_shape, rng), search)

    def fit(self, X, y=None):
        super().fit(X, y)
        self.n_bands_ = self.model_.bands.n_bands
        return self


@pytest.fixture
def new_detector(monkeypatch):
    """A method that the package learns of by its name alone."""
    monkeypatch.setattr(skanogan, "NewDetector", NewDetector, raising=False)
    monkeypatch.setattr(skanogan, "__all__", [*skanogan.__all__, "NewDetector"])
    return NewDetector


def test_a_new_method_is_kept_with_whatever_it_registers(new_detector, blob, tmp_path):
    detector = new_detector(random_state=0).fit(blob)
    opened = through_a_file(detector, tmp_path)
    assert_same(opened, detector, blob)
    assert opened.model_.metrics["far"].basis.shape == (8, 2)
    assert opened.model_.offsets.dtype == torch.int64
    assert opened.n_bands_ == 3


def test_no_file_says_where_an_opened_detector_reads_and_writes(
    new_detector, blob, tmp_path
):
    detector = new_detector(memory=str(tmp_path / "trainings")).fit(blob)
    opened = through_a_file(detector, tmp_path)
    assert opened.memory is None
    assert b"trainings" not in (tmp_path / "detector.safetensors").read_bytes()


@pytest.mark.parametrize("detector_class", CLASSES)
def test_parameters_that_name_a_place_are_told_by_their_constraint(detector_class):
    constraints = detector_class._parameter_constraints
    free_text = {key for key, kinds in constraints.items() if str in kinds}
    places = {key for key, kinds in constraints.items() if os.PathLike in kinds}
    assert free_text - places <= {"device"}


@pytest.mark.parametrize("detector_class", CLASSES)
def test_every_network_that_a_detector_takes_can_be_given_to_load(detector_class):
    constraints = detector_class._parameter_constraints
    networks = {key for key, kinds in constraints.items() if nn.Module in kinds}
    assert networks <= set(skanogan.load.__kwdefaults__)


def test_a_method_that_registers_what_cannot_be_made_again_is_told_so(
    new_detector, blob, tmp_path
):
    detector = new_detector().fit(blob)
    for name, value in (
        ("layer", nn.Linear(2, 2)),
        ("function", len),
        ("bands", copy.deepcopy(detector.model_.bands)),
    ):
        model = copy.deepcopy(detector.model_)
        setattr(model, name, value)
        if name == "bands":
            value.register_buffer("hidden", torch.ones(1), persistent=False)
        broken = copy.copy(detector)
        broken.model_ = model
        with pytest.raises(TypeError, match=name):
            broken.save(tmp_path / "detector")
    assert os.listdir(tmp_path) == []


# Networks of the user's -------------------------------------------------------


def make_generator(width=8):
    return nn.Sequential(
        nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 5)
    )


class TiedDiscriminator(nn.Module):
    """Two layers that share a weight, and a buffer that is not floating-point."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.head = nn.Linear(5, 1)
        self.register_buffer("order", torch.arange(5).flip(0))

    def features(self, x):
        return torch.relu(self.second(torch.relu(self.first(x[:, self.order]))))

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture
def with_networks(make_detector, blob):
    return make_detector(
        generator=make_generator(), discriminator=TiedDiscriminator(), latent_dim=3
    ).fit(blob)


@pytest.mark.parametrize("how", ["module", "class or function"])
def test_weights_of_own_networks_are_kept_and_the_networks_asked_for(
    with_networks, blob, tmp_path, how
):
    given = {"generator": make_generator, "discriminator": TiedDiscriminator}
    if how == "module":
        given = {name: make() for name, make in given.items()}
    before = copy.deepcopy(given)
    opened = through_a_file(with_networks, tmp_path, **given)
    expected = with_networks.score_samples(blob)
    np.testing.assert_array_equal(opened.score_samples(blob), expected)
    discriminator = opened.model_.discriminator.network
    assert discriminator.first.weight is discriminator.second.weight
    if how == "module":
        for name, module in given.items():
            assert getattr(opened, name) is module
            torch.testing.assert_close(module.state_dict(), before[name].state_dict())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            r"discriminator is a network of your own \(TiedDiscriminator\).*load\(path",
        ),
        ({"discriminator": TiedDiscriminator}, "generator is a network of your own"),
        (
            {"generator": make_generator(9), "discriminator": TiedDiscriminator},
            r"generator.0.weight is \(8, 3\) float64, not \(9, 3\) float64",
        ),
        (
            {"generator": nn.Linear(3, 5), "discriminator": TiedDiscriminator},
            "generator.weight is missing",
        ),
    ],
    ids=["none", "one of two", "another width", "another network"],
)
def test_networks_that_are_missing_or_do_not_fit_are_told(
    with_networks, tmp_path, given, message
):
    with pytest.raises(ModelFileError, match=message):
        through_a_file(with_networks, tmp_path, **given)


def test_a_network_that_the_file_has_no_use_for_is_refused(
    make_detector, blob, tmp_path
):
    with pytest.raises(ModelFileError, match="takes no generator: leave it out"):
        through_a_file(make_detector().fit(blob), tmp_path, generator=make_generator)


def test_what_makes_no_network_is_refused(with_networks, tmp_path):
    given = {"generator": list, "discriminator": TiedDiscriminator}
    with pytest.raises(TypeError, match="generator makes a list"):
        through_a_file(with_networks, tmp_path, **given)


# What is not kept -------------------------------------------------------------


def test_a_random_state_is_refused_with_what_to_do(make_detector, blob, tmp_path):
    detector = make_detector(random_state=np.random.RandomState(0)).fit(blob)
    with pytest.raises(TypeError, match=r"set_params\(random_state=None\)"):
        detector.save(tmp_path / "detector")
    opened = through_a_file(detector.set_params(random_state=None), tmp_path)
    np.testing.assert_array_equal(
        opened.score_samples(blob), detector.score_samples(blob)
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_steps": 7}, "search.n_steps: 0, now 7"),
        ({"anomaly_score": "residual"}, "search.score: 'whitened', now 'residual'"),
        ({"prior": "uniform"}, "prior.name: 'normal', now 'uniform'"),
        ({"start": "encoder"}, "encoder: None, now Encoder"),
        ({"hidden_layer_sizes": (16, 17)}, "generator.2.out_features: 16, now 17"),
        ({"hidden_layer_sizes": (16,)}, "generator.3: ReLU, now None"),
        ({"learning_rate": 0.1}, "training_settings.learning_rate: 0.0002, now 0.1"),
    ],
    ids=str,
)
def test_parameters_that_no_longer_describe_the_model_are_told(
    make_detector, blob, tmp_path, changed, message
):
    detector = make_detector().fit(blob).set_params(**changed)
    with pytest.raises(ValueError, match=f"changed since fit.*{message}.*fit again"):
        detector.save(tmp_path / "detector")


def test_an_encoder_that_is_no_longer_asked_for_is_told(make_fanogan, blob, tmp_path):
    detector = make_fanogan(encoder_activation="tanh").fit(blob)
    detector.set_params(encoder_activation="identity")
    with pytest.raises(ValueError, match=r"encoder\.bounded: True, now False"):
        detector.save(tmp_path / "detector")


def test_a_change_that_the_model_does_not_know_of_is_kept(
    make_detector, blob, tmp_path
):
    detector = make_detector().fit(blob)
    detector.set_params(contamination=0.2, max_iter=99, scoring_dtype="float32")
    assert_same(through_a_file(detector, tmp_path), detector, blob)


def test_what_cannot_be_saved_is_refused_and_nothing_written(
    make_detector, blob, tmp_path
):
    class Mine(type(make_detector())):
        pass

    noted = make_detector().fit(blob)
    noted.note = "mine"
    misshapen = make_detector().fit(blob)
    misshapen._sample_shape = (6,)
    for detector, error, message in (
        (make_detector(), NotFittedError, "not fitted"),
        (Mine(max_iter=2).fit(blob), TypeError, "Mine is not a detector of skanogan"),
        (noted, TypeError, "note"),
        (misshapen, TypeError, "load would refuse.*Shapes"),
        (make_detector().fit(blob).set_params(max_iter=10**30), TypeError, "max_iter"),
    ):
        with pytest.raises(error, match=message):
            detector.save(tmp_path / "detector")
    assert os.listdir(tmp_path) == []


# Devices and versions ---------------------------------------------------------


def test_a_detector_of_a_device_that_is_missing_opens_on_the_cpu(
    make_detector, blob, tmp_path, monkeypatch
):
    monkeypatch.setenv("SKANOGAN_EXCLUDE_DEVICES", "cuda,mps")
    detector = make_detector().fit(blob)
    expected = detector.score_samples(blob)
    detector.set_params(device="cuda")
    with pytest.warns(DeviceFallbackWarning, match="Opened on the CPU"):
        opened = through_a_file(detector, tmp_path)
    assert opened.device == "cuda"
    assert opened.device_ == torch.device("cpu")
    np.testing.assert_array_equal(opened.score_samples(blob), expected)
    # Asked for, it is the user's word, and no warning is due
    opened = through_a_file(detector, tmp_path, device="cpu")
    assert opened.device == "cpu"
    with pytest.raises(ValueError, match="'cuda' is not available"):
        through_a_file(detector, tmp_path, device="cuda")


def test_a_detector_of_any_device_opens_on_the_cpu(
    device, make_detector, blob, tmp_path
):
    detector = make_detector(device=device).fit(blob)
    opened = through_a_file(detector, tmp_path, device="cpu")
    # Sums on another device round differently
    np.testing.assert_allclose(
        opened.score_samples(blob), detector.score_samples(blob), rtol=1e-3
    )
    again = through_a_file(opened, tmp_path, device=device)
    np.testing.assert_array_equal(
        again.score_samples(blob), detector.score_samples(blob)
    )


@pytest.mark.parametrize(
    ("package", "attribute"),
    [(skanogan, "__version__"), (torch, "__version__")],
    ids=["skanogan", "torch"],
)
def test_other_versions_are_told_with_what_to_do(
    make_detector, blob, tmp_path, monkeypatch, package, attribute
):
    detector = make_detector().fit(blob)
    detector.save(tmp_path / "detector")
    monkeypatch.setattr(package, attribute, "9.9.9")
    with pytest.warns(ModelVersionWarning, match=r"9\.9\.9.*Save the detector again"):
        opened = skanogan.load(tmp_path / "detector")
    assert_same(opened, detector, blob)


def test_another_build_of_the_same_torch_is_the_same_version(
    make_detector, blob, tmp_path, monkeypatch
):
    detector = make_detector().fit(blob)
    detector.save(tmp_path / "detector")
    version = str(torch.__version__).partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{version}+cu999")
    skanogan.load(tmp_path / "detector")


# How a file is written --------------------------------------------------------


def refuse(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("before", [None, b"the old file"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    call, before, make_detector, blob, tmp_path, monkeypatch
):
    detector = make_detector().fit(blob)
    path = tmp_path / "detector"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, refuse)
        with pytest.raises(OSError, match="No space left"):
            detector.save(path)
    assert os.listdir(tmp_path) == ([] if before is None else ["detector"])
    assert before is None or path.read_bytes() == before


CUT_SHORT = """
import os, resource, runpy, signal, sys
source, path, how = sys.argv[1:]
write = runpy.run_path(source)["write_atomically"]
if how == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
else:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
try:
    write(path, bytes(100_000))
except OSError:
    sys.exit(3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits on Windows")
@pytest.mark.parametrize(("how", "status"), [("full", 3), ("killed", -9)])
def test_a_write_that_is_cut_short_leaves_the_old_file(how, status, tmp_path):
    path = tmp_path / "detector"
    path.write_bytes(b"the old file")
    command = [sys.executable, "-c", CUT_SHORT, files.__file__, str(path), how]
    assert subprocess.run(command, check=False).returncode == status
    assert path.read_bytes() == b"the old file"
    rest = [name for name in os.listdir(tmp_path) if name != "detector"]
    # What is killed cannot clean up
    assert len(rest) == (1 if how == "killed" else 0)
    assert all(name.endswith(".part") for name in rest)


@pytest.mark.skipif(sys.platform == "win32", reason="no modes on Windows")
def test_permissions_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    write = runpy.run_path(files.__file__)["write_atomically"]
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "new", b"content")
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "secret").chmod(0o600)
    write(tmp_path / "secret", b"content")
    mode = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert mode["new"] == mode["plain"]
    assert mode["secret"] == 0o600


def test_a_link_is_followed(make_detector, blob, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "detector", tmp_path / "link"
    link.symlink_to(target)
    detector = make_detector().fit(blob)
    detector.save(link)
    assert link.is_symlink()
    assert_same(skanogan.load(target), detector, blob)
    assert os.listdir(target.parent) == ["detector"]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_anything_that_open_takes(make_detector, blob, tmp_path, kind):
    detector = make_detector().fit(blob)
    path = kind(str(tmp_path / "detector"))
    detector.save(path)
    assert isinstance(skanogan.load(path), BaseDetector)


def test_a_folder_that_is_missing_is_told_and_not_made(make_detector, blob, tmp_path):
    path = tmp_path / "missing" / "detector"
    with pytest.raises(FileNotFoundError, match="detector' is in a folder that is not"):
        make_detector().fit(blob).save(path)
    assert os.listdir(tmp_path) == []


def test_a_path_without_a_file_is_an_error_of_the_system(make_detector, blob, tmp_path):
    with pytest.raises(IsADirectoryError):
        make_detector().fit(blob).save(tmp_path)
    with pytest.raises(FileNotFoundError):
        skanogan.load(tmp_path / "detector")
    assert os.listdir(tmp_path) == []

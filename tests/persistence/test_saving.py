"""What a file stores of a detector, and what save refuses to store."""

import copy
import operator
import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
from cheap import cheap
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

import skanogan
from skanogan._persistence import description, registry
from skanogan.detectors._gan import GANDetector
from skanogan.exceptions import (
    DeviceFallbackWarning,
    ModelFileError,
    ModelVersionWarning,
)
from skanogan.models._anogan import AnoGAN, Search
from skanogan.nn import Fixed, WhitenedMetric
from skanogan.utils.discovery import all_detectors

CLASSES = [detector_class for _, detector_class in all_detectors()]

ROW_METHODS = (
    "score_samples",
    "decision_function",
    "predict",
    "reconstruct",
    "anomaly_map",
    "embed",
    "feature_map",
)


def through_a_file(detector, folder, **options):
    """Save a detector and load it."""
    path = folder / "detector.safetensors"
    detector.save(path)
    return skanogan.load(path, **options)


def assert_same(loaded, detector, X):
    """Compare all methods, parameters and attributes to the bit."""
    assert type(loaded) is type(detector)
    for name in ROW_METHODS:
        if hasattr(detector, name):
            expected = getattr(detector, name)(X)
            np.testing.assert_array_equal(getattr(loaded, name)(X), expected, name)
    np.testing.assert_array_equal(
        loaded.sample(3, random_state=1), detector.sample(3, random_state=1)
    )
    assert loaded.get_params() == detector.get_params()
    left_out = {"model_", "feature_names_in_", *detector.get_params()}
    for name in set(vars(detector)) - left_out:
        same = np.array_equal if name == "support_" else operator.eq
        assert same(getattr(loaded, name), getattr(detector, name)), name
        assert type(getattr(loaded, name)) is type(getattr(detector, name)), name
    assert set(vars(loaded)) == set(vars(detector))
    assert not loaded.model_.training
    assert not any(weight.requires_grad for weight in loaded.model_.parameters())


KINDS = {
    "table": {},
    "table in float32": {"scoring_dtype": "float32"},
    "image": {"backbone": "convolutional"},
    "image in float64": {"backbone": "convolutional", "scoring_dtype": "float64"},
    "image through an mlp": {"backbone": "mlp"},
}


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    return rng.randint(256, size=(40, 16, 17, 2)).astype(np.uint8)


@pytest.fixture
def rows(blob, images):
    return lambda kind: images if "image" in kind else blob


# What is stored ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("detector_class", CLASSES)
def test_a_loaded_detector_is_equal_to_the_bit(detector_class, kind, rows, tmp_path):
    X = rows(kind)
    detector = cheap(detector_class, **KINDS[kind]).fit(X)
    assert_same(through_a_file(detector, tmp_path), detector, X)


def ways_of_scoring():
    """Yield every score of every detector, with gradient steps where there are some."""
    for detector_class in CLASSES:
        choices = detector_class._parameter_constraints
        for score in sorted(choices["anomaly_score"][0].options):
            yield detector_class, {"anomaly_score": score}
            if "n_steps" in choices:
                yield detector_class, {"anomaly_score": score, "n_steps": 2}


@pytest.mark.parametrize(("detector_class", "parameters"), list(ways_of_scoring()))
def test_every_way_of_scoring_is_stored(detector_class, parameters, blob, tmp_path):
    detector = cheap(detector_class, **parameters).fit(blob)
    assert_same(through_a_file(detector, tmp_path), detector, blob)


@pytest.mark.parametrize("detector_class", CLASSES)
def test_a_warm_start_continues_after_loading(detector_class, blob, tmp_path):
    detector = cheap(detector_class, warm_start=True).fit(blob)
    loaded = through_a_file(detector, tmp_path)
    loaded.fit(blob)
    detector.fit(blob)
    for record in (*loaded.history_, *detector.history_):
        del record["seconds"]
    assert_same(loaded, detector, blob)
    assert detector.n_iter_ == 2 * detector._n_updates()


def test_names_of_columns_are_stored_and_compared(make_detector, blob, tmp_path):
    X = pd.DataFrame(blob, columns=["länge", 'a "b"', "\\", "名前", ""])
    loaded = through_a_file(make_detector().fit(X), tmp_path)
    assert loaded.feature_names_in_.tolist() == list(X.columns)
    assert loaded.feature_names_in_.dtype == object
    loaded.score_samples(X)
    with pytest.raises(ValueError, match="feature names"):
        loaded.score_samples(X[X.columns[::-1]])


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
def test_parameters_are_stored_with_their_types(
    make_detector, blob, tmp_path, parameters
):
    detector = make_detector(**parameters).fit(blob)
    loaded = through_a_file(detector, tmp_path)
    assert_same(loaded, detector, blob)
    for name, value in parameters.items():
        plain = value.item() if isinstance(value, np.generic) else value
        assert type(getattr(loaded, name)) is type(plain)


def test_flat_rows_of_images_stay_flat(make_detector, images, tmp_path):
    flat = images.reshape(len(images), -1)
    detector = make_detector(image_shape=images.shape[1:]).fit(flat)
    loaded = through_a_file(detector, tmp_path)
    assert loaded.sample(2).shape == (2, flat.shape[1])
    np.testing.assert_array_equal(
        loaded.score_samples(images), detector.score_samples(flat)
    )


def test_a_loaded_detector_can_be_saved_pickled_and_copied(
    make_detector, blob, tmp_path
):
    detector = make_detector().fit(blob)
    loaded = through_a_file(detector, tmp_path)
    joblib.dump(loaded, tmp_path / "detector.joblib")
    for again in (
        through_a_file(loaded, tmp_path),
        pickle.loads(pickle.dumps(loaded)),
        joblib.load(tmp_path / "detector.joblib"),
        copy.deepcopy(loaded),
        clone(loaded).fit(blob),
    ):
        expected = detector.score_samples(blob)
        np.testing.assert_array_equal(again.score_samples(blob), expected)


@pytest.mark.parametrize("detector_class", CLASSES)
def test_saving_twice_writes_the_same_bytes(detector_class, blob, tmp_path):
    detector = cheap(detector_class).fit(blob)
    for name in ("first", "second"):
        detector.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_safetensors_reads_the_file(make_detector, blob, tmp_path):
    detector = make_detector().fit(blob)
    detector.save(tmp_path / "detector")
    with safetensors.safe_open(tmp_path / "detector", "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    assert np.array_equal(found.pop("support_").numpy(), detector.support_)
    torch.testing.assert_close(found, dict(detector.model_.state_dict()))


def test_a_detector_loaded_in_inference_mode_can_be_trained(
    make_detector, blob, tmp_path
):
    detector = make_detector(warm_start=True).fit(blob)
    state = torch.get_rng_state()
    with torch.inference_mode():
        loaded = through_a_file(detector, tmp_path)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    loaded.fit(blob)
    detector.fit(blob)
    np.testing.assert_array_equal(
        loaded.score_samples(blob), detector.score_samples(blob)
    )


# A new method -----------------------------------------------------------------


class Bands(Fixed):
    """A part with a tensor and a number."""

    def __init__(self, edges, n_bands):
        super().__init__()
        self.register_buffer("edges", edges)
        self.n_bands = n_bands


class NewModel(AnoGAN):
    def prepare_scoring(self, x, rng):
        super().prepare_scoring(x, rng)
        features = self.embed(x)
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
        features = self.embed(x) - self.bands.edges
        lengths = near.squared_length(features) + far.squared_length(features)
        return super().score(x) + self.temperature * lengths / self.bands.n_bands


class NewDetector(GANDetector):
    """A detector of another package, with few parameters and one more attribute."""

    n_bands_: int | None

    _parameter_constraints = {  # noqa: RUF012
        **GANDetector._parameter_constraints,
        "memory": [str, os.PathLike, None],
    }

    backbone, hidden_layer_sizes, n_filters, latent_dim = "mlp", (8,), 1, 3
    generator = discriminator = image_shape = None
    prior, gradient_penalty, learning_rate, ema_decay = "normal", 0.0, 2e-4, 0.9
    batch_size = validation_fraction = contamination = scoring_dtype = "auto"
    warm_start, verbose = False, 0

    def __init__(self, *, max_iter=5, memory=None, device="cpu", random_state=None):
        self.max_iter = max_iter
        self.memory = memory
        self.device = device
        self.random_state = random_state

    def _make_model(self, scaling, row_shape, rng):
        parts = self._gan_parts(scaling, row_shape, rng)
        return NewModel(parts, Search(n_candidates=32))

    def fit(self, X, y=None):
        super().fit(X, y)
        self.n_bands_ = self.model_.members[0].bands.n_bands
        return self


@pytest.fixture
def registered(monkeypatch):
    """Register `NewDetector` for the time of a test."""
    monkeypatch.setattr(registry, "_CLASSES", registry.registered_detectors())
    registry.register_detector(NewDetector)


def test_everything_that_prepare_scoring_registers_is_stored(blob, tmp_path):
    detector = NewDetector(random_state=0).fit(blob)
    loaded = through_a_file(detector, tmp_path, detector_class=NewDetector)
    assert_same(loaded, detector, blob)
    assert loaded.model_.members[0].metrics["far"].basis.shape == (8, 2)
    assert loaded.model_.members[0].offsets.dtype == torch.int64
    assert loaded.n_bands_ == 3


def test_an_unregistered_class_is_saved_and_loaded_by_the_class(blob, tmp_path):
    NewDetector(random_state=0).fit(blob).save(tmp_path / "detector")
    for wrong, error, message in (
        (None, ModelFileError, "'NewDetector' is not .*register_detector.*detector_"),
        (skanogan.OCGANDetector, ModelFileError, "a NewDetector, .* is OCGANDetector"),
        (nn.Linear, TypeError, "detector_class is <class 'torch.nn.*must be the class"),
        ("NewDetector", TypeError, "detector_class is 'NewDetector'"),
    ):
        with pytest.raises(error, match=message):
            skanogan.load(tmp_path / "detector", detector_class=wrong)
    loaded = skanogan.load(tmp_path / "detector", detector_class=NewDetector)
    assert type(loaded) is NewDetector


def test_a_registered_class_is_loaded_by_its_name(registered, blob, tmp_path):
    detector = NewDetector(random_state=0).fit(blob)
    assert_same(through_a_file(detector, tmp_path), detector, blob)


def test_a_class_with_the_name_of_a_registered_one_is_not_saved(blob, tmp_path):
    # load would open the file as the registered class.
    other = type("AnoGANDetector", (NewDetector,), {})
    with pytest.raises(ValueError, match=r"registered under the same name\. Rename"):
        other().fit(blob).save(tmp_path / "detector")
    assert os.listdir(tmp_path) == []


def test_parameters_that_name_a_place_are_not_stored(blob, tmp_path):
    detector = NewDetector(memory=str(tmp_path / "trainings")).fit(blob)
    loaded = through_a_file(detector, tmp_path, detector_class=NewDetector)
    assert loaded.memory is None
    assert b"trainings" not in (tmp_path / "detector.safetensors").read_bytes()


@pytest.mark.parametrize("detector_class", CLASSES)
def test_parameters_that_name_a_place_are_known_by_their_constraint(detector_class):
    constraints = detector_class._parameter_constraints
    free_text = {key for key, kinds in constraints.items() if str in kinds}
    places = {key for key, kinds in constraints.items() if os.PathLike in kinds}
    assert free_text - places <= {"device"}


def test_a_model_with_parts_that_cannot_be_made_again_is_not_saved(blob, tmp_path):
    detector = NewDetector().fit(blob)
    for name, value in (
        ("layer", nn.Linear(2, 2)),
        ("function", len),
        ("bands", copy.deepcopy(detector.model_.members[0].bands)),
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


# Networks of the user ----------------------------------------------------------


def make_generator(width=8):
    return nn.Sequential(
        nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 5)
    )


class TiedDiscriminator(nn.Module):
    """A network with two layers that share a weight, and an integer buffer."""

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
def test_weights_of_own_networks_are_stored_and_the_networks_are_given_to_load(
    with_networks, blob, tmp_path, how
):
    given = {"generator": make_generator, "discriminator": TiedDiscriminator}
    if how == "module":
        given = {name: make() for name, make in given.items()}
    before = copy.deepcopy(given)
    loaded = through_a_file(with_networks, tmp_path, networks=given)
    expected = with_networks.score_samples(blob)
    np.testing.assert_array_equal(loaded.score_samples(blob), expected)
    discriminator = loaded.model_.members[0].discriminator.network
    assert discriminator.first.weight is discriminator.second.weight
    if how == "module":
        for name, module in given.items():
            assert getattr(loaded, name) is module
            torch.testing.assert_close(module.state_dict(), before[name].state_dict())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            r"discriminator is a network of class TiedDiscriminator\..*load\(path",
        ),
        ({"discriminator": TiedDiscriminator}, "generator is a network of class Seq"),
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
def test_networks_that_are_missing_or_do_not_fit_are_refused(
    with_networks, tmp_path, given, message
):
    with pytest.raises(ModelFileError, match=message):
        through_a_file(with_networks, tmp_path, networks=given)


def test_a_network_that_the_file_does_not_need_is_refused(
    make_detector, blob, tmp_path
):
    detector = make_detector().fit(blob)
    with pytest.raises(ModelFileError, match=r"no networks \['generator'\].* Leave"):
        through_a_file(detector, tmp_path, networks={"generator": make_generator})


@pytest.mark.parametrize(("given", "kind"), [(list, "returned a"), ([], "is a")])
def test_a_network_that_is_not_a_module_is_refused(
    with_networks, tmp_path, given, kind
):
    networks = {"generator": given, "discriminator": TiedDiscriminator}
    with pytest.raises(TypeError, match=rf"networks\['generator'\] {kind} list\."):
        through_a_file(with_networks, tmp_path, networks=networks)


# What is not stored -----------------------------------------------------------


def test_a_random_state_instance_is_refused_with_advice(make_detector, blob, tmp_path):
    detector = make_detector(random_state=np.random.RandomState(0)).fit(blob)
    with pytest.raises(TypeError, match=r"set_params\(random_state=None\)"):
        detector.save(tmp_path / "detector")
    loaded = through_a_file(detector.set_params(random_state=None), tmp_path)
    np.testing.assert_array_equal(
        loaded.score_samples(blob), detector.score_samples(blob)
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_steps": 7}, "search.n_steps: 0, now 7"),
        ({"anomaly_score": "residual"}, "search.score: 'whitened', now 'residual'"),
        ({"prior": "uniform"}, "prior.name: 'normal', now 'uniform'"),
        ({"hidden_layer_sizes": (16, 17)}, "generator.2.out_features: 16, now 17"),
        ({"hidden_layer_sizes": (16,)}, "generator.3: ReLU, now None"),
        ({"learning_rate": 0.1}, "training_settings.learning_rate: 0.002, now 0.1"),
    ],
    ids=str,
)
def test_parameters_that_no_longer_describe_the_model_are_refused(
    make_detector, blob, tmp_path, changed, message
):
    detector = make_detector().fit(blob).set_params(**changed)
    with pytest.raises(ValueError, match=f"changed after fit.*{message}.*fit again"):
        detector.save(tmp_path / "detector")


def test_a_changed_parameter_that_the_model_does_not_have_is_stored(
    make_detector, blob, tmp_path
):
    detector = make_detector().fit(blob)
    detector.set_params(contamination=0.2, max_iter=99, scoring_dtype="float32")
    assert_same(through_a_file(detector, tmp_path), detector, blob)


def test_what_cannot_be_saved_is_refused_and_nothing_is_written(
    make_detector, blob, tmp_path
):
    noted = make_detector().fit(blob)
    noted.note = "mine"
    misshapen = make_detector().fit(blob)
    misshapen._sample_shape = (6,)
    for detector, error, message in (
        (make_detector(), NotFittedError, "not fitted"),
        (noted, TypeError, "note"),
        (misshapen, TypeError, "load would refuse.*shapes and names"),
        (make_detector().fit(blob).set_params(max_iter=10**30), TypeError, "max_iter"),
    ):
        with pytest.raises(error, match=message):
            detector.save(tmp_path / "detector")
    assert os.listdir(tmp_path) == []


# Devices and versions ---------------------------------------------------------


@pytest.mark.parametrize("named", ["cuda", "cuda:1", torch.device("cuda", 1)], ids=str)
def test_a_detector_of_a_missing_device_is_loaded_on_the_cpu(
    make_detector, blob, tmp_path, monkeypatch, named
):
    monkeypatch.setenv("SKANOGAN_EXCLUDE_DEVICES", "cuda,mps")
    detector = make_detector().fit(blob)
    expected = detector.score_samples(blob)
    detector.set_params(device=named)
    with pytest.warns(DeviceFallbackWarning, match="on the CPU"):
        loaded = through_a_file(detector, tmp_path)
    assert loaded.device == named
    assert loaded.device_ == torch.device("cpu")
    np.testing.assert_array_equal(loaded.score_samples(blob), expected)
    # The user asks for it, so there is no warning.
    loaded = through_a_file(detector, tmp_path, device="cpu")
    assert loaded.device == "cpu"
    with pytest.raises(ValueError, match="'cuda' is not available"):
        through_a_file(detector, tmp_path, device="cuda")


def test_a_detector_of_any_device_is_loaded_on_the_cpu(
    device, make_detector, blob, tmp_path
):
    detector = make_detector(device=device).fit(blob)
    loaded = through_a_file(detector, tmp_path, device="cpu")
    # Sums on another device are rounded differently.
    np.testing.assert_allclose(
        loaded.score_samples(blob), detector.score_samples(blob), rtol=1e-3
    )
    again = through_a_file(loaded, tmp_path, device=device)
    np.testing.assert_array_equal(
        again.score_samples(blob), detector.score_samples(blob)
    )


@pytest.mark.parametrize(
    ("package", "attribute"),
    [(description, "__version__"), (torch, "__version__")],
    ids=["skanogan", "torch"],
)
def test_other_versions_warn_with_advice(
    make_detector, blob, tmp_path, monkeypatch, package, attribute
):
    detector = make_detector().fit(blob)
    detector.save(tmp_path / "detector")
    monkeypatch.setattr(package, attribute, "9.9.9")
    with pytest.warns(ModelVersionWarning, match=r"9\.9\.9.*save the detector again"):
        loaded = skanogan.load(tmp_path / "detector")
    assert_same(loaded, detector, blob)


def test_another_build_of_the_same_torch_is_the_same_version(
    make_detector, blob, tmp_path, monkeypatch
):
    detector = make_detector().fit(blob)
    detector.save(tmp_path / "detector")
    version = str(torch.__version__).partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{version}+cu999")
    skanogan.load(tmp_path / "detector")


@pytest.mark.parametrize("mode", [torch.device("meta"), torch.autocast("cpu")])
@pytest.mark.parametrize("kind", CLASSES)
def test_a_file_can_be_loaded_in_any_mode_of_torch(tmp_path, blob, kind, mode):
    # Regression: networks of the default device did not take tensors of the CPU.
    detector = cheap(kind).fit(blob)
    expected = detector.score_samples(blob)
    with mode:
        detector.save(tmp_path / "saved")
        loaded = skanogan.load(tmp_path / "saved")
        assert np.array_equal(loaded.score_samples(blob), expected)
    assert np.array_equal(loaded.score_samples(blob), expected)

"""Files of detectors that wrap another detector: ConformalDetector, PatchDetector."""

import copy
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
from cheap import cheap
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skanogan
from skanogan import AnoGANDetector, OCGANDetector
from skanogan._persistence.description import DEEPEST
from skanogan.conformal import ConformalDetector
from skanogan.exceptions import DeviceFallbackWarning, ModelFileError
from skanogan.image import PatchDetector
from skanogan.utils.discovery import all_detectors

CLASSES = [detector_class for _, detector_class in all_detectors()]


def conformal(estimator=None, **parameters):
    estimator = cheap(AnoGANDetector) if estimator is None else estimator
    return ConformalDetector(
        estimator, **{"alpha": 0.2, "random_state": 0, **parameters}
    )


def patches(estimator=None, **parameters):
    estimator = cheap(OCGANDetector) if estimator is None else estimator
    given = {"patch_size": 4, "patches_per_image": 8, "random_state": 0}
    return PatchDetector(estimator, **{**given, **parameters})


@pytest.fixture
def images():
    """20 images of 12 x 13 pixels, in uint8."""
    return np.random.RandomState(0).randint(256, size=(20, 12, 13)).astype(np.uint8)


def through_a_file(detector, folder, **options):
    """Save a detector and load it."""
    path = folder / "detector.safetensors"
    detector.save(path)
    return skanogan.load(path, **options)


def assert_same(loaded, detector, X):
    """Compare scores, labels, parameters and attributes to the bit."""
    assert type(loaded) is type(detector)
    for name in ("score_samples", "decision_function", "predict"):
        expected = getattr(detector, name)(X)
        np.testing.assert_array_equal(getattr(loaded, name)(X), expected, name)
    assert repr(loaded.get_params()) == repr(detector.get_params())
    assert set(vars(loaded)) == set(vars(detector))
    others = {"estimator_", "calibration_scores_", *detector.get_params(deep=False)}
    for name in set(vars(detector)) - others:
        assert getattr(loaded, name) == getattr(detector, name), name
        assert type(getattr(loaded, name)) is type(getattr(detector, name)), name


# Round trips ------------------------------------------------------------------


@pytest.mark.parametrize("detector_class", CLASSES)
def test_a_conformal_detector_is_equal_to_the_bit(detector_class, blob, tmp_path):
    detector = conformal(cheap(detector_class)).fit(blob)
    loaded = through_a_file(detector, tmp_path)
    assert_same(loaded, detector, blob)
    expected, found = detector.calibration_scores_, loaded.calibration_scores_
    assert found.dtype == np.float64
    assert found.flags.writeable
    assert found.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(loaded.p_values(blob), detector.p_values(blob))


def test_a_conformal_detector_keeps_the_names_of_columns(blob, tmp_path):
    X = pd.DataFrame(blob, columns=list("abcde"))
    loaded = through_a_file(conformal().fit(X), tmp_path)
    assert loaded.n_features_in_ == 5
    assert loaded.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(X[X.columns[::-1]])


@pytest.mark.parametrize("detector_class", CLASSES)
def test_a_patch_detector_is_equal_to_the_bit(detector_class, images, tmp_path):
    detector = patches(cheap(detector_class)).fit(images)
    loaded = through_a_file(detector, tmp_path)
    assert_same(loaded, detector, images)
    for stride in (None, 1):
        np.testing.assert_array_equal(
            loaded.anomaly_map(images[0], stride=stride),
            detector.anomaly_map(images[0], stride=stride),
        )


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int16", "float32", ">f8", "bool"])
def test_the_dtype_of_images_is_stored_and_compared(dtype, images, tmp_path):
    images = images.astype(dtype)
    detector = patches().fit(images)
    loaded = through_a_file(detector, tmp_path)
    assert loaded.dtype_ == images.dtype
    assert_same(loaded, detector, images)
    with pytest.raises(ValueError, match="has dtype uint32, but"):
        loaded.predict(images.astype("uint32"))


def test_images_in_colour_and_parameters_of_patches_are_stored(tmp_path):
    images = np.random.RandomState(0).normal(size=(12, 9, 11, 3))
    parameters = {
        "patch_size": (3, 5),
        "stride": (np.int64(2), 4),
        "pooling": "quantile",
        "pooling_size": np.float64(0.25),
        "map_kind": "features",
        "contamination": 0.2,
    }
    detector = patches(**parameters).fit(images)
    loaded = through_a_file(detector, tmp_path)
    assert loaded.n_channels_ == 3
    assert loaded.patch_size_ == (3, 5)
    assert loaded.stride_ == (2, 4)
    plain = {**parameters, "stride": (2, 4), "pooling_size": 0.25}
    assert {name: getattr(loaded, name) for name in plain} == plain
    np.testing.assert_array_equal(
        loaded.score_samples(images), detector.score_samples(images)
    )
    np.testing.assert_array_equal(
        loaded.anomaly_map(images[0]), detector.anomaly_map(images[0])
    )


def test_after_a_fit_with_an_array_of_masks_a_loaded_detector_needs_masks(
    images, tmp_path
):
    masks = np.ones(images.shape, bool)
    masks[:, :5] = False
    detector = patches().fit(images, masks=masks)
    loaded = through_a_file(detector, tmp_path)
    np.testing.assert_array_equal(
        loaded.score_samples(images, masks), detector.score_samples(images, masks)
    )
    with pytest.raises(ValueError, match="masks is None, but fit had masks"):
        loaded.predict(images)


NESTED = {
    "patches of conformal": lambda images: patches(conformal()),
    "conformal of patches": lambda images: conformal(patches()),
    "conformal of conformal": lambda images: conformal(conformal()),
    "frozen": lambda images: conformal(FrozenEstimator(patches().fit(images))),
    "patches of frozen": lambda images: patches(
        FrozenEstimator(patches().fit(images).estimator_)
    ),
    "frozen within": lambda images: conformal(
        patches(FrozenEstimator(patches(conformal()).fit(images).estimator_))
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_detectors_are_equal_to_the_bit(name, images, tmp_path):
    detector = NESTED[name](images).fit(images)
    assert_same(through_a_file(detector, tmp_path), detector, images)


def test_a_frozen_detector_is_stored_once_and_loaded_as_one_object(images, tmp_path):
    frozen = FrozenEstimator(patches().fit(images))
    detector = conformal(frozen).fit(images)
    assert detector.estimator_ is detector.estimator
    loaded = through_a_file(detector, tmp_path)
    assert loaded.estimator_ is loaded.estimator
    assert isinstance(loaded.estimator, FrozenEstimator)
    # Another fit calibrates the frozen detector and does not fit it.
    loaded.fit(images[:12])
    np.testing.assert_array_equal(
        loaded.calibration_scores_, detector.fit(images[:12]).calibration_scores_
    )


def test_a_frozen_detector_set_after_fit_is_stored_as_well(blob, tmp_path):
    first = cheap(AnoGANDetector).fit(blob)
    second = cheap(AnoGANDetector, prior="uniform").fit(blob)
    detector = conformal(FrozenEstimator(first)).fit(blob)
    detector.set_params(estimator=FrozenEstimator(second))
    loaded = through_a_file(detector, tmp_path)
    np.testing.assert_array_equal(loaded.score_samples(blob), first.score_samples(blob))
    np.testing.assert_array_equal(
        loaded.estimator.score_samples(blob), second.score_samples(blob)
    )


def test_a_refit_after_loading_equals_a_refit_before(images, blob, tmp_path):
    for detector, X in ((patches(), images), (conformal(), blob)):
        detector.fit(X)
        loaded = through_a_file(detector, tmp_path)
        assert_same(loaded.fit(X[:15]), detector.fit(X[:15]), X)


def test_a_loaded_wrapper_can_be_saved_pickled_and_copied(images, tmp_path):
    detector = patches().fit(images)
    loaded = through_a_file(detector, tmp_path)
    for again in (
        through_a_file(loaded, tmp_path),
        pickle.loads(pickle.dumps(loaded)),
        copy.deepcopy(loaded),
        clone(loaded).fit(images),
    ):
        np.testing.assert_array_equal(
            again.score_samples(images), detector.score_samples(images)
        )


def test_what_the_estimator_has_fitted_is_not_stored(blob, tmp_path):
    # `fit` clones the estimator, so another fit does not use it.
    fitted = cheap(AnoGANDetector).fit(blob)
    detector = conformal(fitted).fit(blob)
    loaded = through_a_file(detector, tmp_path)
    assert_same(loaded, detector, blob)
    assert not hasattr(loaded.estimator, "model_")
    with safetensors.safe_open(tmp_path / "detector.safetensors", "pt") as file:
        names = set(file.keys())
    weights = {f"estimator_/{name}" for name in detector.estimator_.model_.state_dict()}
    assert names == {"calibration_scores_", "estimator_/support_", *weights}


def test_saving_twice_writes_the_same_bytes(images, tmp_path):
    detector = patches(conformal()).fit(images)
    for name in ("first", "second"):
        detector.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


OPEN = """
import sys
import numpy as np
import skanogan
detector = skanogan.load(sys.argv[1])
print(type(detector).__name__, detector.predict(np.load(sys.argv[2])).tolist())
"""


def test_another_process_needs_only_to_import_skanogan(images, tmp_path, printed_by):
    np.save(tmp_path / "images.npy", images)
    for detector in (patches().fit(images), conformal(patches()).fit(images)):
        detector.save(tmp_path / "detector")
        printed = printed_by(OPEN, tmp_path / "detector", tmp_path / "images.npy")
        labels = detector.predict(images).tolist()
        assert printed.strip() == f"{type(detector).__name__} {labels}"


# Classes, devices and networks ------------------------------------------------


class Calibrated(ConformalDetector):
    """A wrapper of another package."""


def test_an_unregistered_wrapper_is_loaded_by_its_class(blob, tmp_path):
    detector = Calibrated(cheap(AnoGANDetector), alpha=0.2, random_state=0).fit(blob)
    detector.save(tmp_path / "detector")
    with pytest.raises(ModelFileError, match="'Calibrated' is not a registered"):
        skanogan.load(tmp_path / "detector")
    with pytest.raises(ModelFileError, match=r"a Calibrated, .* is ConformalDetector"):
        skanogan.load(tmp_path / "detector", detector_class=ConformalDetector)
    loaded = skanogan.load(tmp_path / "detector", detector_class=Calibrated)
    assert_same(loaded, detector, blob)


def test_an_unregistered_class_within_a_wrapper_must_be_registered(blob, tmp_path):
    detector = conformal(Calibrated(cheap(AnoGANDetector), alpha=0.2)).fit(blob)
    detector.save(tmp_path / "detector")
    with pytest.raises(
        ModelFileError, match=r"'Calibrated' is not .*register_detector"
    ):
        skanogan.load(tmp_path / "detector")


def test_the_device_given_to_load_is_that_of_the_detectors_within(
    images, tmp_path, monkeypatch
):
    monkeypatch.setenv("SKANOGAN_EXCLUDE_DEVICES", "cuda,mps")
    detector = patches(conformal()).fit(images)
    detector.set_params(estimator__estimator__device="cuda")
    detector.estimator_.set_params(estimator__device="cuda")
    detector.estimator_.estimator_.set_params(device="cuda")
    with pytest.warns(DeviceFallbackWarning):
        loaded = through_a_file(detector, tmp_path)
    assert loaded.estimator_.estimator_.device == "cuda"
    assert loaded.estimator_.estimator_.device_ == torch.device("cpu")
    loaded = through_a_file(detector, tmp_path, device="cpu")
    for inner in (loaded.estimator, loaded.estimator_):
        assert inner.estimator.device == "cpu"
    assert loaded.estimator_.estimator_.device == "cpu"
    np.testing.assert_array_equal(
        loaded.score_samples(images), detector.score_samples(images)
    )


def make_generator():
    return nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 5))


def test_networks_of_detectors_within_are_given_by_the_name_of_the_parameter(
    blob, tmp_path
):
    inner = cheap(AnoGANDetector, generator=make_generator(), latent_dim=3)
    detector = conformal(conformal(inner)).fit(blob)
    detector.save(tmp_path / "detector")
    name = "estimator__estimator__generator"
    with pytest.raises(ModelFileError, match=rf"parameter {name} is .*\{{'{name}'"):
        skanogan.load(tmp_path / "detector", networks={"generator": make_generator})
    given = make_generator()
    loaded = skanogan.load(tmp_path / "detector", networks={name: given})
    assert loaded.estimator.estimator.generator is given
    np.testing.assert_array_equal(
        loaded.score_samples(blob), detector.score_samples(blob)
    )
    with pytest.raises(ModelFileError, match=r"no networks \['generator'\]"):
        skanogan.load(tmp_path / "detector", networks={name: given, "generator": given})


# What is not stored -----------------------------------------------------------


def first_pixel_row(image):
    """A mask function."""
    return np.arange(image.shape[0])[:, None] + np.zeros(image.shape) > 0


def refused(images):
    """Yield detectors that save refuses, the error, and its message."""
    forest = IsolationForest(n_estimators=2, random_state=0)
    foreign = "has no method save.*joblib.dump"
    yield patches(forest).fit(images), TypeError, f"IsolationForest {foreign}"
    pipeline = make_pipeline(StandardScaler(), forest)
    yield conformal(patches(pipeline)).fit(images), TypeError, f"Pipeline {foreign}"
    frozen = FrozenEstimator(forest.fit(images.reshape(len(images), -1)))
    flat = conformal(frozen).fit(images.reshape(len(images), -1))
    yield flat, TypeError, f"IsolationForest {foreign}"
    masked = patches().fit(images, masks=first_pixel_row)
    yield masked, TypeError, "masks_ cannot be stored without pickle. Use joblib"
    random = patches(random_state=np.random.RandomState(0)).fit(images)
    yield random, TypeError, r"random_state=.*set_params\(random_state=None\)"
    inner = cheap(OCGANDetector, random_state=np.random.RandomState(0))
    yield patches(inner).fit(images), TypeError, r"random_state=.*set_params"
    noted = patches().fit(images)
    noted.note_ = "mine"
    yield noted, TypeError, "does not annotate.*note_"
    yield patches(), NotFittedError, "not fitted"
    invalid = patches().fit(images).set_params(pooling="median")
    yield invalid, ValueError, "'pooling' parameter"
    changed = patches().fit(images)
    changed.estimator_.set_params(hidden_layer_sizes=(9,))
    yield changed, ValueError, "OCGANDetector were changed after fit"
    offset = conformal(patches()).fit(images)
    offset.offset_ += 1
    yield offset, TypeError, "load would refuse.*offset_"


def test_what_cannot_be_saved_is_refused_and_nothing_is_written(images, tmp_path):
    for detector, error, message in refused(images):
        with pytest.raises(error, match=message):
            detector.save(tmp_path / "detector")
        assert os.listdir(tmp_path) == []


def test_detectors_are_nested_up_to_a_limit(blob, tmp_path):
    detector = cheap(AnoGANDetector).fit(blob)
    for _ in range(DEEPEST - 1):
        detector = conformal(FrozenEstimator(detector)).fit(blob)
    assert_same(through_a_file(detector, tmp_path), detector, blob)
    deeper = conformal(FrozenEstimator(detector)).fit(blob)
    with pytest.raises(TypeError, match=f"More than {DEEPEST} detectors"):
        deeper.save(tmp_path / "deeper")

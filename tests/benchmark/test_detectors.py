import sys

import numpy as np
import pytest

from skanogan.baselines import MeanDistance
from skanogan.benchmark import UsageError
from skanogan.benchmark._conventions import PyODView, as_input, in_our_convention
from skanogan.benchmark._detectors import PYOD, find_detectors, split_names


def test_all_stands_for_the_detectors_of_the_package_untrained_ones_and_baselines():
    names = [spec.name for spec in find_detectors("all")]
    assert names == [
        "PackageDetector",
        "PackageDetector()",
        "IsolationForest",
        "OneClassSVM",
        "LocalOutlierFactor",
        "KNNDistance",
        "PCAReconstruction",
        "MahalanobisDistance",
        "MeanDistance",
    ]


def test_names_are_split_only_outside_of_brackets():
    text = "A(x=(1, 2), y='a,b)'), B,package.module:C(z=[1,2])"
    assert split_names(text) == [
        "A(x=(1, 2), y='a,b)')",
        "B",
        "package.module:C(z=[1,2])",
    ]


@pytest.mark.parametrize("path", ["own_detectors:Distance", "own_detectors.Distance"])
def test_import_paths_take_literal_arguments(own_module, path):
    (spec,) = find_detectors(f"{path}(radius=2.5)")
    assert spec.make(3).get_params() == {
        "radius": 2.5,
        "random_state": 3,
        "device": "auto",
    }
    assert spec.family == "other"


def test_names_of_baselines_take_arguments():
    (spec,) = find_detectors("LocalOutlierFactor(n_neighbors=7)")
    assert spec.make().n_neighbors == 7
    assert spec.make().novelty is True


def test_arguments_of_the_user_are_not_replaced(own_module):
    (spec,) = find_detectors("own_detectors:Distance(random_state=5, device='cpu')")
    detector = spec.make(0, "cuda")
    assert (detector.random_state, detector.device) == (5, "cpu")


def test_the_device_is_passed_to_the_detector(own_module):
    (spec,) = find_detectors("own_detectors:Distance")
    assert spec.make(0, "cuda").device == "cuda"


def test_a_function_can_make_a_pipeline_and_its_seed_is_set(own_module):
    (spec,) = find_detectors("own_detectors:pipeline")
    assert spec.make(4)[-1].random_state == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NoSuchDetector", "no detector is named 'NoSuchDetector'"),
        ("no_such_module:Thing", "cannot be imported"),
        ("sklearn.ensemble:NoSuchForest", "cannot be imported"),
        ("KNNDistance(3)", "must have names"),
        ("KNNDistance(n_neighbors=open('x'))", "expected literals"),
        ("KNNDistance(size=3)", "cannot be made"),
        ("KNNDistance(n_neighbors=", "does not name a detector"),
        ("builtins:dict", "has no fit method"),
        ("", "no detectors are named"),
    ],
)
def test_unusable_detectors_are_refused_with_a_reason(text, message):
    with pytest.raises(UsageError, match=message):
        find_detectors(text)


def test_sign_and_labels_of_pyod_are_converted(own_module):
    X = np.random.RandomState(0).normal(size=(100, 2))
    queries = np.array([[0.0, 0.0], [9.0, 9.0]])
    foreign = own_module.LikePyOD().fit(X)
    converted = in_our_convention(foreign)
    assert isinstance(converted, PyODView)
    np.testing.assert_array_equal(foreign.predict(queries), [0, 1])
    np.testing.assert_array_equal(converted.predict(queries), [1, -1])
    normal, anomaly = converted.decision_function(queries)
    assert anomaly < 0 < normal


def test_pyod_at_the_end_of_a_pipeline_is_converted(own_module):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = np.random.RandomState(0).normal(size=(100, 2))
    pipeline = make_pipeline(StandardScaler(), own_module.LikePyOD()).fit(X)
    converted = in_our_convention(pipeline)
    np.testing.assert_array_equal(converted.predict([[0.0, 0.0], [9.0, 9.0]]), [1, -1])


def test_detectors_of_scikit_learn_are_not_converted():
    detector = MeanDistance().fit(np.eye(4))
    assert in_our_convention(detector) is detector


def test_detectors_of_tables_get_images_as_flat_floats(own_module):
    images = np.full((5, 4, 4), 255, dtype=np.uint8)
    flat = as_input(own_module.FlatOnly(), images)
    assert flat.shape == (5, 16)
    assert flat.dtype == np.float64
    assert flat.max() == 255
    assert as_input(own_module.TakesImages(), images) is images


def test_baselines_are_found_by_their_import_path():
    (spec,) = find_detectors("skanogan.baselines:MahalanobisDistance(shrinkage=0.2)")
    assert spec.make().shrinkage == 0.2
    assert spec.family == "baseline"


@pytest.fixture
def without_pyod(monkeypatch):
    """Hide PyOD, also where it is installed."""

    class Hidden:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "pyod":
                raise ModuleNotFoundError("No module named 'pyod'", name="pyod")

    for module in [name for name in sys.modules if name.partition(".")[0] == "pyod"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])


@pytest.mark.parametrize("name", ["ECOD", "HBOS"])
def test_detectors_of_pyod_are_found_by_name_with_their_sign_and_labels(name):
    pytest.importorskip("pyod")
    (spec,) = find_detectors(f"{name}(contamination=0.05)")
    X = np.random.RandomState(0).normal(size=(200, 3))
    queries = np.array([[0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    fitted = in_our_convention(spec.make(0).fit(X))
    normal, anomaly = fitted.decision_function(queries)
    assert anomaly < 0 < normal
    np.testing.assert_array_equal(fitted.predict(queries), [1, -1])
    assert spec.family == "baseline"


@pytest.mark.parametrize("name", ["ECOD", "HBOS(n_bins=20)", "pyod.models.ecod:ECOD"])
def test_without_pyod_the_message_says_what_to_install(without_pyod, name):
    with pytest.raises(UsageError, match=r"needs PyOD.* pip install pyod"):
        find_detectors(name)


def test_a_missing_module_of_pyod_is_not_a_missing_pyod():
    pytest.importorskip("pyod")
    with pytest.raises(UsageError, match=r"No module named 'pyod.models.none'"):
        find_detectors("pyod.models.none:Detector")


def test_no_group_needs_pyod(without_pyod):
    names = {spec.name for spec in find_detectors("all,robust")}
    assert "IsolationForest" in names
    assert names.isdisjoint(PYOD)


def test_the_detectors_of_this_package_are_found(monkeypatch):
    monkeypatch.undo()
    specs = find_detectors("package")
    names = [spec.name for spec in specs]
    assert names == ["AnoGANDetector", "FAnoGANDetector", "OCGANDetector"]
    assert {spec.family for spec in specs} == {"skanogan"}

"""Tensors in and tensors out, where scikit-learn's array API dispatch is on.

scikit-learn asks for SCIPY_ARRAY_API=1 before SciPy is imported. The functions of
this file therefore run in one process of their own, and each test reads what one
printed.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from cheap import cheap
from sklearn.datasets import load_digits
from sklearn.utils import estimator_checks, get_tags

import skanogan
from skanogan import AnoGANDetector
from skanogan._runtime.compatibility import HAS_ARRAY_API
from skanogan.conformal import ConformalDetector
from skanogan.utils.discovery import all_detectors

pytestmark = pytest.mark.skipif(not HAS_ARRAY_API, reason="scikit-learn >= 1.9")

ROWS = np.random.RandomState(0).normal(size=(80, 5))

METHODS = (
    *("score_samples", "decision_function", "predict"),
    *("reconstruct", "anomaly_map", "embed"),
)


def dispatch():
    return sklearn.config_context(array_api_dispatch=True)


def checks_of_scikit_learn():
    """How many checks of each library ran, by detector. A failure is an error."""
    counts = {}
    for name, detector_class in all_detectors():
        for check in estimator_checks._yield_array_api_checks(cheap(detector_class)):
            settings = check.keywords
            library = settings.get("array_namespace") or settings["X_ns_and_device"].xp
            with contextlib.suppress(unittest.SkipTest):
                check(name, cheap(detector_class))
                counts.setdefault(name, {}).setdefault(library, 0)
                counts[name][library] += 1
    return counts


def equal_to_numpy():
    """Which results on tensors are tensors of the numbers of arrays."""
    equal = {}
    images = load_digits().images[:60]
    inputs = {
        "table": ROWS,
        "float32": ROWS.astype("f4"),
        "integers": (10 * ROWS).astype("i4"),
        "images": images,
        "uint8 images": images.astype("u1"),
    }
    for kind, X in inputs.items():
        detector = cheap(AnoGANDetector).fit(X)
        for method in METHODS:
            expected = getattr(detector, method)(X)
            with dispatch():
                found = getattr(detector, method)(torch.from_numpy(X))
            is_tensor = type(found) is torch.Tensor
            equal[f"{method}, {kind}"] = is_tensor and np.array_equal(found, expected)
    return equal


def fit_on_tensors():
    y = np.repeat([1, -1], [70, 10])
    expected = cheap(AnoGANDetector).fit(ROWS, y)
    tensor = torch.from_numpy(ROWS).requires_grad_()
    with dispatch():
        detector = cheap(AnoGANDetector).fit(tensor, torch.from_numpy(y))
        scores = detector.score_samples(tensor)
    return {
        "scores": np.array_equal(scores, expected.score_samples(ROWS)),
        "offset_": detector.offset_ == expected.offset_,
        "support_ is a tensor": type(detector.support_) is torch.Tensor,
        "support_": np.array_equal(detector.support_, expected.support_),
    }


def arrays_after_a_fit_on_tensors():
    errors = {}
    with dispatch():
        detector = cheap(AnoGANDetector).fit(torch.from_numpy(ROWS))
        for name in METHODS[:3]:
            with pytest.raises(ValueError, match="must use the same") as info:
                getattr(detector, name)(ROWS)
            errors[name] = str(info.value)
    return errors, detector.predict(ROWS).shape


def copies():
    """Which copies of a detector that was fitted on tensors score all libraries."""
    tensor, equal = torch.from_numpy(ROWS), {}
    with dispatch(), tempfile.TemporaryDirectory() as folder:
        detector = cheap(AnoGANDetector).fit(tensor)
        expected = detector.score_samples(tensor)
        detector.save(Path(folder) / "saved")
        loaded = skanogan.load(Path(folder) / "saved")
        pickled = pickle.loads(pickle.dumps(detector))
        for name, copy in {"loaded": loaded, "pickled": pickled}.items():
            equal[f"{name}, support_"] = type(copy.support_) is np.ndarray
            for kind, X in {"tensor": tensor, "array": ROWS}.items():
                scores = copy.score_samples(X)
                equal[f"{name}, {kind}"] = np.array_equal(scores, expected)
    return equal


def wrong_tensors():
    detector, tensor = cheap(AnoGANDetector).fit(ROWS), torch.from_numpy(ROWS)
    wrong = {
        "NaN": tensor * torch.nan,
        "3 features": tensor[:, :3],
        "Reshape": tensor[0],
        "Complex data": tensor + 1j,
    }
    errors = {}
    with dispatch():
        for message, X in wrong.items():
            with pytest.raises(ValueError, match=message) as info:
                detector.score_samples(X)
            errors[message] = str(info.value)
    return errors


def conformal():
    detector = ConformalDetector(cheap(AnoGANDetector), alpha=0.1, random_state=0)
    expected, tensor = detector.fit(ROWS).p_values(ROWS), torch.from_numpy(ROWS)
    with dispatch():
        found = detector.fit(tensor).p_values(tensor)
    is_equal = type(found) is np.ndarray and np.array_equal(found, expected)
    return is_equal, get_tags(detector).array_api_support


PARTS = (
    *(checks_of_scikit_learn, equal_to_numpy, fit_on_tensors),
    *(arrays_after_a_fit_on_tensors, copies, wrong_tensors, conformal),
)


@pytest.fixture(scope="module")
def found():
    """What each function of `PARTS` returns where dispatch is possible."""
    done = subprocess.run(
        [sys.executable, __file__],
        env={
            **os.environ,
            "SCIPY_ARRAY_API": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_detectors_pass_the_checks_of_scikit_learn(found):
    counts = found["checks_of_scikit_learn"]
    assert set(counts) == {name for name, _ in all_detectors()}
    for of_detector in counts.values():
        assert of_detector["numpy"] >= 1
        assert of_detector["torch"] >= 2  # in two dtypes on the CPU


def test_every_row_method_returns_a_tensor_with_the_numbers_of_arrays(found):
    assert len(found["equal_to_numpy"]) == 30
    assert all(found["equal_to_numpy"].values()), found["equal_to_numpy"]


def test_a_fit_on_tensors_equals_a_fit_on_arrays(found):
    assert all(found["fit_on_tensors"].values()), found["fit_on_tensors"]


def test_arrays_are_refused_where_fit_got_tensors_and_dispatch_is_on(found):
    errors, shape_without_dispatch = found["arrays_after_a_fit_on_tensors"]
    for name in METHODS[:3]:
        assert f".{name}()" in errors[name]
    assert shape_without_dispatch == [80]


def test_a_copy_of_a_detector_scores_arrays_of_all_libraries(found):
    assert len(found["copies"]) == 6
    assert all(found["copies"].values()), found["copies"]


def test_wrong_tensors_raise_the_errors_of_arrays(found):
    assert len(found["wrong_tensors"]) == 4


def test_a_conformal_detector_takes_tensors_and_returns_arrays(found):
    assert found["conformal"] == [True, False]


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(json.dumps({part.__name__: part() for part in PARTS}))

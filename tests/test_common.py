"""The checks of scikit-learn and of this package, on every registered detector."""

import numpy as np
import pytest
from cheap import cheap, mine_from
from sklearn.base import clone
from sklearn.utils import estimator_checks as sklearn_checks

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._data.validation import check_rows
from skanogan.utils import _score_checks
from skanogan.utils._input_checks import (
    check_containers_and_dtypes_agree,
    check_image_and_flat_agree,
)
from skanogan.utils.discovery import all_detectors
from skanogan.utils.estimator_checks import detector_checks
from skanogan.utils.estimator_checks import (
    parametrize_with_checks as parametrize_with_our_checks,
)

# Each variant is for the detectors that have all of its parameters.
VARIANTS = {
    "table": {},
    "anogan as published": {
        "anomaly_score": "anogan",
        "n_candidates": 1,
        "n_steps": 5,
        "prior": "uniform",
        "ema_decay": 0,
    },
    "steps from the nearest candidate": {"n_steps": 12},
    "f-anogan as published": {
        "anomaly_score": "f_anogan",
        "feature_weight": 1.0,
        "prior": "uniform",
        "ema_decay": 0,
    },
    "auto-encoder alone": {
        "latent_discriminator": False,
        "visual_discriminator": False,
        "n_mining_steps": 0,
        "anomaly_score": "reconstruction",
    },
    "batch normalisation": {
        "normalization": "batch",
        "anomaly_score": "reconstruction",
    },
    "image": {"image_shape": (8, 8), "backbone": "convolutional"},
    "image in float64": {
        "image_shape": (8, 8),
        "backbone": "convolutional",
        "scoring_dtype": "float64",
    },
    "image of two channels through an mlp": {
        "image_shape": (8, 9, 2),
        "backbone": "mlp",
    },
}


# As IsolationForest: batches are random, and a row that is repeated changes them.
NOT_EXACT = {
    "check_sample_weight_equivalence_on_dense_data": "repeated rows change the batches"
}


@pytest.fixture
def rows_as_images(monkeypatch):
    """Make all detectors see flat rows of any width as images of 8 x 8 pixels.

    In this way the convolutional networks get the data of scikit-learn's checks.
    """

    def as_images(estimator, X, **kwargs):
        values = check_rows(estimator, X, **kwargs)
        estimator.image_shape_ = (8, 8, 1)
        return values[:, np.arange(64) % values.shape[1]]

    for module in ("_base", "_row_methods"):
        monkeypatch.setattr(f"skanogan.detectors.{module}.check_rows", as_images)


def parametrize_with_checks(detectors):
    """The decorator of scikit-learn. That of 1.6 passes a generator to pytest."""
    mark = sklearn_checks.parametrize_with_checks(
        detectors, expected_failed_checks=lambda detector: NOT_EXACT
    ).mark
    names, cases = mark.args
    return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


# The checks of scikit-learn pass labels of all kinds.
ignore_labels = pytest.mark.filterwarnings("ignore:y is ignored:UserWarning")

# The checks fit some 4,000 times.
FEW = {"max_iter": 5, "encoder_max_iter": 5}

CLASSES = [detector_class for _, detector_class in all_detectors()]
TABLE = [cheap(detector_class, **FEW) for detector_class in CLASSES]
IMAGE = [
    cheap(detector_class, **FEW, backbone="convolutional", scoring_dtype="float64")
    for detector_class in CLASSES
]

OF_INPUT = (check_containers_and_dtypes_agree, check_image_and_flat_agree)
"""The longest checks. Rows are validated before any network sees them."""


def concerns(check, variant):
    """Whether a variant can pass or fail a check for reasons of its own."""
    if variant == "image in float64":  # differs from "image" in its scores only
        return check.func.__name__ in vars(_score_checks)
    return check.func not in OF_INPUT or variant in ("table", "image")


def has_all(detector, parameters):
    return set(parameters) <= set(detector.get_params())


def test_the_detectors_of_the_package_are_checked():
    expected = {AnoGANDetector, FAnoGANDetector, OCGANDetector}
    assert expected <= set(CLASSES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_for_some_detector(variant):
    assert any(has_all(detector, VARIANTS[variant]) for detector in TABLE)


@ignore_labels
@parametrize_with_checks(TABLE)
def test_detectors_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@ignore_labels
@pytest.mark.usefixtures("rows_as_images")
@parametrize_with_checks(IMAGE)
def test_convolutional_networks_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@ignore_labels
@parametrize_with_checks([detector_class() for detector_class in CLASSES])
def test_default_detectors_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("detector", TABLE, ids=lambda d: type(d).__name__)
def test_invalid_parameters_raise_the_errors_of_scikit_learn(detector):
    sklearn_checks.check_param_validation(type(detector).__name__, detector)


@ignore_labels
@pytest.mark.parametrize("detector", TABLE, ids=lambda d: type(d).__name__)
def test_names_of_dataframe_columns_are_compared_with_those_of_fit(detector):
    sklearn_checks.check_dataframe_column_names_consistency(
        type(detector).__name__, detector
    )


@pytest.mark.parametrize(
    ("detector", "check"),
    [
        pytest.param(
            clone(detector).set_params(**parameters),
            check,
            id=f"{type(detector).__name__}-{check.func.__name__}-{variant}",
        )
        for each in TABLE
        for variant, parameters in VARIANTS.items()
        if has_all(each, parameters)
        for detector, check in detector_checks(each)
        if concerns(check, variant)
    ],
)
def test_detectors_pass_our_checks(detector, check, monkeypatch):
    mine_from(monkeypatch, update=1)
    check(clone(detector))


def test_every_parameter_has_a_constraint_and_a_docstring():
    for name, detector_class in all_detectors():
        parameters = set(detector_class().get_params())
        assert parameters == set(detector_class._parameter_constraints), name
        missing = {p for p in parameters if f"{p} : " not in detector_class.__doc__}
        assert not missing, f"{name} does not document {missing}"


@parametrize_with_our_checks(TABLE[:1])
def test_our_decorator_passes_a_detector_and_a_check(detector, check):
    assert callable(check)
    assert not hasattr(detector, "model_")

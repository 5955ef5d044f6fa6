"""The checks of scikit-learn and ours, on every detector that discovery finds."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks as sklearn_checks

from skanogan.benchmark._baselines import KNNDistance, MeanDistance, PCAReconstruction
from skanogan.utils.discovery import all_detectors
from skanogan.utils.estimator_checks import detector_checks
from skanogan.utils.estimator_checks import (
    parametrize_with_checks as parametrize_with_our_checks,
)

CHEAP = {
    "max_iter": 10,
    "encoder_max_iter": 5,
    "n_candidates": 64,
    "hidden_layer_sizes": (16, 16),
    "n_filters": 4,
    "discriminator_filters": 4,
    "classifier_filters": 4,
    "latent_dim": 4,
    "device": "cpu",
    "random_state": 0,
}

# A variant is for the detectors that have all of its parameters.
VARIANTS = {
    "table": {},
    "published": {
        "anomaly_score": "anogan",
        "start": "random",
        "n_steps": 5,
        "prior": "uniform",
        "averaging": 0,
    },
    "auto-encoder alone": {
        "latent_discriminator": False,
        "visual_discriminator": False,
        "mining": False,
        "anomaly_score": "reconstruction",
    },
    "batch normalisation": {
        "normalization": "batch",
        "mining_start": 1,
        "anomaly_score": "reconstruction",
    },
    "encoder's start": {"start": "encoder", "n_steps": 12, "tol": 0.1},
    "f-anogan as published": {
        "anomaly_score": "f_anogan",
        "encoder_activation": "tanh",
        "averaging": 0,
    },
    "restarts": {"n_restarts": 2, "n_steps": 2, "prior_weight": 0.1},
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


def cheap(detector_class, **parameters):
    """An instance with those of the parameters that its class has."""
    names = detector_class().get_params()
    wanted = {**CHEAP, **parameters}
    return detector_class(**{k: v for k, v in wanted.items() if k in names})


def tiled_to_images(detector_class):
    """Make the detector see flat rows of any width as images of 8 x 8 pixels.

    The convolutional networks meet the data of scikit-learn's checks that way.
    """

    class Tiled(detector_class):
        def _check_rows(self, X, *, reset):
            values = super()._check_rows(X, reset=reset)
            self.image_shape_ = (8, 8, 1)
            return values[:, np.arange(64) % values.shape[1]]

        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.three_d_array = False
            return tags

    Tiled.__name__ = Tiled.__qualname__ = f"Tiled{detector_class.__name__}"
    Tiled.__init__ = detector_class.__init__
    globals()[Tiled.__name__] = Tiled  # where pickle looks for it
    return Tiled


def parametrize_with_checks(detectors):
    """scikit-learn's, with a list of checks where 1.6 gives pytest a generator."""
    mark = sklearn_checks.parametrize_with_checks(detectors).mark
    names, cases = mark.args
    return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


# Their labels are of all kinds, and none of them is meant.
ignore_labels = pytest.mark.filterwarnings("ignore:y is ignored:UserWarning")

CLASSES = [detector_class for _, detector_class in all_detectors()]
TABLE = [cheap(detector_class) for detector_class in CLASSES]
IMAGE = [
    cheap(
        tiled_to_images(detector_class),
        backbone="convolutional",
        scoring_dtype="float64",
    )
    for detector_class in CLASSES
]


@ignore_labels
@parametrize_with_checks(TABLE)
def test_detectors_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@ignore_labels
@parametrize_with_checks(IMAGE)
def test_convolutional_networks_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@parametrize_with_checks([KNNDistance(), PCAReconstruction(), MeanDistance()])
def test_baselines_of_the_benchmark_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@ignore_labels
@parametrize_with_checks([detector_class() for detector_class in CLASSES])
def test_detectors_by_default_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("detector", TABLE + IMAGE, ids=lambda d: type(d).__name__)
def test_parameters_are_validated_with_messages_of_scikit_learn(detector):
    sklearn_checks.check_param_validation(type(detector).__name__, detector)


@ignore_labels
@pytest.mark.parametrize("detector", TABLE, ids=lambda d: type(d).__name__)
def test_names_of_dataframe_columns_are_kept_and_compared(detector):
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
        if set(parameters) <= set(each.get_params())
        for detector, check in detector_checks(each)
    ],
)
def test_detectors_pass_our_checks(detector, check):
    check(clone(detector))


def test_every_constructor_parameter_has_a_constraint_and_a_docstring():
    for name, detector_class in all_detectors():
        parameters = set(detector_class().get_params())
        assert parameters == set(detector_class._parameter_constraints), name
        missing = {p for p in parameters if f"{p} : " not in detector_class.__doc__}
        assert not missing, f"{name} does not document {missing}"


@parametrize_with_our_checks(TABLE[:1])
def test_our_decorator_has_the_shape_of_scikit_learns(detector, check):
    assert callable(check)
    assert not hasattr(detector, "model_")

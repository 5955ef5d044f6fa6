"""Every parameter of the GAN's detectors has its effect, and all are in one order."""

import inspect

import numpy as np
import pytest

from skanogan.exceptions import DiscriminatorWinsWarning
from skanogan.models import AnoGAN, FAnoGAN
from skanogan.models._fanogan import FANOGAN_SCORES
from skanogan.models._gan import GAN
from skanogan.utils.discovery import all_detectors

THRESHOLD = ("contamination", "support_fraction", "validation_fraction")
RUNNING = (
    *("random_state", "device", "verbose", "scoring_dtype", "warm_start"),
    *("memory", "checkpoint"),
)
TESTED_ELSEWHERE = {*THRESHOLD, *RUNNING, "image_shape", "generator", "discriminator"}

TRAINING = {
    "n_estimators": 2,
    "hidden_layer_sizes": (15, 16),
    "latent_dim": 3,
    "prior": "uniform",
    "max_iter": 9,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "gradient_penalty": 5.0,
    "ema_decay": 0.1,
    "shrinkage": 0.5,
}

SEARCH = {
    "anomaly_score": "residual",
    "n_candidates": 7,
    "n_steps": 2,
    "step_size": 0.2,
    "discrimination_weight": 0.9,
}

ENCODER = {
    "encoder_learning_rate": 0.01,
    "encoder_max_iter": 7,
    "feature_weight": 3.0,
    "n_iter_no_change": 1,
}

IMAGES = {"backbone": "mlp", "n_filters": 5}


def assert_scores_change(make, X, base, changed):
    plain, other = make(**base).fit(X), make(**{**base, **changed}).fit(X)
    assert not np.allclose(plain.score_samples(X), other.score_samples(X), rtol=1e-6)


def each(table):
    return pytest.mark.parametrize(
        "changed", [{name: value} for name, value in table.items()], ids=list(table)
    )


@each(TRAINING)
@pytest.mark.parametrize("kind", ["make_detector", "make_fanogan"])
def test_every_parameter_of_training_changes_the_scores(request, kind, blob, changed):
    make = request.getfixturevalue(kind)
    assert_scores_change(make, blob, {"learning_rate": 5e-3}, changed)


@each(SEARCH)
def test_every_parameter_of_the_search_changes_the_scores(make_detector, blob, changed):
    base = {"anomaly_score": "anogan", "n_steps": 40}
    assert_scores_change(make_detector, blob, base, changed)


def test_the_number_of_candidates_changes_the_scores_without_steps(make_detector, blob):
    assert_scores_change(make_detector, blob, {}, {"n_candidates": 7})


@pytest.mark.parametrize("n_neighbors", [0, 2])
def test_the_number_of_neighbours_changes_the_scores_of_tables(
    make_detector, blob, n_neighbors
):
    assert_scores_change(make_detector, blob, {}, {"n_neighbors": n_neighbors})


@each({k: v for k, v in ENCODER.items() if k != "n_iter_no_change"})
def test_every_parameter_of_the_encoder_changes_the_scores(make_fanogan, blob, changed):
    base = {"anomaly_score": "f_anogan", "encoder_max_iter": 40}
    assert_scores_change(make_fanogan, blob, base, changed)


def test_n_iter_no_change_ends_the_training_of_the_encoder(make_fanogan, blob):
    # With this learning rate the error on held-out rows soon rises.
    base = {"encoder_learning_rate": 0.5, "encoder_max_iter": 40}
    whole = make_fanogan(**base).fit(blob)
    assert make_fanogan(**base, n_iter_no_change=1).fit(blob).n_iter_ < whole.n_iter_


@pytest.mark.parametrize("name", sorted(set(FANOGAN_SCORES) - {"whitened"}))
def test_every_score_of_fanogan_differs_from_the_default(make_fanogan, blob, name):
    assert_scores_change(make_fanogan, blob, {}, {"anomaly_score": name})


@each(IMAGES)
@pytest.mark.parametrize("kind", ["make_detector", "make_fanogan"])
def test_every_parameter_of_images_changes_their_scores(request, kind, zeros, changed):
    make = request.getfixturevalue(kind)
    assert_scores_change(make, zeros, {"max_iter": 3}, changed)


def test_every_parameter_is_tested(make_detector, make_fanogan):
    common = TESTED_ELSEWHERE | set(TRAINING) | set(IMAGES) | {"n_neighbors"}
    assert set(make_detector().get_params()) == common | set(SEARCH)
    fanogan = common | set(ENCODER) | {"anomaly_score"}
    assert set(make_fanogan().get_params()) == fanogan


# The order of the parameters ----------------------------------------------------

detectors = pytest.mark.parametrize(
    "detector_class", [c for _, c in all_detectors()], ids=lambda c: c.__name__
)


def documented(detector_class):
    """Names in the section Parameters of the docstring, in order."""
    doc = inspect.getdoc(detector_class)
    section = doc.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    lines = [line for line in section.splitlines() if not line.startswith(" ")]
    return [line.partition(" : ")[0] for line in lines]


@detectors
def test_groups_signature_and_docstring_name_the_parameters_in_one_order(
    detector_class,
):
    groups = detector_class._parameter_groups
    assert list(groups) == ["Networks", "Training", "Score", "Threshold", "Running"]
    names = [name for group in groups.values() for name in group]
    assert list(inspect.signature(detector_class).parameters) == names
    assert documented(detector_class) == names
    assert list(vars(detector_class())) == names
    assert set(detector_class._parameter_constraints) == set(names)


@detectors
def test_no_detector_has_more_than_31_parameters(detector_class):
    assert len(detector_class().get_params()) <= 31


@detectors
def test_every_group_begins_as_the_docstring_says(detector_class):
    groups = detector_class._parameter_groups
    first = [f"{name.lower()} (from `{group[0]}`)" for name, group in groups.items()]
    begin = f"The parameters come in five groups: {', '.join(first[:-1])}"
    sentence = f"{begin} and {first[-1]}."
    before = inspect.getdoc(detector_class).partition("Parameters\n----------")[0]
    assert " ".join(before.split()).count(sentence) == 1


@detectors
def test_parameters_that_detectors_share_have_one_order(detector_class):
    groups = detector_class._parameter_groups
    order = {
        "Networks": (
            *("backbone", "generator", "discriminator", "hidden_layer_sizes"),
            *("n_filters", "normalization", "latent_dim", "prior", "image_shape"),
        ),
        "Threshold": THRESHOLD,
        "Running": RUNNING,
    }
    for name, names in order.items():
        assert groups[name] == tuple(n for n in names if n in groups[name])
    assert groups["Training"][:3] == ("n_estimators", "max_iter", "batch_size")
    last = ("ema_decay", "n_iter_no_change")
    shared = tuple(n for n in last if n in groups["Training"])
    assert groups["Training"][-len(shared) :] == shared
    assert (groups["Score"][0], groups["Score"][-1]) == ("anomaly_score", "shrinkage")


# Defaults that depend on the rows -----------------------------------------------


@pytest.mark.parametrize("kind", ["make_detector", "make_fanogan"])
@pytest.mark.parametrize(
    ("shape", "latent_dim"),
    [((5,), 5), ((1,), 1), ((64,), 64), ((200,), 64), ((7, 9), 63), ((8, 8), 32)],
)
def test_latent_dim_by_default_is_the_size_of_a_row_up_to_64_and_32_for_convolutions(
    request, kind, shape, latent_dim
):
    X = np.random.RandomState(0).normal(size=(12, *shape))
    make = request.getfixturevalue(kind)
    detector = make(latent_dim="auto", max_iter=1).fit(X)
    assert detector.model_.members[0].latent_dim == latent_dim


@pytest.mark.parametrize(
    ("shape", "batch_size"), [((5,), 128), ((4, 4), 64), ((8, 8), 64)]
)
def test_a_batch_by_default_is_128_rows_or_64_images(
    make_detector, monkeypatch, shape, batch_size
):
    seen, train_step = [], AnoGAN.train_step

    def counting(self, x):
        seen.append(len(x))
        return train_step(self, x)

    monkeypatch.setattr(AnoGAN, "train_step", counting)
    n = 5 * batch_size
    X = np.random.RandomState(0).normal(size=(n, *shape))
    make_detector(max_iter=4, validation_fraction=1 / 5).fit(X)
    assert seen == [batch_size] * 4


@pytest.mark.parametrize(("shape", "shrinkage"), [((5,), 0.001), ((8, 8), 0.1)])
def test_shrinkage_by_default_is_a_tenth_for_images_and_a_thousandth_for_tables(
    make_detector, make_fanogan, shape, shrinkage
):
    X = np.random.RandomState(0).normal(size=(40, *shape))
    for make in (make_detector, make_fanogan):
        default, same = (
            make(max_iter=2, shrinkage=given).fit(X).score_samples(X)
            for given in ("auto", shrinkage)
        )
        assert np.array_equal(default, same)


# Warnings of a training -----------------------------------------------------------


@pytest.mark.parametrize(("gap", "warns"), [(7.9, False), (8.1, True)])
@pytest.mark.parametrize("model", [AnoGAN, FAnoGAN])
def test_a_gap_of_8_between_the_logits_warns_that_the_discriminator_has_won(
    make_detector, make_fanogan, blob, monkeypatch, recwarn, gap, warns, model
):
    train = GAN.train_step

    def won(self, x):
        losses = train(self, x)
        return {**losses, "real_logit": losses["drawn_logit"] + gap}

    monkeypatch.setattr(GAN, "train_step", won)
    make = make_detector if model is AnoGAN else make_fanogan
    make().fit(blob)
    told = [w for w in recwarn if issubclass(w.category, DiscriminatorWinsWarning)]
    assert bool(told) is warns

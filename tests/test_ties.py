"""Equal rows have equal scores, labels and p-values to the bit, in any batch."""

import pickle

import numpy as np
import pytest
import torch
from cheap import cheap
from sklearn.base import BaseEstimator, OutlierMixin
from torch import nn

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector, load
from skanogan._runtime import device
from skanogan.baselines import (
    KNNDistance,
    MahalanobisDistance,
    MeanDistance,
    PCAReconstruction,
)
from skanogan.conformal import ConformalDetector
from skanogan.features import NetworkFeatures
from skanogan.image import PatchDetector, PositionDetector
from skanogan.model_selection import NoveltyClassifier

pytestmark = pytest.mark.filterwarnings(
    "ignore::skanogan.exceptions.CalibrationWarning"
)


def repeated(distinct, shares, n, seed=0):
    return distinct[np.random.RandomState(seed).choice(len(shares), n, p=shares)]


SHARES = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)

TABLES = {
    "one-hot": np.eye(6),
    "counts": np.random.RandomState(1).poisson(1.0, (6, 3)),
    "one column": np.arange(6.0)[:, None] / 7,
    "measured": np.random.RandomState(1).normal(size=(6, 9)),
    "more columns than units": np.random.RandomState(1).normal(size=(6, 35)),
}

PICTURES = np.random.RandomState(3).randint(0, 256, (6, 16, 16)).astype("u1")

COLOURED = np.random.RandomState(3).uniform(size=(6, 9, 11, 3))


def several_ways(call, X, monkeypatch):
    """Results of X at once, one by one, permuted, in few rows, and beside others."""
    n, order = len(X), np.random.RandomState(0).permutation(len(X))
    yield call(X)
    yield np.concatenate([call(X[i : i + 1]) for i in range(n)])
    yield call(X[order])[np.argsort(order)]
    yield np.concatenate([call(X[i : i + 5]) for i in range(0, n, 5)])
    yield call(np.asfortranarray(X))
    yield call(np.concatenate([X[::-1], X, X]))[n : 2 * n]
    with monkeypatch.context() as patched:
        patched.setattr(device, "MEMORY_BYTES", 1)
        yield call(X)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield call(X)
    finally:
        torch.set_num_threads(before)


def assert_rows_are_alike(call, distinct, monkeypatch):
    """Whether each of the distinct rows has one result, and return these."""
    X = np.concatenate([distinct, distinct[::-1], distinct[1:], distinct[:2]])
    first, *others = several_ways(call, X, monkeypatch)
    for other in others:
        np.testing.assert_array_equal(other, first)
    k = len(distinct)
    np.testing.assert_array_equal(first[k : 2 * k][::-1], first[:k])
    np.testing.assert_array_equal(first[2 * k : 3 * k - 1], first[1:k])
    return first[:k]


each_method = pytest.mark.parametrize(
    "detector_class", [AnoGANDetector, FAnoGANDetector, OCGANDetector]
)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("one-hot", {"contamination": 0.05}),
        ("counts", {"contamination": 0.2, "n_estimators": 3}),
        ("one column", {"n_steps": 3, "n_neighbors": 0, "random_state": 1}),
        ("measured", {"scoring_dtype": "float32", "hidden_layer_sizes": (15, 7)}),
        ("more columns than units", {}),
    ],
)
@each_method
def test_equal_rows_of_a_table_have_one_score_and_one_label(
    detector_class, kind, parameters, monkeypatch
):
    X = repeated(TABLES[kind], SHARES, 100)
    detector = cheap(detector_class, **parameters).fit(X)
    scores = assert_rows_are_alike(detector.score_samples, TABLES[kind], monkeypatch)
    labels = assert_rows_are_alike(detector.predict, TABLES[kind], monkeypatch)
    np.testing.assert_array_equal(labels, np.where(scores < detector.offset_, -1, 1))


@pytest.mark.parametrize(
    ("images", "parameters"),
    [
        (PICTURES, {"n_estimators": 2}),
        (COLOURED, {"n_steps": 3}),
        (COLOURED, {"backbone": "mlp", "contamination": 0.1}),
    ],
    ids=["grey", "coloured", "mlp"],
)
@each_method
def test_equal_images_have_one_score(detector_class, images, parameters, monkeypatch):
    detector = cheap(detector_class, **parameters).fit(repeated(images, SHARES, 40))
    assert_rows_are_alike(detector.score_samples, images, monkeypatch)


@each_method
def test_equal_rows_have_one_score_after_pickle_save_and_load(detector_class, tmp_path):
    X = repeated(TABLES["one-hot"], SHARES, 100)
    detector = cheap(detector_class).fit(X)
    scores = detector.score_samples(X)
    detector.save(tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(detector)), load(tmp_path / "model")):
        alone = [copy.score_samples(row[None])[0] for row in X[:9]]
        np.testing.assert_array_equal(alone, scores[:9])


@pytest.mark.parametrize("contamination", ["auto", 0.1])
@pytest.mark.parametrize(
    "baseline",
    [
        KNNDistance(2),
        PCAReconstruction(0.7),
        MahalanobisDistance(),
        MeanDistance(),
        MeanDistance(3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["one-hot", "measured"])
def test_equal_rows_have_one_score_of_a_baseline(
    baseline, kind, contamination, monkeypatch
):
    baseline.set_params(contamination=contamination)
    baseline.fit(repeated(TABLES[kind], SHARES, 100))
    for call in (baseline.score_samples, baseline.predict):
        assert_rows_are_alike(call, TABLES[kind], monkeypatch)


def test_many_columns_have_one_distance_to_their_neighbours(monkeypatch):
    # scikit-learn then computes distances by products.
    rows = np.random.RandomState(0).normal(size=(6, 40))
    detector = KNNDistance(3).fit(repeated(rows, SHARES, 60))
    others = rows + 0.1 * np.random.RandomState(1).normal(size=rows.shape)
    assert_rows_are_alike(detector.score_samples, others, monkeypatch)


def test_equal_rows_have_one_p_value_and_one_class(make_ocgan, monkeypatch):
    rows = TABLES["one-hot"]
    X = repeated(rows, SHARES, 200)
    conformal = ConformalDetector(make_ocgan(), random_state=0).fit(X)
    p_values = assert_rows_are_alike(conformal.p_values, rows, monkeypatch)
    labels = assert_rows_are_alike(conformal.predict, rows, monkeypatch)
    np.testing.assert_array_equal(labels == -1, p_values <= conformal.alpha)
    classifier = NoveltyClassifier(make_ocgan()).fit(X, np.ones(len(X), int))
    assert_rows_are_alike(classifier.predict, rows, monkeypatch)


def test_ties_count_against_an_anomaly():
    class First(OutlierMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def score_samples(self, X):
            return np.asarray(X)[:, 0]

    X = np.repeat([1.0, 2.0, 3.0, 4.0], 25)[:, None]
    detector = ConformalDetector(First(), calibration_size=0.5, random_state=0).fit(X)
    n_least = (detector.calibration_scores_ == 1).sum()
    np.testing.assert_allclose(
        detector.p_values([[1.0], [0.0]]), [(1 + n_least) / 51, 1 / 51]
    )


def test_equal_images_have_one_score_of_their_places(make_detector, monkeypatch):
    images = repeated(PICTURES, SHARES, 30)
    patches = PatchDetector(make_detector(), patch_size=8, random_state=0).fit(images)
    network = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(980, 7)
    )
    features = NetworkFeatures(network, pooling=None, mean=0.5, std=0.5)
    positions = PositionDetector(MahalanobisDistance(), features, random_state=0)
    for detector in (patches, positions.fit(images)):
        assert_rows_are_alike(detector.score_samples, PICTURES, monkeypatch)


@pytest.mark.parametrize("contamination", ["auto", 0.05])
@each_method
def test_all_rows_of_a_constant_table_are_normal(detector_class, contamination):
    X = np.ones((33, 5))
    detector = cheap(detector_class, contamination=contamination).fit(X)
    assert (detector.predict(X) == 1).all()
    assert (detector.predict(X[:1]) == 1).all()
    assert (detector.predict(X[:3] * [[1], [100], [1]]) == [1, -1, 1]).all()

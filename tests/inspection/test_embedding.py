"""EmbeddingDisplay."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.ensemble import IsolationForest

from skanogan.inspection import EmbeddingDisplay


@pytest.mark.parametrize("d", [1, 2, 60])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_three_rows_or_fewer_keep_their_distances(n, d):
    rows = np.random.RandomState(0).normal(size=(n, d))
    positions = EmbeddingDisplay.from_predictions(rows).positions
    assert positions.shape == (n, 2)

    def distances(points):
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(positions), distances(rows), atol=1e-12)


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize("rows", ["equal", "two values", "one column", "huge"])
@pytest.mark.filterwarnings("error")
def test_degenerate_rows_have_finite_positions(n, rows):
    embedding = np.random.RandomState(0).normal(size=(n, 3))
    embedding = {
        "equal": np.ones_like(embedding),
        "two values": np.repeat(embedding[:2], n // 2, axis=0),
        "one column": embedding[:, :1],
        "huge": 1e100 * embedding,
    }[rows]
    display = EmbeddingDisplay.from_predictions(embedding, random_state=0)
    assert display.positions.shape == (n, 2)
    assert np.isfinite(display.positions).all()
    if rows != "equal":
        assert (np.ptp(display.positions, axis=0) > 0).all()


def test_neighbours_stay_neighbours_and_a_seed_fixes_the_positions():
    rows, y = make_blobs(60, 70, centers=3, random_state=0)
    display = EmbeddingDisplay.from_predictions(rows, y, random_state=0)
    positions = display.positions
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(y[distances.argmin(1)] == y) > 0.98
    again = EmbeddingDisplay.from_predictions(rows, y, random_state=0)
    np.testing.assert_array_equal(again.positions, positions)


def test_a_sample_of_many_rows_keeps_rare_labels(stub_detector):
    y = np.repeat(["a", "b", "c"], [9000, 990, 10])
    detector = stub_detector()
    X = np.random.RandomState(0).normal(size=(10_000, 2))
    display = EmbeddingDisplay.from_estimator(
        detector, X, y, max_rows=60, random_state=0
    )
    assert detector.n_rows_ == {"embed": 60}
    assert [np.sum(display.y == label) for label in "abc"] == [25, 25, 10]
    np.testing.assert_array_equal(display.y, y[display.indices])
    assert len(set(display.indices)) == 60
    assert display.ax_.get_xlabel() == "t-SNE, 60 of 10,000 rows"


def test_labels_have_different_markers():
    rows = np.random.RandomState(0).normal(size=(3, 2))
    display = EmbeddingDisplay.from_predictions(rows, [-1, 1, 1])
    labels = [points.get_label() for points in display.points_]
    assert labels == ["anomaly", "normal"]
    offsets = [points.get_offsets() for points in display.points_]
    np.testing.assert_allclose(offsets[0], display.positions[:1])
    np.testing.assert_allclose(offsets[1], display.positions[1:])
    shapes = [points.get_paths()[0].vertices.shape for points in display.points_]
    assert shapes[0] != shapes[1]


def test_too_many_labels_and_detectors_without_embed_are_refused():
    with pytest.raises(ValueError, match=r"13 different labels\. At most 12"):
        EmbeddingDisplay.from_predictions(np.zeros((13, 2)), np.arange(13))
    with pytest.raises(TypeError, match="This IsolationForest has no embed"):
        EmbeddingDisplay.from_estimator(IsolationForest().fit([[0], [1]]), [[0]])


def test_the_global_random_state_is_not_changed():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    rows = np.random.RandomState(0).normal(size=(20, 2))
    EmbeddingDisplay.from_predictions(rows, random_state=0, max_rows=10)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002

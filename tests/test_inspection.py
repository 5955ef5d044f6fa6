"""What the pictures show is what was computed, from one row to ten thousand."""

import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skanogan.image import PatchDetector
from skanogan.inspection import (
    AnomalyMapDisplay,
    EmbeddingDisplay,
    SampleDisplay,
    ScoreDistributionDisplay,
    TrainingCurveDisplay,
)

DISPLAYS = [
    AnomalyMapDisplay,
    EmbeddingDisplay,
    SampleDisplay,
    ScoreDistributionDisplay,
    TrainingCurveDisplay,
]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    """Every test here: no window, no setting of matplotlib changed, figures closed."""
    plt.switch_backend("agg")
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


class Drawn:
    """A detector whose answers are plain, and that counts the rows it is asked for."""

    def __init__(self, **fitted):
        self.asked_ = {}
        vars(self).update(fitted)

    def fit(self, X, y=None):
        return self

    def _ask(self, what, X):
        self.asked_[what] = len(X)
        return np.asarray(X)

    def score_samples(self, X):
        return -self._ask("score_samples", X).reshape(len(X), -1).max(1)

    def reconstruct(self, X):
        return 0.0 * self._ask("reconstruct", X)

    def anomaly_map(self, X):
        X = self._ask("anomaly_map", X)
        return X if X.ndim < 4 else X.mean(-1)

    def embed(self, X):
        return self._ask("embed", X).reshape(len(X), -1)

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.RandomState(random_state)
        return rng.normal(size=(n_samples, 3))


def pictures(display, column):
    return [np.asarray(image.get_array()) for image in display.images_[:, column]]


def words(display):
    """The text at the left of each row of images."""
    return [ax.get_ylabel().split("\n") for ax in display.axes_[:, 0]]


# Maps ---------------------------------------------------------------------------------


def test_the_lowest_scores_of_ten_thousand_rows_are_drawn_lowest_first():
    scores = np.random.RandomState(0).permutation(10_000).astype(float)
    X = np.broadcast_to(scores[:, None, None], (10_000, 2, 3))
    display = AnomalyMapDisplay.from_predictions(X, X, X, scores, threshold=2)
    expected = [int(np.flatnonzero(scores == k)[0]) for k in range(5)]
    assert display.indices.tolist() == expected
    assert display.scores.tolist() == [0, 1, 2, 3, 4]
    assert display.axes_.shape == display.images_.shape == (5, 4)
    # Twenty panels and the bar of the colours.
    assert len(display.figure_.axes) == 21
    assert words(display)[1] == [f"row {expected[1]}", "score 1", "anomaly"]
    assert words(display)[2] == [f"row {expected[2]}", "score 2", "normal"]
    title = display.title_.get_text()
    assert title == "the 5 most abnormal of 10,000 rows; anomalies score below 2"


def test_one_row_is_one_row_of_panels():
    X = np.arange(6.0).reshape(1, 2, 3)
    display = AnomalyMapDisplay.from_predictions(X, X, X, [0.5])
    assert display.axes_.shape == (1, 4)
    assert words(display) == [["row 0", "score 0.5"]]
    assert display.title_.get_text() == ""


def test_panels_by_hand():
    queries = np.array([[[0, 10], [0, 0]], [[4, 0], [0, 0]]], dtype=float)
    normal = np.array([[[0, 0], [0, -10]], [[0, 0], [0, 0]]], dtype=float)
    maps = np.array([[[0, 2], [0, 1]], [[1, 0], [0, 0]]], dtype=float)
    display = AnomalyMapDisplay.from_predictions(queries, normal, maps, [-2, -1])
    # Pixels from -10, black, to 10, white, in all rows.
    np.testing.assert_allclose(pictures(display, 0), (queries + 10) / 20)
    np.testing.assert_allclose(pictures(display, 1), (normal + 10) / 20)
    np.testing.assert_allclose(pictures(display, 2), maps)
    np.testing.assert_allclose(pictures(display, 3), maps)
    assert {image.get_clim() for image in display.images_[:, 2:].flat} == {(0, 2)}
    opacity = [image.get_alpha() for image in display.images_[:, 3]]
    np.testing.assert_allclose(opacity, maps / 2)
    under = [ax.images[0].get_array() for ax in display.axes_[:, 3]]
    np.testing.assert_allclose(under, 0.4 * (queries + 10) / 20)


def test_bytes_are_drawn_on_their_whole_range():
    X = np.full((1, 2, 2), 51, np.uint8)
    display = AnomalyMapDisplay.from_predictions(X, X.astype(float), X, [0])
    assert np.unique(pictures(display, 0)) == 0.2
    assert np.unique(pictures(display, 1)) == 0.2


def test_colours_stay_colours_and_are_grey_under_the_map():
    X = np.zeros((1, 2, 2, 3), np.uint8)
    X[0, 0, 0] = 255, 0, 0
    display = AnomalyMapDisplay.from_predictions(X, X, np.zeros((1, 2, 2)), [0])
    assert pictures(display, 0)[0].shape == (2, 2, 3)
    assert pictures(display, 0)[0][0, 0].tolist() == [1, 0, 0]
    under = np.asarray(display.axes_[0, 3].images[0].get_array())
    np.testing.assert_allclose(under, [[0.4 * 0.299, 0], [0, 0]])


def test_other_numbers_of_channels_are_drawn_by_their_mean():
    X = np.zeros((1, 2, 2, 2), np.uint8)
    X[0, 0, 0] = 255, 51
    display = AnomalyMapDisplay.from_predictions(X, None, np.zeros((1, 2, 2)), [0])
    np.testing.assert_allclose(pictures(display, 0)[0], [[0.6, 0], [0, 0]])


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 1), (4, 2, 3)])
def test_flat_rows_with_their_shape_are_images(shape):
    X = np.random.RandomState(0).uniform(size=(3, *shape))
    maps = X if len(shape) == 2 else X.mean(-1)
    as_images = AnomalyMapDisplay.from_predictions(X, X, maps, [3, 1, 2])
    flat = X.reshape(3, -1)
    as_rows = AnomalyMapDisplay.from_predictions(
        flat, flat, maps.reshape(3, -1), [3, 1, 2], image_shape=shape
    )
    for column in range(4):
        np.testing.assert_array_equal(
            pictures(as_images, column), pictures(as_rows, column)
        )


def test_a_channel_axis_of_one_may_be_there_or_not():
    X = np.random.RandomState(0).uniform(size=(2, 4, 2))
    display = AnomalyMapDisplay.from_predictions(X[..., None], X, X[..., None], [0, 1])
    np.testing.assert_array_equal(display.queries, X)


def test_images_of_different_sizes_without_reconstructions():
    X = [np.ones((4, 8)), np.ones((6, 3)), np.ones((5, 5))]
    display = AnomalyMapDisplay.from_predictions(X, None, X, [3, 1, 2])
    assert [picture.shape for picture in pictures(display, 1)] == [
        (6, 3),
        (5, 5),
        (4, 8),
    ]
    assert [ax.get_title() for ax in display.axes_[0]] == ["query", "map", "overlay"]


def test_all_rows_are_scored_and_only_those_drawn_are_rebuilt():
    X = np.random.RandomState(0).uniform(size=(300, 3, 3))
    detector = Drawn(offset_=-0.5)
    display = AnomalyMapDisplay.from_estimator(detector, X, max_rows=2)
    assert detector.asked_ == {
        "score_samples": 300,
        "reconstruct": 2,
        "anomaly_map": 2,
    }
    assert display.threshold == -0.5
    assert display.indices.tolist() == np.argsort(-X.max((1, 2)))[:2].tolist()
    np.testing.assert_array_equal(display.maps, X[display.indices])


@pytest.mark.parametrize(
    "indices",
    [[5, 2], np.array([5, 2]), [-1, 2]],
    ids=["list", "array", "from the end"],
)
def test_rows_asked_for_are_drawn_in_their_order(indices):
    X = np.arange(24.0).reshape(6, 2, 2)
    detector = Drawn()
    display = AnomalyMapDisplay.from_estimator(detector, X, indices=indices)
    assert display.indices.tolist() == [5, 2]
    np.testing.assert_array_equal(display.queries, X[[5, 2]])
    assert display.scores.tolist() == [-23, -11]
    assert detector.asked_["score_samples"] == 2


def test_a_mask_chooses_rows():
    X = np.arange(24.0).reshape(6, 2, 2)
    display = AnomalyMapDisplay.from_predictions(
        X, X, X, np.zeros(6), indices=X[:, 0, 0] > 12
    )
    assert display.indices.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_rows": 41}, "max_rows=41; an integer from 1 to 40"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"indices": slice(None)}, "indices choose 50 rows; 1 to 40"),
        ({"indices": []}, "indices choose 0 rows"),
        ({"max_features": 0}, "max_features=0"),
    ],
)
def test_more_rows_than_can_be_read_are_refused(asked, message):
    X = np.zeros((50, 2, 2))
    with pytest.raises(ValueError, match=message):
        AnomalyMapDisplay.from_predictions(X, X, X, np.zeros(50), **asked)
    assert not plt.get_fignums()


def test_maps_of_another_shape_are_refused():
    X = np.zeros((2, 4, 4))
    with pytest.raises(ValueError, match=r"map of shape \(16,\) where \(4, 4\)"):
        AnomalyMapDisplay.from_predictions(X, X, X.reshape(2, 16), [0, 0])
    with pytest.raises(ValueError, match=r"reconstruction of shape \(2, 4\)"):
        AnomalyMapDisplay.from_predictions(X, X[:, :2], X, [0, 0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        AnomalyMapDisplay.from_predictions(X, X, X, [0, 0, 0])


def test_a_part_of_a_figure_can_be_drawn_into():
    figure = plt.figure()
    left, right = figure.subfigures(1, 2)
    X = np.zeros((1, 2, 2))
    display = AnomalyMapDisplay.from_predictions(X, X, X, [0], figure=right)
    assert display.figure_ is right
    assert not left.axes
    assert plt.get_fignums() == [figure.number]


def test_bars_of_a_table_by_hand():
    X = pd.DataFrame({"a": [1.0, 0], "b": [-5.0, 0], "c": [2.5, 0]})
    maps = np.array([[1, 6, 2], [0, 0, 3]])
    display = AnomalyMapDisplay.from_predictions(
        X, np.zeros((2, 3)), maps, [-1.5, 3], threshold=0, max_features=2
    )
    assert display.axes_.shape == (2, 1)
    first, second = display.axes_[:, 0]
    assert [bar.get_width() for bar in display.bars_[0]] == [6, 2]
    assert [bar.get_width() for bar in display.bars_[1]] == [3, 0]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["b", "c"]
    assert [text.get_text() for text in first.texts] == [
        "-5, normal 0",
        "2.5, normal 0",
    ]
    assert first.get_title(loc="left") == "row 0, score -1.5, anomaly"
    assert second.get_title(loc="left") == "row 1, score 3, normal"
    assert first.get_xlim() == second.get_xlim()
    assert second.get_xlabel() == "anomaly map, the 2 largest of 3 features"


def test_features_without_names_are_numbered():
    X = np.zeros((1, 2))
    display = AnomalyMapDisplay.from_predictions(X, None, [[1, 2]], [0])
    labels = display.axes_[0, 0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["x1", "x0"]


def test_names_come_in_any_sequence_and_are_counted():
    X = np.zeros((1, 2))
    names = np.array(["a", "b"])
    display = AnomalyMapDisplay.from_predictions(X, X, X, [0], feature_names=names)
    labels = display.axes_[0, 0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["a", "b"]
    with pytest.raises(ValueError, match="3 names for 2 features"):
        AnomalyMapDisplay.from_predictions(X, X, X, [0], feature_names=list("abc"))
    with pytest.raises(ValueError, match="1 names for 2 features"):
        SampleDisplay.from_predictions(X, feature_names=["a"])


@pytest.mark.parametrize("shape", [(2, 2), (3,)])
def test_maps_of_nothing_are_drawn(shape):
    X = np.zeros((2, *shape))
    AnomalyMapDisplay.from_predictions(X, X, X, [0, 0]).figure_.canvas.draw()


# Scores -------------------------------------------------------------------------------


def test_bars_of_scores_by_hand():
    display = ScoreDistributionDisplay.from_predictions(
        [1, 1, 1, 1, -1, -1], [2, 3, 3.5, 0, -2, -4], threshold=0, n_bins=4
    )
    normal, anomalies = (bars.get_data() for bars in display.bars_)
    # From -4 to 3.5 in steps of 7.5 / 4 from 0.
    edges = [-5.625, -3.75, -1.875, 0, 1.875, 3.75]
    np.testing.assert_allclose(normal.edges, edges)
    np.testing.assert_allclose(normal.values, [0, 0, 0, 1 / 4, 3 / 4])
    np.testing.assert_allclose(anomalies.values, [1 / 2, 1 / 2, 0, 0, 0])
    assert [bars.get_label() for bars in display.bars_] == [
        "4 normal rows, 0.0% below",
        "2 anomalies, 100.0% below",
    ]
    assert display.threshold_line_.get_xdata() == [0, 0]
    assert [ticks.get_xdata().tolist() for ticks in display.ticks_] == [
        [2, 3, 3.5, 0],
        [-2, -4],
    ]


@pytest.mark.parametrize("n", [1, 3, 100, 10_000])
@pytest.mark.parametrize("spread", [0, 1e-12, 1, 1e6])
@pytest.mark.parametrize("threshold", [None, -30, 1e4])
def test_bars_hold_every_row_once_on_its_side(n, spread, threshold):
    rng = np.random.RandomState(n)
    scores = -30 + spread * rng.normal(size=n) ** 3
    y = np.where(rng.uniform(size=n) < 0.2, -1, 1) if n > 3 else None
    display = ScoreDistributionDisplay.from_predictions(y, scores, threshold=threshold)
    groups = [scores] if y is None else [scores[y == 1], scores[y == -1]]
    groups = [group for group in groups if len(group)]
    for bars, group in zip(display.bars_, groups, strict=True):
        values, edges, _ = bars.get_data()
        np.testing.assert_allclose(values.sum(), 1)
        assert (np.diff(edges) > 0).all()
        # 60, one at the threshold, and a gap of at most a thousand to it.
        assert len(values) <= 1100
        if threshold is not None:
            below = values[edges[:-1] < threshold].sum()
            np.testing.assert_allclose(below, np.mean(group < threshold), atol=1e-12)
    assert len(display.ticks_) == sum(len(group) <= 100 for group in groups)


def test_far_scores_are_drawn_on_a_logarithmic_axis():
    near = np.random.RandomState(0).normal(-30, 3, size=200)
    y = np.repeat([1, -1], [180, 20])
    far = np.where(y == 1, near, 1000 * near)

    def scale(scores, **asked):
        display = ScoreDistributionDisplay.from_predictions(y, scores, **asked)
        return display.ax_.get_xscale()

    assert scale(near) == "linear"
    assert scale(far) == "symlog"
    assert scale(far - 50) == "symlog"
    assert scale(far, log_scale=False) == "linear"
    assert scale(near, log_scale=True) == "symlog"


def test_groups_differ_in_grey_and_without_any_colour():
    display = ScoreDistributionDisplay.from_predictions([1, -1], [1, 0])
    normal, anomaly = display.bars_
    assert anomaly.get_hatch()
    assert not normal.get_hatch()
    colours = [bars.get_facecolor()[:3] for bars in display.bars_]
    luma = np.array(colours) @ [0.299, 0.587, 0.114]
    assert abs(luma[0] - luma[1]) > 0.2


@pytest.mark.parametrize(
    ("detector", "threshold"),
    [
        (IsolationForest(random_state=0), -0.5),
        (make_pipeline(StandardScaler(), IsolationForest(random_state=0)), 0),
        (OneClassSVM(), None),
        (KernelDensity(), None),
    ],
    ids=["forest", "pipeline", "svm", "density"],
)
def test_any_detector_has_a_distribution_of_its_scores(detector, threshold):
    X = np.random.RandomState(0).normal(size=(60, 2))
    detector.fit(X)
    display = ScoreDistributionDisplay.from_estimator(detector, X)
    if isinstance(detector, OneClassSVM):
        threshold = float(detector.offset_[0])
    assert display.threshold == threshold
    if threshold is not None:
        flagged = detector.predict(X) == -1
        np.testing.assert_array_equal(display.scores < display.threshold, flagged)
    assert display.ax_.get_title() == type(detector).__name__


def test_scores_are_drawn_into_axes_that_are_there():
    figure, axes = plt.subplots(1, 2)
    display = ScoreDistributionDisplay.from_predictions(None, [1, 2], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].patches


@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        ([0, 1], [0.0, 1.0], r"np.where\(is_anomaly, -1, 1\)"),
        ([1, 1, 1], [0.0, 1.0], "inconsistent numbers of samples"),
        (None, [0.0, np.nan], "1 of 2 scores are not finite"),
        (None, [], "0 scores"),
    ],
)
def test_scores_that_cannot_be_drawn_are_refused(y, scores, message):
    with pytest.raises(ValueError, match=message):
        ScoreDistributionDisplay.from_predictions(y, scores)
    assert not plt.get_fignums()


def test_a_detector_without_scores_is_refused():
    with pytest.raises(TypeError, match="StandardScaler has neither"):
        ScoreDistributionDisplay.from_estimator(
            StandardScaler().fit([[0.0], [1.0]]), [[0.0]]
        )


# Training -----------------------------------------------------------------------------


def record(n_iter, seconds, **values):
    return {"n_iter": n_iter, "seconds": seconds, **values}


def test_curves_by_hand():
    history = [
        record(10, 1, d_loss=1.0, g_loss=2.0, logit=-3.0),
        record(20, 2, d_loss=1.5, g_loss=1.0, logit=-4.0),
        record(30, 3, e_loss=0.5, validation_error=0.4),
        record(40, 4, e_loss=0.3, validation_error=0.2),
        record(50, 5, e_loss=0.2, validation_error=0.3),
    ]
    display = TrainingCurveDisplay(history=history).plot()
    curves = {name: line.get_xydata().tolist() for name, line in display.lines_.items()}
    assert curves == {
        "d_loss": [[10, 1], [20, 1.5]],
        "g_loss": [[10, 2], [20, 1]],
        "e_loss": [[30, 0.5], [40, 0.3], [50, 0.2]],
    }
    assert display.validation_ax_ is not display.ax_
    errors = display.validation_line_.get_xydata().tolist()
    assert errors == [[30, 0.4], [40, 0.2], [50, 0.3]]
    assert display.kept_line_.get_xdata() == [40, 40]
    for names in (["logit"], []):
        only = TrainingCurveDisplay(history=history).plot(names=names)
        assert list(only.lines_) == names


@pytest.mark.parametrize(
    ("errors", "fits", "kept"),
    [
        ([3, 1, 2], [1, 1, 1], 20),
        ([3, 1, 1], [1, 1, 1], 20),
        # A warm start goes on in the same history, and forgets the states before.
        ([3, 1, 5, 4, 6], [1, 1, 2, 2, 2], 40),
        # A stage without an error ends with its last state.
        ([1, None, 3, 2], [1, 1, 1, 1], 40),
        ([1, None], [1, 1], None),
    ],
)
def test_the_state_that_was_kept_is_marked(errors, fits, kept):
    known = [{} if error is None else {"validation_error": error} for error in errors]
    history = [
        record(10 * k, k, fit=n, loss=1.0, **error)
        for k, (error, n) in enumerate(zip(known, fits, strict=True), start=1)
    ]
    line = TrainingCurveDisplay(history=history).plot().kept_line_
    assert (None if line is None else line.get_xdata()[0]) == kept


def test_a_gan_alone_has_no_validation_error(make_detector, blob):
    detector = make_detector(max_iter=1).fit(blob)
    display = TrainingCurveDisplay.from_estimator(detector)
    assert set(display.lines_) == {"discriminator_loss", "generator_loss"}
    assert display.validation_ax_ is None
    assert display.kept_line_ is None
    assert len(display.figure_.axes) == 1


def test_the_history_of_a_detector_is_drawn(make_ocgan, blob):
    detector = make_ocgan(max_iter=40).fit(blob)
    display = TrainingCurveDisplay.from_estimator(detector)
    expected = [[r["n_iter"], r["latent_loss"]] for r in detector.history_]
    assert display.lines_["latent_loss"].get_xydata().tolist() == expected
    errors = [r["validation_error"] for r in detector.history_]
    best = detector.history_[int(np.argmin(errors))]["n_iter"]
    assert display.kept_line_.get_xdata() == [best, best]


def test_what_has_no_history_is_refused(make_detector, blob):
    with pytest.raises(TypeError, match="a fitted detector with history_; this AnoGAN"):
        TrainingCurveDisplay.from_estimator(make_detector())
    forest = IsolationForest().fit(blob)
    with pytest.raises(TypeError, match="this IsolationForest has no history_"):
        TrainingCurveDisplay.from_estimator(forest)
    with pytest.raises(ValueError, match=r"\['epoch'\].*recorded are \['n_iter'"):
        TrainingCurveDisplay(history=[record(1, 1, loss=2.0)]).plot(names=["epoch"])


# Embeddings ---------------------------------------------------------------------------


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
@pytest.mark.parametrize("rows", ["alike", "two values", "one column", "huge"])
@pytest.mark.filterwarnings("error")
def test_degenerate_rows_have_places(n, rows):
    embedding = np.random.RandomState(0).normal(size=(n, 3))
    embedding = {
        "alike": np.ones_like(embedding),
        "two values": np.repeat(embedding[:2], n // 2, axis=0),
        "one column": embedding[:, :1],
        "huge": 1e100 * embedding,
    }[rows]
    display = EmbeddingDisplay.from_predictions(embedding, random_state=0)
    assert display.positions.shape == (n, 2)
    assert np.isfinite(display.positions).all()
    if rows != "alike":
        assert (np.ptp(display.positions, axis=0) > 0).all()


def test_neighbours_stay_neighbours():
    rows, y = make_blobs(60, 70, centers=3, random_state=0)
    display = EmbeddingDisplay.from_predictions(rows, y, random_state=0)
    places = display.positions
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(y[distances.argmin(1)] == y) > 0.98
    again = EmbeddingDisplay.from_predictions(rows, y, random_state=0)
    np.testing.assert_array_equal(again.positions, places)


def test_of_ten_thousand_rows_some_are_drawn_and_rare_labels_kept():
    y = np.repeat(["a", "b", "c"], [9000, 990, 10])
    detector = Drawn()
    X = np.random.RandomState(0).normal(size=(10_000, 2))
    display = EmbeddingDisplay.from_estimator(
        detector, X, y, max_rows=60, random_state=0
    )
    assert detector.asked_ == {"embed": 60}
    assert [np.sum(display.y == label) for label in "abc"] == [25, 25, 10]
    np.testing.assert_array_equal(display.y, y[display.indices])
    assert len(set(display.indices)) == 60
    assert display.ax_.get_xlabel() == "t-SNE, 60 of 10,000 rows"


def test_labels_have_marks_of_their_own():
    rows = np.random.RandomState(0).normal(size=(3, 2))
    display = EmbeddingDisplay.from_predictions(rows, [-1, 1, 1])
    labels = [points.get_label() for points in display.points_]
    assert labels == ["anomaly", "normal"]
    offsets = [points.get_offsets() for points in display.points_]
    np.testing.assert_allclose(offsets[0], display.positions[:1])
    np.testing.assert_allclose(offsets[1], display.positions[1:])
    shapes = [points.get_paths()[0].vertices.shape for points in display.points_]
    assert shapes[0] != shapes[1]


def test_more_labels_than_marks_are_refused():
    with pytest.raises(ValueError, match="13 different labels; at most 12"):
        EmbeddingDisplay.from_predictions(np.zeros((13, 2)), np.arange(13))
    with pytest.raises(TypeError, match="this IsolationForest has no embed"):
        EmbeddingDisplay.from_estimator(IsolationForest().fit([[0], [1]]), [[0]])


def test_the_global_generator_is_not_touched():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    rows = np.random.RandomState(0).normal(size=(20, 2))
    EmbeddingDisplay.from_predictions(rows, random_state=0, max_rows=10)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


# Samples ------------------------------------------------------------------------------


def test_a_grid_by_hand():
    samples = np.array([0.0, 1, 2, 3, 4])[:, None, None] * np.ones((2, 2))
    display = SampleDisplay.from_predictions(samples)
    (image,) = display.images_
    white = 1
    first = [0, 0, white, 0.25, 0.25, white, 0.5, 0.5]
    last = [0.75, 0.75, white, 1, 1, white, 1, 1]
    between = [white] * 8
    expected = [first, first, between, last, last]
    np.testing.assert_allclose(np.asarray(image.get_array()), expected)
    assert display.axes_[0].get_title() == "5 drawn rows"


def test_the_first_hundred_of_ten_thousand_images_are_shown():
    samples = np.zeros((10_000, 3, 3, 3), np.uint8)
    samples[100:] = 255
    real = np.zeros((200, 3, 3, 3), np.uint8)
    display = SampleDisplay.from_predictions(samples, real)
    assert len(display.samples) == len(display.real) == 100
    assert [ax.get_title() for ax in display.axes_] == [
        "100 of 10,000 drawn rows",
        "100 real rows",
    ]
    # Ten by ten of three pixels and nine gaps.
    assert {image.get_array().shape for image in display.images_} == {(39, 39, 3)}


def test_histograms_of_a_table_by_hand():
    samples, X = np.array([[0.0], [1], [1], [2]]), np.array([[0.0], [2]])
    display = SampleDisplay.from_predictions(samples, X)
    values, edges, _ = display.bars_[0].get_data()
    inside = np.histogram(samples, edges)[0] / 4
    np.testing.assert_allclose(values, inside)
    assert (edges[0], edges[-1]) == (0, 2)
    title = display.title_.get_text()
    assert title == "line: 4 drawn rows; grey: 2 real rows"


def test_values_far_outside_are_in_the_last_bars():
    samples = np.r_[np.linspace(0, 1, 999), 1e6][:, None]
    values, edges, _ = SampleDisplay.from_predictions(samples).bars_[0].get_data()
    np.testing.assert_allclose(values.sum(), 1)
    assert edges[-1] < 2
    assert len(values) <= 30


def test_features_that_differ_most_are_shown_first():
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.normal(size=(200, 20)), columns=[f"c{j}" for j in range(20)])
    samples = rng.normal(size=(300, 20))
    samples[:, 7] += 5
    samples[:, 13] += 1
    display = SampleDisplay.from_predictions(samples, X, max_features=2)
    assert [ax.get_title() for ax in display.axes_] == ["c7", "c13"]
    assert "the 2 least alike of 20 features" in display.title_.get_text()
    alone = SampleDisplay.from_predictions(samples, max_features=3)
    assert [ax.get_title() for ax in alone.axes_] == ["x0", "x1", "x2"]


def test_a_table_is_drawn_from_a_thousand_rows_by_default():
    detector = Drawn()
    display = SampleDisplay.from_estimator(detector, random_state=3)
    np.testing.assert_array_equal(display.samples, detector.sample(1000, 3))
    with pytest.raises(ValueError, match=r"X holds rows of shape \(2,\)"):
        SampleDisplay.from_estimator(detector, np.zeros((4, 2)))


# All of them --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["table", "grey", "colour", "flat images", "frame"])
def test_every_display_takes_a_detector_of_ours(make_detector, blob, zeros, kind):
    colour = np.repeat(zeros[..., None], 3, axis=3).astype(np.uint8)
    X, shape = {
        "table": (blob, None),
        "grey": (zeros, None),
        "colour": (colour, None),
        "flat images": (zeros.reshape(-1, 64), (8, 8)),
        "frame": (pd.DataFrame(blob, columns=list("abcde")), None),
    }[kind]
    detector = make_detector(image_shape=shape).fit(X)
    rows = AnomalyMapDisplay.from_estimator(detector, X, max_rows=2)
    assert rows.axes_.shape == (2, 1 if kind in ("table", "frame") else 4)
    scores = detector.score_samples(X)
    np.testing.assert_allclose(rows.scores, np.sort(scores)[:2], rtol=1e-5)
    y = np.where(scores < np.median(scores), -1, 1)
    for display in [
        rows,
        ScoreDistributionDisplay.from_estimator(detector, X, y),
        TrainingCurveDisplay.from_estimator(detector),
        EmbeddingDisplay.from_estimator(detector, X, y, max_rows=12, random_state=0),
        SampleDisplay.from_estimator(detector, X, n_samples=9, random_state=0),
    ]:
        display.figure_.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda display: display.__name__)
def test_without_matplotlib_it_is_said_how_to_install_it(display, monkeypatch):
    asked = [None] if display is TrainingCurveDisplay else [None, None]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "skanogan\[plot\]"') as error:
        display.from_estimator(*asked)
    assert f"{display.__name__}.from_estimator" in str(error.value)


def test_importing_the_displays_does_not_load_matplotlib():
    code = "import sys, skanogan.inspection; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_detector_of_whole_images_is_told_what_draws_its_maps():
    rng = np.random.RandomState(0)
    images = rng.normal(size=(6, 12, 12))
    detector = PatchDetector(
        make_pipeline(StandardScaler(), IsolationForest(n_estimators=5)), patch_size=4
    ).fit(images)
    with pytest.raises(TypeError, match=r"from_predictions\(images, None, list\("):
        AnomalyMapDisplay.from_estimator(detector, images)
    display = AnomalyMapDisplay.from_predictions(
        images,
        None,
        list(detector.anomaly_maps(images)),
        detector.score_samples(images),
    )
    assert len(display.maps) == 5

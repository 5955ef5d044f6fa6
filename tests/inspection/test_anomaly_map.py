"""AnomalyMapDisplay."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skanogan.baselines import MeanDistance
from skanogan.features import NetworkFeatures
from skanogan.image import PatchDetector, PositionDetector
from skanogan.inspection import AnomalyMapDisplay, SampleDisplay


def pictures(display, column):
    return [np.asarray(image.get_array()) for image in display.images_[:, column]]


def row_labels(display):
    """Lines of text at the left of each row of images."""
    return [ax.get_ylabel().split("\n") for ax in display.axes_[:, 0]]


def test_the_lowest_scores_are_drawn_lowest_first():
    scores = np.random.RandomState(0).permutation(10_000).astype(float)
    X = np.broadcast_to(scores[:, None, None], (10_000, 2, 3))
    display = AnomalyMapDisplay.from_predictions(X, X, X, scores, threshold=2)
    expected = [int(np.flatnonzero(scores == k)[0]) for k in range(5)]
    assert display.indices.tolist() == expected
    assert display.scores.tolist() == [0, 1, 2, 3, 4]
    assert display.axes_.shape == display.images_.shape == (5, 4)
    # Twenty panels and the colour bar.
    assert len(display.figure_.axes) == 21
    assert row_labels(display)[1] == [f"row {expected[1]}", "score 1", "anomaly"]
    assert row_labels(display)[2] == [f"row {expected[2]}", "score 2", "normal"]
    title = display.title_.get_text()
    assert title == "the 5 most abnormal of 10,000 rows; anomalies score below 2"


def test_one_row_of_x_is_one_row_of_panels():
    X = np.arange(6.0).reshape(1, 2, 3)
    display = AnomalyMapDisplay.from_predictions(X, X, X, [0.5])
    assert display.axes_.shape == (1, 4)
    assert row_labels(display) == [["row 0", "score 0.5"]]
    assert display.title_.get_text() == ""


def test_panels_show_query_reconstruction_map_and_overlay():
    queries = np.array([[[0, 10], [0, 0]], [[4, 0], [0, 0]]], dtype=float)
    normal = np.array([[[0, 0], [0, -10]], [[0, 0], [0, 0]]], dtype=float)
    maps = np.array([[[0, 2], [0, 1]], [[1, 0], [0, 0]]], dtype=float)
    display = AnomalyMapDisplay.from_predictions(queries, normal, maps, [-2, -1])
    # In all rows, -10 is black and 10 is white.
    np.testing.assert_allclose(pictures(display, 0), (queries + 10) / 20)
    np.testing.assert_allclose(pictures(display, 1), (normal + 10) / 20)
    np.testing.assert_allclose(pictures(display, 2), maps)
    np.testing.assert_allclose(pictures(display, 3), maps)
    assert {image.get_clim() for image in display.images_[:, 2:].flat} == {(0, 2)}
    opacity = [image.get_alpha() for image in display.images_[:, 3]]
    np.testing.assert_allclose(opacity, maps / 2)
    under = [ax.images[0].get_array() for ax in display.axes_[:, 3]]
    np.testing.assert_allclose(under, 0.4 * (queries + 10) / 20)


def test_uint8_images_are_drawn_on_the_range_0_to_255():
    X = np.full((1, 2, 2), 51, np.uint8)
    display = AnomalyMapDisplay.from_predictions(X, X.astype(float), X, [0])
    assert np.unique(pictures(display, 0)) == 0.2
    assert np.unique(pictures(display, 1)) == 0.2


def test_colour_images_are_drawn_in_colour_and_grey_under_the_map():
    X = np.zeros((1, 2, 2, 3), np.uint8)
    X[0, 0, 0] = 255, 0, 0
    display = AnomalyMapDisplay.from_predictions(X, X, np.zeros((1, 2, 2)), [0])
    assert pictures(display, 0)[0].shape == (2, 2, 3)
    assert pictures(display, 0)[0][0, 0].tolist() == [1, 0, 0]
    under = np.asarray(display.axes_[0, 3].images[0].get_array())
    np.testing.assert_allclose(under, [[0.4 * 0.299, 0], [0, 0]])


def test_images_of_two_channels_are_drawn_by_their_mean():
    X = np.zeros((1, 2, 2, 2), np.uint8)
    X[0, 0, 0] = 255, 51
    display = AnomalyMapDisplay.from_predictions(X, None, np.zeros((1, 2, 2)), [0])
    np.testing.assert_allclose(pictures(display, 0)[0], [[0.6, 0], [0, 0]])


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 1), (4, 2, 3)])
def test_flat_rows_with_image_shape_are_drawn_as_images(shape):
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


def test_a_channel_axis_of_length_1_is_optional():
    X = np.random.RandomState(0).uniform(size=(2, 4, 2))
    display = AnomalyMapDisplay.from_predictions(X[..., None], X, X[..., None], [0, 1])
    np.testing.assert_array_equal(display.queries, X)


def test_images_of_a_list_may_differ_in_size():
    X = [np.ones((4, 8)), np.ones((6, 3)), np.ones((5, 5))]
    display = AnomalyMapDisplay.from_predictions(X, None, X, [3, 1, 2])
    assert [picture.shape for picture in pictures(display, 1)] == [
        (6, 3),
        (5, 5),
        (4, 8),
    ]
    assert [ax.get_title() for ax in display.axes_[0]] == ["query", "map", "overlay"]


def test_only_drawn_rows_are_reconstructed(stub_detector):
    X = np.random.RandomState(0).uniform(size=(300, 3, 3))
    detector = stub_detector(offset_=-0.1)
    display = AnomalyMapDisplay.from_estimator(detector, X, max_rows=2)
    assert detector.n_rows_ == {
        "score_samples": 300,
        "reconstruct": 2,
        "anomaly_map": 2,
    }
    assert display.threshold == -0.1
    assert display.indices.tolist() == np.argsort(-X.max((1, 2)))[:2].tolist()
    np.testing.assert_array_equal(display.maps, X[display.indices])


@pytest.mark.parametrize(
    "indices",
    [[5, 2], np.array([5, 2]), [-1, 2]],
    ids=["list", "array", "from the end"],
)
def test_selected_rows_are_drawn_in_their_order(stub_detector, indices):
    X = np.arange(24.0).reshape(6, 2, 2)
    detector = stub_detector()
    display = AnomalyMapDisplay.from_estimator(detector, X, indices=indices)
    assert display.indices.tolist() == [5, 2]
    np.testing.assert_array_equal(display.queries, X[[5, 2]])
    assert display.scores.tolist() == [-23, -11]
    assert detector.n_rows_["score_samples"] == 2


def test_a_boolean_mask_selects_rows():
    X = np.arange(24.0).reshape(6, 2, 2)
    display = AnomalyMapDisplay.from_predictions(
        X, X, X, np.zeros(6), indices=X[:, 0, 0] > 12
    )
    assert display.indices.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_rows": 41}, "max_rows=41 is not an integer from 1 to 40"),
        ({"max_rows": 0}, "max_rows=0"),
        ({"indices": slice(None)}, "indices selects 50 rows. Select 1 to 40"),
        ({"indices": []}, "indices selects 0 rows"),
        ({"max_features": 0}, "max_features=0"),
    ],
)
def test_invalid_numbers_of_rows_and_features_are_refused(arguments, message):
    X = np.zeros((50, 2, 2))
    with pytest.raises(ValueError, match=message):
        AnomalyMapDisplay.from_predictions(X, X, X, np.zeros(50), **arguments)
    assert not plt.get_fignums()


@pytest.mark.parametrize("vmax", [0, -1.0, np.nan, np.inf, "1"])
def test_an_end_of_the_scale_that_is_no_positive_number_is_refused(vmax):
    X = np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match=r"vmax=.* is not a positive number"):
        AnomalyMapDisplay.from_predictions(X, X, X, [0, 0], vmax=vmax)
    assert not plt.get_fignums()


def peaked(peaks):
    """Images of 2 x 2 pixels, each with one pixel of the given value."""
    X = np.zeros((len(peaks), 2, 2))
    X[:, 1, 0] = peaks
    return X


def test_a_usual_normal_image_reaches_half_of_the_scale():
    X = peaked([1.0, 2, 2, 3, 50])
    scores = -X.max((1, 2))
    display = AnomalyMapDisplay.from_predictions(X, X, X, scores, threshold=-10)
    assert display.vmax == 4
    assert display.images_[0, 2].get_clim() == (0, 4)
    assert display.images_[0, 3].get_alpha().max() == 1
    assert display.colorbar_.extend == "max"


def test_a_normal_image_does_not_glow_if_it_is_drawn_alone(stub_detector):
    X = peaked([1.0, 2, 2, 3, 50])
    display = AnomalyMapDisplay.from_estimator(
        stub_detector(offset_=-10.0), X, indices=[1]
    )
    assert display.images_[0, 2].get_clim() == (0, 4)
    assert display.images_[0, 3].get_alpha().max() == 0.5
    assert display.colorbar_.extend == "neither"


def test_without_normal_images_the_scale_ends_at_the_largest_value(stub_detector):
    X = peaked([20.0, 50])
    for display in (
        AnomalyMapDisplay.from_estimator(stub_detector(offset_=-10.0), X),
        AnomalyMapDisplay.from_predictions(X, X, X, [-20, -50], threshold=-10),
        AnomalyMapDisplay.from_predictions(X, X, X, [-20, -50]),
    ):
        assert display.images_[0, 2].get_clim() == (0, 50)


def test_the_scale_takes_maps_of_ten_normal_images_at_most(stub_detector):
    X = peaked(np.r_[np.ones(300), 50])
    detector = stub_detector(offset_=-10.0)
    AnomalyMapDisplay.from_estimator(detector, X, max_rows=1)
    assert detector.n_rows_["anomaly_map"] == 10


def test_the_end_of_the_scale_can_be_chosen(stub_detector):
    X = peaked([1.0, 2, 50])
    for display in (
        AnomalyMapDisplay.from_estimator(stub_detector(offset_=-10.0), X, vmax=8),
        AnomalyMapDisplay.from_predictions(X, X, X, [-1, -2, -50], vmax=8),
    ):
        assert display.images_[0, 2].get_clim() == (0, 8)
        assert display.images_[2, 3].get_alpha().max() == 1 / 8
    rows = np.array([[1.0, 3]])
    bars = AnomalyMapDisplay.from_predictions(rows, rows, rows, [0], vmax=10)
    # The end of the scale, and the room for texts.
    assert bars.axes_[0, 0].get_xlim() == (0, 14)


def test_maps_and_reconstructions_of_another_shape_are_refused():
    X = np.zeros((2, 4, 4))
    with pytest.raises(ValueError, match=r"map has shape \(16,\), but \(4, 4\)"):
        AnomalyMapDisplay.from_predictions(X, X, X.reshape(2, 16), [0, 0])
    with pytest.raises(ValueError, match=r"reconstruction has shape \(2, 4\)"):
        AnomalyMapDisplay.from_predictions(X, X[:, :2], X, [0, 0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        AnomalyMapDisplay.from_predictions(X, X, X, [0, 0, 0])


def test_a_display_can_be_drawn_in_a_subfigure():
    figure = plt.figure()
    left, right = figure.subfigures(1, 2)
    X = np.zeros((1, 2, 2))
    display = AnomalyMapDisplay.from_predictions(X, X, X, [0], figure=right)
    assert display.figure_ is right
    assert not left.axes
    assert plt.get_fignums() == [figure.number]


def test_bars_of_a_table_show_its_largest_residuals():
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


def test_features_without_names_are_called_x0_and_x1():
    X = np.zeros((1, 2))
    display = AnomalyMapDisplay.from_predictions(X, None, [[1, 2]], [0])
    labels = display.axes_[0, 0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["x1", "x0"]


def test_feature_names_may_be_any_sequence_of_the_right_length():
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
def test_maps_of_zeros_can_be_drawn(shape):
    X = np.zeros((2, *shape))
    AnomalyMapDisplay.from_predictions(X, X, X, [0, 0]).figure_.canvas.draw()


@pytest.fixture
def patch_detector():
    rng = np.random.RandomState(0)
    forest = make_pipeline(StandardScaler(), IsolationForest(n_estimators=5))
    detector = PatchDetector(forest, patch_size=4, contamination=0.1, random_state=0)
    return detector.fit(rng.normal(size=(6, 12, 12)))


@pytest.fixture
def images():
    """Images of different sizes, of which the third is the most abnormal."""
    rng = np.random.RandomState(1)
    images = [rng.normal(size=(12 + i, 20 - i)) for i in range(6)]
    images[2] *= 5
    return images


def test_whole_images_of_different_sizes_are_drawn(patch_detector, images):
    display = AnomalyMapDisplay.from_estimator(patch_detector, images, max_rows=3)
    scores = patch_detector.score_samples(images)
    assert display.axes_.shape == (3, 3)
    assert display.indices.tolist() == np.argsort(scores)[:3].tolist()
    assert display.indices[0] == 2
    assert display.threshold == patch_detector.offset_
    for i, query, found in zip(
        display.indices, display.queries, display.maps, strict=True
    ):
        assert np.array_equal(query, images[i])
        assert np.array_equal(found, patch_detector.anomaly_map(images[i]))


@pytest.mark.parametrize("kind", [str, lambda paths: paths])
def test_images_of_a_folder_and_of_paths_are_drawn(
    patch_detector, images, tmp_path, kind
):
    for i, image in enumerate(images):
        np.save(tmp_path / f"{i}.npy", image)
    expected = AnomalyMapDisplay.from_estimator(patch_detector, images)
    scores = patch_detector.score_samples(images)
    maps = list(patch_detector.anomaly_maps(images))
    paths = [kind(path) for path in sorted(tmp_path.iterdir())]
    for X in (kind(tmp_path), paths):
        for display in (
            AnomalyMapDisplay.from_estimator(patch_detector, X),
            AnomalyMapDisplay.from_predictions(X, None, maps, scores),
        ):
            assert display.indices.tolist() == expected.indices.tolist()
            assert display.n_samples == 6
            for name in ("queries", "maps"):
                for found, each in zip(
                    getattr(display, name), getattr(expected, name), strict=True
                ):
                    assert np.array_equal(found, each)


def test_chosen_images_of_a_folder_are_drawn(patch_detector, images, tmp_path):
    for i, image in enumerate(images):
        np.save(tmp_path / f"{i}.npy", image)
    display = AnomalyMapDisplay.from_estimator(patch_detector, tmp_path, indices=[4, 1])
    assert [query.shape for query in display.queries] == [(16, 16), (13, 19)]


def test_one_image_without_a_list_is_refused(patch_detector, images):
    with pytest.raises(ValueError, match=r"pass images\[None\]"):
        AnomalyMapDisplay.from_estimator(patch_detector, images[0])


def test_images_of_a_position_detector_are_drawn(images):
    # Regression: its reconstructions are features, not images, and are not drawn.
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    features = NetworkFeatures(
        network, pooling=None, mean=0.5, std=0.5, value_range=(-9, 9)
    )
    detector = PositionDetector(MeanDistance(), features, contamination=0.1).fit(images)
    display = AnomalyMapDisplay.from_estimator(detector, images, max_rows=2)
    assert display.axes_.shape == (2, 3)
    assert display.reconstructions is None

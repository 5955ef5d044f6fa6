"""SampleDisplay."""

import numpy as np
import pandas as pd
import pytest

from skanogan.inspection import SampleDisplay


def test_images_are_drawn_in_a_square_grid_with_white_lines():
    samples = np.array([0.0, 1, 2, 3, 4])[:, None, None] * np.ones((2, 2))
    display = SampleDisplay.from_predictions(samples)
    (image,) = display.images_
    white = 1
    first = [0, 0, white, 0.25, 0.25, white, 0.5, 0.5]
    last = [0.75, 0.75, white, 1, 1, white, 1, 1]
    between = [white] * 8
    expected = [first, first, between, last, last]
    np.testing.assert_allclose(np.asarray(image.get_array()), expected)
    assert display.axes_[0].get_title() == "5 generated rows"


def test_at_most_100_images_are_shown():
    samples = np.zeros((10_000, 3, 3, 3), np.uint8)
    samples[100:] = 255
    real = np.zeros((200, 3, 3, 3), np.uint8)
    display = SampleDisplay.from_predictions(samples, real)
    assert len(display.samples) == len(display.real) == 100
    assert [ax.get_title() for ax in display.axes_] == [
        "100 of 10,000 generated rows",
        "100 real rows",
    ]
    # Ten images of three pixels, and nine lines between them.
    assert {image.get_array().shape for image in display.images_} == {(39, 39, 3)}


def test_histograms_show_shares_of_generated_and_real_rows():
    samples, X = np.array([[0.0], [1], [1], [2]]), np.array([[0.0], [2]])
    display = SampleDisplay.from_predictions(samples, X)
    values, edges, _ = display.bars_[0].get_data()
    inside = np.histogram(samples, edges)[0] / 4
    np.testing.assert_allclose(values, inside)
    assert (edges[0], edges[-1]) == (0, 2)
    title = display.title_.get_text()
    assert title == "line: 4 generated rows; grey: 2 real rows"


def test_extreme_values_are_counted_in_the_last_bar():
    samples = np.r_[np.linspace(0, 1, 999), 1e6][:, None]
    values, edges, _ = SampleDisplay.from_predictions(samples).bars_[0].get_data()
    np.testing.assert_allclose(values.sum(), 1)
    assert edges[-1] < 2
    assert len(values) <= 30


def test_the_most_different_features_are_shown_first():
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.normal(size=(200, 20)), columns=[f"c{j}" for j in range(20)])
    samples = rng.normal(size=(300, 20))
    samples[:, 7] += 5
    samples[:, 13] += 1
    display = SampleDisplay.from_predictions(samples, X, max_features=2)
    assert [ax.get_title() for ax in display.axes_] == ["c7", "c13"]
    assert "the 2 most different of 20 features" in display.title_.get_text()
    alone = SampleDisplay.from_predictions(samples, max_features=3)
    assert [ax.get_title() for ax in alone.axes_] == ["x0", "x1", "x2"]


def test_a_table_is_shown_by_1000_generated_rows_by_default(stub_detector):
    detector = stub_detector()
    display = SampleDisplay.from_estimator(detector, random_state=3)
    np.testing.assert_array_equal(display.samples, detector.sample(1000, 3))
    with pytest.raises(ValueError, match=r"X holds rows of shape \(2,\)"):
        SampleDisplay.from_estimator(detector, np.zeros((4, 2)))

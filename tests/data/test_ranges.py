"""Warnings of rows in another range than those of fit."""

import threading
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from skanogan._data.ranges import warned_once
from skanogan.baselines import MeanDistance
from skanogan.exceptions import RangeWarning

PIXELS = np.random.RandomState(0).randint(0, 256, (30, 8, 8)).astype(np.uint8)
UNITS = {
    "0 to 255": PIXELS,
    "0. to 255.": PIXELS.astype(float),
    "0. to 1.": PIXELS / 255,
    "-1. to 1.": PIXELS / 127.5 - 1,
    "0 to 65535": PIXELS.astype(np.uint16) * 257,
}


def found(detector, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.score_samples(X)
    return [str(each.message) for each in caught if each.category is RangeWarning]


def same(first, second):
    return {first, second} in ({"0 to 255", "0. to 255."}, {"0. to 1.", "-1. to 1."})


@pytest.mark.parametrize("fitted", UNITS)
@pytest.mark.parametrize("scored", UNITS)
def test_images_in_other_units_cause_a_warning_with_both_ranges(fitted, scored):
    messages = found(MeanDistance().fit(UNITS[fitted]), UNITS[scored])
    if fitted == scored or same(fitted, scored):
        assert messages == []
    elif (fitted, scored) != ("0 to 65535", "0. to 255."):
        (message,) = messages
        for low, high in ((X.min(), X.max()) for X in (UNITS[fitted], UNITS[scored])):
            assert f"from {float(low):.3g} to {float(high):.3g}" in message


def test_one_image_is_enough_to_see_other_units():
    assert found(MeanDistance().fit(PIXELS), PIXELS[:1] / 255)
    assert found(MeanDistance().fit(PIXELS / 255), PIXELS[:1])


@pytest.mark.parametrize(
    "image", [0 * PIXELS, 0 * PIXELS + 255, 255 - PIXELS, PIXELS / 100, PIXELS // 255]
)
def test_black_white_inverted_and_dark_images_cause_none(image):
    assert not found(MeanDistance().fit(PIXELS), image)


def test_some_pixels_far_outside_cause_none():
    X = PIXELS / 255
    X[:, 0, 0] = 40
    assert not found(MeanDistance().fit(PIXELS / 255), X)


def test_a_table_that_was_not_scaled_causes_a_warning_with_a_column():
    X = load_breast_cancer(as_frame=True).data
    scaled = (X - X.mean()) / X.std()
    (message,) = found(MeanDistance().fit(scaled), X)
    assert "30 standard deviations" in message
    assert "Column mean perimeter, for instance, has a median of" in message
    assert "one pipeline" in message
    assert not found(MeanDistance().fit(X), X)


@pytest.mark.parametrize(
    "load", [load_breast_cancer, load_digits, load_iris, load_wine]
)
def test_anomalies_of_tables_cause_none(load):
    X, y = load(return_X_y=True)
    for normal in np.unique(y):
        detector = MeanDistance().fit(X[y == normal])
        others = X[y != normal]
        for rows in (others, others[:1], others[:10], others[-10:]):
            assert not found(detector, rows)


def test_a_few_rows_and_one_column_far_away_cause_none():
    X = np.random.RandomState(0).normal(size=(100, 12))
    detector = MeanDistance().fit(X)
    assert not found(detector, X[:9] * 1e6)
    some, column = X.copy(), X.copy()
    some[:20] *= 1e6
    column[:, 0] *= 1e6
    assert not found(detector, some)
    assert not found(detector, column)
    assert found(detector, X * 1e6)


def test_a_block_warns_once_and_other_threads_are_not_silenced():
    detector = MeanDistance().fit(PIXELS)
    n_elsewhere = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with warned_once():
            for _ in range(3):
                detector.score_samples(PIXELS / 255)
            n_elsewhere.append(len(caught))
            other = threading.Thread(target=detector.score_samples, args=[PIXELS / 255])
            other.start()
            other.join()
        detector.score_samples(PIXELS / 255)
    assert n_elsewhere == [1]
    assert len(caught) == 3

"""How often weights repeat each row, and which weights are refused."""

import numpy as np
import pytest
import torch

from skanogan._data.row_weights import MOST_COPIES, check_weights, repeated, weighted
from skanogan._data.split import split

ROWS = np.array([4, 7, 9])


def counts(weights):
    """How often each of the rows 0, 1, ... is repeated."""
    weights = np.asarray(weights, float)
    rows = repeated(np.arange(len(weights)), weights)
    return np.bincount(rows, minlength=len(weights))


def of_rows(*values):
    weights = np.full(10, np.nan)  # only the weights of the given rows are read
    weights[ROWS] = values
    return weights


@pytest.mark.parametrize("weight", [1, 0.1, 1 / 3, 7e300, 5e-300])
def test_equal_weights_change_nothing(weight):
    assert np.array_equal(repeated(ROWS, of_rows(*[weight] * 3)), ROWS)


def test_no_weights_change_nothing():
    assert repeated(ROWS, None) is ROWS


@pytest.mark.parametrize("unit", [1, 0.1, 1e300])
def test_a_row_with_twice_the_weight_occurs_twice(unit):
    assert repeated(ROWS, unit * of_rows(2, 1, 3)).tolist() == [4, 4, 7, 9, 9, 9]


@pytest.mark.parametrize("n", [100, 10_000])
def test_whole_weights_are_numbers_of_copies(n):
    weights = np.random.RandomState(0).randint(1, 10, n)
    weights[0] = 1
    assert np.array_equal(counts(weights), weights)


def test_other_weights_are_rounded_down_or_up_with_the_right_sum():
    weights = np.random.RandomState(0).uniform(0.5, 2, 1000)
    found, exact = counts(weights), weights / weights.min()
    assert (np.abs(found - exact) < 1 + 1e-2).all()
    assert found.sum() == pytest.approx(exact.sum(), rel=0.02)


def test_no_row_is_left_out_by_rounding():
    assert counts([1.7, 1, 1.7]).tolist() == [2, 1, 2]
    assert counts(np.random.RandomState(0).uniform(0.5, 2, 1000)).min() == 1


def test_extreme_weights_make_a_bounded_number_of_rows():
    weights = np.array([1e-9, 1, 1, 1e9])
    assert counts(weights).tolist() == [0, 0, 0, 4 * MOST_COPIES]


def test_the_order_of_rows_stays():
    order = np.array([9, 4, 7])
    assert repeated(order, of_rows(1, 1, 2)).tolist() == [9, 9, 4, 7]


def test_no_row_is_trained_on_and_held_out():
    parts = split(np.arange(60), (5,), 0.3, 0, torch.device("cpu"))
    weights = np.resize([1.0, 2.0, 3.0], 60)
    found = weighted(parts, weights)
    assert not set(found.kept) & set(found.held_out)
    times = np.bincount([*found.kept, *found.held_out])
    assert np.array_equal(times, weights)
    assert list(dict.fromkeys(found.held_out)) == parts.held_out.tolist()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "sample_weight.shape == .2,., expected .3,."),
        ([1, -1, 1], "Negative values"),
        ([1, np.nan, 1], "contains NaN"),
        ([1, np.inf, 1], "contains infinity"),
        ([0, 0, 0], "zero"),
        ([[1], [1], [1]], "1D"),
        (["a", "b", "c"], "could not convert"),
    ],
)
def test_other_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        check_weights(weights, np.zeros((3, 2)))


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_weights_of_any_container_are_understood(make):
    found = check_weights(make([1, 0, 2]), np.zeros((3, 2)))
    assert found.dtype == float
    assert found.tolist() == [1, 0, 2]

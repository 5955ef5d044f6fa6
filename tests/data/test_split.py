"""How many rows are held out, and which."""

import numpy as np
import pytest
import torch

from skanogan._data.split import held_out_size, rows_to_hold_out, split


@pytest.mark.parametrize(
    ("n_rows", "fraction", "size"),
    [
        (2, "auto", 1),
        (3, "auto", 1),
        (10, "auto", 2),
        (50, "auto", 12),
        (100, "auto", 25),
        (200, "auto", 50),
        (400, "auto", 60),
        (1000, "auto", 100),
        (1_000_000, "auto", 10_000),
        (1_000_000, 0.1, 100_000),
        (10, 0.3, 3),
        (10, 0.01, 1),
        (10, 0.99, 9),
    ],
)
def test_the_number_of_held_out_rows(n_rows, fraction, size):
    assert held_out_size(n_rows, fraction) == size


@pytest.mark.parametrize("fraction", ["auto", 0.5, 0.1, 1e-9])
def test_the_least_number_of_rows_of_which_so_many_are_held_out(fraction):
    # Regression: counting the rows up would take hours for the last fraction.
    n_rows = rows_to_hold_out(19, fraction)
    assert held_out_size(n_rows, fraction) >= 19
    assert held_out_size(n_rows - 1, fraction) < 19


@pytest.fixture
def halves():
    """A split of every third of 90 rows, half of which are held out."""

    def halves(random_state):
        normal = np.arange(0, 90, 3)
        return split(normal, (5,), 0.5, random_state, torch.device("cpu"))

    return halves


def test_every_normal_row_is_either_trained_on_or_held_out(halves):
    parts = halves(0)
    assert len(parts.held_out) == 15
    assert sorted([*parts.kept, *parts.held_out]) == list(range(0, 90, 3))


def test_rows_to_train_on_are_in_order_and_held_out_rows_are_not(halves):
    parts = halves(0)
    assert (np.diff(parts.kept) > 0).all()
    assert (np.diff(parts.held_out) < 0).any()


def test_a_split_repeats_with_its_seed(halves):
    first, again, other = halves(0), halves(0), halves(1)
    assert np.array_equal(first.held_out, again.held_out)
    assert np.array_equal(first.seeds, again.seeds)
    assert not np.array_equal(first.held_out, other.held_out)
    assert not np.array_equal(first.seeds, other.seeds)

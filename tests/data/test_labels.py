import numpy as np
import pytest

from skanogan._data.labels import normal_rows


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (None, [0, 1, 2]),
        ([1, 1, 1], [0, 1, 2]),
        ([1, -1, 1], [0, 2]),
        ([[1], [-1], [1]], [0, 2]),
        (np.array([1.0, -1.0, 1.0]), [0, 2]),
        ([-1, -1, -1], []),
    ],
)
def test_rows_with_the_label_minus_1_are_left_out(y, expected):
    assert normal_rows(y, 3).tolist() == expected

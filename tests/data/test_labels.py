import warnings

import numpy as np
import pytest

from skanogan._data.labels import normal_rows
from skanogan.exceptions import LabelWarning


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


@pytest.mark.parametrize(("n_anomalies", "warns"), [(5, False), (6, True), (9, True)])
def test_more_anomalies_than_normal_rows_cause_a_warning(n_anomalies, warns):
    y = np.where(np.arange(10) < n_anomalies, -1, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        normal_rows(y, 10)
    assert [each.category for each in caught] == [LabelWarning] * warns

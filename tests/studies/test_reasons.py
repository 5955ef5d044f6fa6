import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from studies import reasons


@pytest.fixture
def log():
    return reasons.machine_log(300, np.random.RandomState(0))


@pytest.mark.parametrize("kind", reasons.ALTERATIONS)
def test_one_column_of_each_row_is_altered(log, kind):
    rows, columns = reasons.altered(log, kind, np.random.RandomState(0))
    same = (rows == log) | (rows.isna() & log.isna())
    for i, name in enumerate(columns):
        assert list(same.columns[~same.loc[i]]) == [name]


def test_the_log_has_gaps_and_categories(log):
    assert 0 < log["temperature"].isna().mean() < 0.1
    assert log["machine"].nunique() == 4


def test_the_shares_of_altered_columns_by_hand():
    contributions = np.array([[3.0, 2, 1, 0], [3, 2, 1, 0], [3, 2, 1, 0]])
    found = reasons.first_shares(contributions, list("abcd"), ["a", "c", "d"])
    assert found == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_the_deviation_of_a_category_is_the_share_of_other_rows():
    normal = pd.DataFrame({"x": [0.0, 2.0], "kind": ["a", "a"]})
    rows = pd.DataFrame({"x": [1.0, 3.0], "kind": ["a", None]})
    found = reasons.deviations(rows, normal)
    np.testing.assert_allclose(found, [[0, 0], [np.sqrt(2), 0]])


def test_the_study_prints_a_row_for_each_detector(monkeypatch, rows_printed):
    monkeypatch.setattr(reasons, "DETECTORS", {"IsolationForest": IsolationForest})
    argv = ["--rows", "200", "--altered", "5", "--seeds", "1"]
    assert reasons.main(argv) == 0
    _, deviation, forest = rows_printed()
    assert deviation[0] == "deviation from the mean"
    assert all(0 <= float(cell) <= 1 for cell in forest[1:7])

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from studies import columns


def test_the_changed_column_is_ranked_in_every_map(
    tmp_path, anogan, fanogan, ocgan, monkeypatch, rows_printed
):
    X, y = load_breast_cancer(return_X_y=True)
    np.savez(tmp_path / "cancer.npz", X=X[:, :6], y=1 - y)

    detectors = {"AnoGAN": anogan, "f-AnoGAN": fanogan, "OCGAN": ocgan}
    monkeypatch.setattr(columns, "DETECTORS", detectors)
    argv = [str(tmp_path), "--updates", "3", "--limit", "60"]
    assert columns.main(argv) == 0
    head, *found = rows_printed()
    assert head[1:] == ["residual", "features", "explain"]
    assert [row[0] for row in found] == [
        "deviation from the mean",
        "IsolationForest",
        *detectors,
    ]
    assert all(0 <= float(cell) <= 1 for row in found[2:] for cell in row[1:])


def test_one_column_of_each_row_is_changed():
    X = np.zeros((50, 7))
    rows, changed = columns.changed(X, np.random.RandomState(0))
    moved = np.abs(rows[np.arange(50), changed])
    assert ((moved >= 1.5) & (moved <= 4)).all()
    assert np.count_nonzero(rows) == 50


def test_the_rank_of_a_column_by_hand():
    maps = np.array([[3.0, 1, 2, 0], [1, 1, 0, 0]])
    # Above all of three others; equal to one and above two of three.
    assert columns.rank_of_column(maps, np.array([0, 1])) == pytest.approx(
        (1 + 2.5 / 3) / 2
    )


def test_data_without_a_table_are_an_error(capsys):
    with pytest.raises(SystemExit):
        columns.main(["digits"])
    assert "digits has no table of 4 to 100 columns" in capsys.readouterr().err

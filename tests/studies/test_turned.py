import numpy as np
import pytest
from studies import turned

from skanogan import AnoGANDetector


def test_far_rows_lie_five_deviations_away():
    _, train, test, y = turned.far_rows(0)
    lengths = np.linalg.norm(test, axis=1) / 6**0.5
    np.testing.assert_allclose(lengths[y == 1], 5)
    assert lengths[y == 0].max() < 3
    assert train.shape == (500, 6)
    assert not np.array_equal(train[:300], test[:300])


def test_each_score_has_an_auroc_on_each_set_of_rows(
    tmp_path, monkeypatch, rows_printed
):
    X = np.random.RandomState(0).normal(size=(60, 3))
    np.savez(tmp_path / "small.npz", X=X, y=np.arange(60) > 40)
    monkeypatch.setattr(turned, "TABLES", ("small",))
    monkeypatch.setattr(turned, "N_ROWS", 40)
    monkeypatch.setattr(turned, "CASES", ((AnoGANDetector, ("whitened", "p_d")),))
    assert turned.main([str(tmp_path)]) == 0
    head, _, *found = rows_printed()
    assert head == ["AnoGANDetector", "whitened", "p_d"]
    assert [row[0] for row in found][-1] == "small"
    assert len(found) == 3
    assert all(0 <= float(cell) <= 1 for row in found for cell in row[1:])


def test_a_folder_without_the_tables_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"4_breastw\.npz"):
        list(turned.tables(tmp_path))

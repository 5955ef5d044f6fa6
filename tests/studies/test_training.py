import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from studies import training


def test_each_detector_has_a_line_for_each_budget(
    tmp_path, anogan, fanogan, ocgan, monkeypatch, rows_printed
):
    X, y = load_breast_cancer(return_X_y=True)
    np.savez(tmp_path / "cancer.npz", X=X[:, :6], y=1 - y)
    detectors = {"AnoGAN": anogan, "f-AnoGAN": fanogan, "OCGAN": ocgan}
    monkeypatch.setattr(training, "DETECTORS", detectors)
    argv = [str(tmp_path), "--budgets", "0,2", "--limit", "60", "--neighbors", "0"]
    assert training.main(argv) == 0
    head, *found = rows_printed()
    assert head[1:] == ["updates", "AUROC", "error", "column", "sample", "fit s"]
    lines = [(name, budget) for name in detectors for budget in ("0", "2")]
    assert [tuple(row[:2]) for row in found] == lines
    assert all(float(cell) >= 0 for row in found for cell in row[2:])


def test_images_have_no_changed_column(anogan, monkeypatch, rows_printed):
    monkeypatch.setattr(training, "DETECTORS", {"AnoGAN": anogan})
    argv = ["digits", "--classes", "3", "--detectors", "AnoGAN", "--budgets", "auto"]
    assert training.main([*argv, "--limit", "60"]) == 0
    head, _ = rows_printed()
    assert head[1:] == ["updates", "AUROC", "error", "sample", "fit s"]


def test_rows_of_one_distribution_are_not_told_apart():
    rng = np.random.RandomState(0)
    real, other = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    assert training.two_sample_auroc(real, other) == pytest.approx(0.5, abs=0.1)
    assert training.two_sample_auroc(real, other + 2) > 0.9

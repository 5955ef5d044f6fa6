import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from studies import unlabelled


@pytest.fixture(autouse=True)
def detectors(anogan, monkeypatch):
    """Two quick detectors in place of all."""
    quick = {
        "AnoGAN": lambda seed: anogan(random_state=seed, support_fraction=0.75),
        "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    }
    monkeypatch.setattr(unlabelled, "DETECTORS", quick)
    return ",".join(quick)


def test_each_made_up_case_has_a_column(detectors, rows_printed):
    assert unlabelled.main(["--detectors", detectors]) == 0
    head, _, *found = rows_printed()
    assert head[1:] == list(unlabelled.made_up_cases(0))
    assert [row[0] for row in found] == ["AnoGAN", "IsolationForest"]
    assert all(float(cell.split()[0]) > 0.9 for cell in found[0][1:])


def test_anomalies_are_put_among_the_training_rows(detectors, tmp_path, rows_printed):
    X, y = load_breast_cancer(return_X_y=True)
    np.savez(tmp_path / "cancer.npz", X=X[:, :6], y=1 - y)
    argv = [str(tmp_path), "--shares", "0,0.2", "--detectors", detectors]
    assert unlabelled.main(argv) == 0
    head, _, *found = rows_printed()
    assert head == ["detector", "0%", "20%"]
    assert all(0.5 < float(cell.split()[0]) <= 1 for row in found for cell in row[1:])


def test_the_curves_are_drawn_to_a_file(detectors, tmp_path, rows_printed):
    argv = ["wine", "--classes", "1", "--shares", "0,0.1", "--detectors", detectors]
    assert unlabelled.main([*argv, "--picture", str(tmp_path / "curve.png")]) == 0
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_images_are_flattened_for_other_detectors(detectors, rows_printed):
    argv = ["digits", "--classes", "3", "--shares", "0.05", "--detectors", detectors]
    assert unlabelled.main([*argv, "--limit", "60"]) == 0
    assert len(rows_printed()) == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_made_up_cases_are_repeatable(seed):
    first, second = (unlabelled.made_up_cases(seed) for _ in range(2))
    for (X, is_anomaly), (again, _) in zip(
        first.values(), second.values(), strict=True
    ):
        np.testing.assert_array_equal(X, again)
        assert 0.005 < is_anomaly.mean() < 0.06

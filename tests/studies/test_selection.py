import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from studies import selection

from skanogan.benchmark import load_tasks
from skanogan.conformal import ConformalDetector


@pytest.fixture(scope="module")
def eights():
    return load_tasks("digits", classes=[8])[0]


def test_false_alarms_are_counted_on_new_normal_rows():
    [task] = load_tasks("breast_cancer")
    found = selection.count_false_alarms(task, "IsolationForest", None, 0.05, 3)
    X_train, X_test, y_test = task.split(3)
    assert len(X_train) == 178  # of which 45 calibrate
    assert found["exact"] == 2 / 46
    detector = ConformalDetector(IsolationForest(random_state=3), random_state=3)
    labels = detector.fit(X_train).predict(X_test)
    assert found["conformal"] == np.mean(labels[y_test == 1] == -1)
    labels = detector.estimator_.predict(X_test)
    assert found["own"] == np.mean(labels[y_test == 1] == -1)


def test_thresholds_are_compared_on_the_same_scores(eights):
    found = selection.compare_thresholds(eights, 5, 2, 0)
    assert set(found) == {"default", "tuned", "AUROC"}
    assert all(0 <= value <= 1 for value in found.values())
    again = selection.compare_thresholds(eights, 5, 2, 0)
    assert found == again


def test_folds_are_pooled_into_one_array():
    X, y = np.repeat([[0.0], [3.0]], [80, 8], axis=0), np.repeat([1, -1], [80, 8])
    X = X + np.random.RandomState(0).normal(size=X.shape)
    found = selection.pool_folds(IsolationForest(random_state=0), X, y, n_folds=4)
    assert len(found["folds"]) == 4
    assert 0.8 < found["score_samples"] <= 1
    assert 0.8 < found["decision_function"] <= 1


def test_a_search_with_memory_is_timed_and_compared(monkeypatch):
    monkeypatch.setattr(
        selection, "SCORING_GRID", {"anomaly_score": ["whitened", "residual"]}
    )
    found = selection.time_search(2, 2)
    assert found["equal"]
    assert min(*found["seconds"], *found["CPU seconds"]) > 0


def test_the_study_prints_a_row_for_each_detector(capsys):
    argv = ["conformal", "--splits", "2", "--detectors", "IsolationForest"]
    assert selection.main(argv) == 0
    [row] = [r for r in capsys.readouterr().out.splitlines() if "Forest" in r]
    assert row.startswith("| breast_cancer | IsolationForest | 0.")

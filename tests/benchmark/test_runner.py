import json

import numpy as np
import pytest

from skanogan.benchmark import load_tasks, run_benchmark
from skanogan.benchmark._runner import CELLS, default_jobs


@pytest.fixture
def run(table, tmp_path):
    """A run on the small table, in this process."""

    def run_on_table(detectors, **options):
        options = {"out": tmp_path / "out", "jobs": 1, "progress": False} | options
        return run_benchmark(str(table), detectors, **options)

    return run_on_table


def test_a_cell_holds_what_was_measured(run):
    (row,) = run("IsolationForest")
    assert row["task"] == "blob"
    assert row["protocol"] == "table"
    assert row["detector"] == "IsolationForest"
    assert row["family"] == "baseline"
    assert (row["n_train"], row["n_test"], row["n_features"]) == (30, 50, 3)
    assert row["fit_seconds"] > 0
    assert row["score_seconds"] > 0
    assert row["error"] is None


def test_the_conventions_of_scikit_learn_and_pyod_are_recognised(run, own_module):
    forest, foreign = run("IsolationForest,own_detectors:LikePyOD")
    for row in (forest, foreign):
        assert row["auroc"] > 0.99
        assert row["average_precision"] > 0.99
        assert row["detected"] > 0.9
        assert row["false_alarms"] < row["detected"]


def test_false_alarms_are_those_of_predict(run, table):
    (row,) = run("OneClassSVM")
    from sklearn.svm import OneClassSVM

    X_train, X_test, y_test = load_tasks(str(table))[0].split(0)
    labels = OneClassSVM().fit(X_train).predict(X_test)
    assert row["false_alarms"] == np.mean(labels[y_test == 1] == -1)
    assert row["detected"] == np.mean(labels[y_test == -1] == -1)


def test_results_are_ordered_by_seed_task_and_detector(run):
    rows = run("MeanDistance,KNNDistance", seeds=(1, 0))
    assert [(row["seed"], row["detector"]) for row in rows] == [
        (1, "MeanDistance"),
        (1, "KNNDistance"),
        (0, "MeanDistance"),
        (0, "KNNDistance"),
    ]


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ("Fails", "RuntimeError: the network has diverged"),
        ("GivesNaN", "not finite"),
        ("OtherLabels", "expected 1 for normal rows and -1 for outliers"),
    ],
)
def test_a_failing_detector_is_reported_and_the_others_run(
    run, own_module, detector, message
):
    failed, fine = run(f"own_detectors:{detector},MeanDistance")
    assert message in failed["error"]
    assert failed["auroc"] is None
    assert fine["error"] is None


def test_finished_cells_are_not_run_again(run, own_module):
    first = run("own_detectors:Counting")
    assert run("own_detectors:Counting") == first
    assert own_module.Counting.fits == 1


def test_an_interrupted_run_is_resumed(run, own_module, tmp_path):
    run("own_detectors:Counting", seeds=(0, 1, 2))
    path = tmp_path / "out" / CELLS
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1], lines[2][:40]]))  # incomplete
    rows = run("own_detectors:Counting", seeds=(0, 1, 2))
    assert own_module.Counting.fits == 4
    assert [row["seed"] for row in rows] == [0, 1, 2]
    run("own_detectors:Counting", seeds=(0, 1, 2))
    assert own_module.Counting.fits == 4


def test_finished_cells_are_kept_after_an_interruption(run, own_module, monkeypatch):
    def interrupted(self, X, y=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(own_module.Fails, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("own_detectors:Counting,own_detectors:Fails")
    run("own_detectors:Counting")
    assert own_module.Counting.fits == 1


def test_failed_cells_are_run_again(run, own_module, monkeypatch):
    run("own_detectors:Fails")
    monkeypatch.setattr(own_module.Fails, "fit", own_module.Distance.fit)
    (row,) = run("own_detectors:Fails")
    assert row["error"] is None


def test_fresh_runs_finished_cells_again(run, own_module):
    run("own_detectors:Counting")
    run("own_detectors:Counting", fresh=True)
    assert own_module.Counting.fits == 2


@pytest.mark.parametrize(
    "change",
    ["seed", "parameter", "default of a parameter", "data", "limit", "version"],
)
def test_what_changes_a_result_makes_another_cell(
    run, own_module, table, monkeypatch, change
):
    detector, options, tasks = "own_detectors:Counting", {}, str(table)
    run(detector)
    if change == "seed":
        options["seeds"] = (1,)
    elif change == "parameter":
        detector += "(radius=1.0)"
    elif change == "default of a parameter":
        defaults = (2.0, None, "auto")
        monkeypatch.setattr(own_module.Distance.__init__, "__defaults__", defaults)
    elif change == "data":
        arrays = dict(np.load(table))
        arrays["X"] += 1
        tasks = table.parent / "other"
        tasks.mkdir()
        np.savez(tasks / "blob.npz", **arrays)
    elif change == "version":
        monkeypatch.setattr("skanogan.__version__", "0+another")
    tasks = load_tasks(str(tasks), limit=20 if change == "limit" else None)
    out = table.parent / "out"
    run_benchmark(tasks, detector, out=out, jobs=1, progress=False, **options)
    assert own_module.Counting.fits == 2


def test_each_line_of_the_cells_is_json(run, own_module, tmp_path):
    run("own_detectors:Fails,MeanDistance")
    lines = (tmp_path / "out" / CELLS).read_text().splitlines()
    assert [json.loads(line)["error"] is None for line in lines] == [False, True]


def test_detectors_of_images_get_images(own_module, tmp_path):
    run_benchmark(
        load_tasks("digits", classes=[1]),
        "own_detectors:TakesImages,own_detectors:FlatOnly",
        out=tmp_path,
        jobs=1,
        progress=False,
    )
    assert own_module.TakesImages.seen == [((127, 8, 8), np.float64)]
    assert own_module.FlatOnly.seen == [((127, 64), np.float64)]


def test_warnings_are_kept_with_the_cell(run):
    (row,) = run("LocalOutlierFactor(n_neighbors=100)")
    assert "n_neighbors" in row["warnings"][0]


def test_a_detector_that_ends_its_process_fails_alone(run, own_module):
    rows = run("MeanDistance,own_detectors:EndsItsProcess,KNNDistance", jobs=2)
    mean, ended, neighbours = rows
    assert "the process ended" in ended["error"]
    assert mean["error"] is None
    assert neighbours["error"] is None


def test_a_gpu_is_used_by_one_process():
    assert default_jobs("cuda") == 1
    assert default_jobs("cpu") >= 1

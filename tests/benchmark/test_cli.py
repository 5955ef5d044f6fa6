import csv
import json
import subprocess
import sys

import pytest

from skanogan.__main__ import main as skanogan_main
from skanogan.benchmark import summarise
from skanogan.benchmark._cli import main
from skanogan.benchmark._report import detector_table, task_table


def cell(detector, task, auroc, seed=0, error=None):
    return {
        "detector": detector,
        "family": "other",
        "task": task,
        "seed": seed,
        "auroc": auroc,
        "average_precision": auroc,
        "false_alarms": None if auroc is None else 0.05,
        "detected": None if auroc is None else 0.5,
        "fit_seconds": None if auroc is None else 1.0,
        "score_seconds": None if auroc is None else 0.5,
        "error": error,
    }


@pytest.fixture
def rows():
    """B is better on task 1 and fails on task 2 with one of its two seeds."""
    return [
        cell("A", "task 1", 0.6),
        cell("A", "task 2", 0.9, seed=0),
        cell("A", "task 2", 0.7, seed=1),
        cell("B", "task 1", 0.95),
        cell("B", "task 2", 0.75, seed=0),
        cell("B", "task 2", None, seed=1, error="ValueError: no"),
    ]


def test_means_are_over_seeds_first_and_then_over_tasks(rows):
    best, second = summarise(rows)
    assert (best["detector"], second["detector"]) == ("B", "A")
    assert best["auroc"] == pytest.approx((0.95 + 0.75) / 2)
    assert second["auroc"] == pytest.approx((0.6 + 0.8) / 2)


def test_ranks_are_means_over_tasks_and_failures_are_counted(rows):
    best, second = summarise(rows)
    assert best["rank"] == second["rank"] == 1.5
    assert (best["failures"], second["failures"]) == (1, 0)


def test_a_detector_that_always_fails_is_last(rows):
    rows += [cell("C", f"task {i}", None, error="no") for i in (1, 2)]
    last = summarise(rows)[-1]
    assert (last["detector"], last["auroc"], last["rank"]) == ("C", None, 3)
    assert "-" in detector_table([last])


def test_tables_are_aligned_and_mark_the_best(rows):
    table = task_table(rows, ["B", "A"])
    lines = table.splitlines()
    assert len({len(line.rstrip("* ")) for line in lines[1:2]}) == 1
    assert "0.950*" in lines[2]
    assert "0.800*" in lines[3]


@pytest.fixture
def arguments(table, tmp_path):
    out = str(tmp_path / "out")
    return [str(table), "--detectors", "baselines", "--out", out, "--jobs", "1"]


def test_a_run_prints_tables_and_writes_files(arguments, tmp_path, capsys):
    assert main([*arguments, "--seeds", "0,1"]) == 0
    printed = capsys.readouterr().out
    assert "AUROC" in printed
    assert "IsolationForest" in printed
    assert "false" in printed
    with (tmp_path / "out" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 14
    with (tmp_path / "out" / "summary.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 7
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"scikit-learn", "torch", "numpy", "skanogan"} <= set(results["versions"])
    assert results["machine"]["cores"] >= 1
    assert results["arguments"]["seeds"] == [0, 1]
    assert len(results["cells"]) == 14
    plot = (tmp_path / "out" / "benchmark.png").read_bytes()
    assert plot.startswith(b"\x89PNG")


def test_failed_cells_are_listed_and_the_status_is_0(arguments, own_module, capsys):
    arguments[2] = "own_detectors:Fails,MeanDistance"
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 cells failed" in printed
    assert "own_detectors:Fails on blob, seed 0: RuntimeError" in printed


def test_a_run_in_which_every_cell_fails_has_the_status_0(
    arguments, own_module, tmp_path
):
    arguments[2] = "own_detectors:Fails"
    assert main(arguments) == 0
    assert (tmp_path / "out" / "results.csv").exists()
    assert not (tmp_path / "out" / "benchmark.png").exists()


def test_results_of_an_earlier_run_are_counted(arguments, capsys):
    main([*arguments, "--no-plot"])
    assert "results of an earlier run" not in capsys.readouterr().out
    main([*arguments, "--no-plot"])
    assert "7 of 7 cells are results of an earlier run" in capsys.readouterr().out


def test_no_plot_writes_no_plot(arguments, tmp_path):
    main([*arguments, "--no-plot"])
    assert not (tmp_path / "out" / "benchmark.png").exists()


def test_without_matplotlib_the_command_to_install_it_is_printed(
    arguments, capsys, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(arguments) == 0
    assert "pip install 'skanogan[plot]'" in capsys.readouterr().out


def test_a_limit_is_printed(arguments, capsys):
    main([*arguments, "--no-plot", "--limit", "20"])
    assert "at most 20 training rows and 20 test rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["no_such_file.npz"], "no_such_file.npz does not exist"),
        (["digits", "--protocol", "p7"], "invalid choice: 'p7'"),
        (["digits", "--protocol", "p2"], "p2 needs an official test part"),
        (["digits", "--seeds", "a"], "invalid seeds value: 'a'"),
        (["digits", "--jobs", "0"], "invalid jobs value: '0'"),
        (["digits", "--detectors", "Nothing"], "no detector is named 'Nothing'"),
        (["digits", "--classes", "99"], "no task has one of the classes 99"),
        (["digits", "--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_give_one_line_and_status_2(bad, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main([*bad, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in said
    assert said.count("\n") == 1


def test_an_output_folder_that_is_a_file_gives_status_2(arguments, table, capsys):
    arguments[4] = str(table)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_interruption_prints_how_to_resume(arguments, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("skanogan.benchmark._cli.run_benchmark", interrupted)
    assert main(arguments) == 130
    assert "the same command resumes the run" in capsys.readouterr().err


def test_the_module_runs_the_benchmark(arguments):
    assert skanogan_main(["benchmark", *arguments, "--no-plot"]) == 0


@pytest.mark.parametrize("argv", [["bench"], ["versions", "now"]])
def test_an_unknown_command_gives_status_2(argv, capsys):
    assert skanogan_main(argv) == 2
    assert "unknown command" in capsys.readouterr().err


def test_no_command_shows_the_usage(capsys):
    assert skanogan_main([]) == 0
    assert "python -m skanogan benchmark" in capsys.readouterr().out


def test_importing_the_benchmark_imports_no_plotting_or_dataframes():
    code = (
        "import sys, skanogan; before = set(sys.modules); import skanogan.benchmark;"
        "new = set(sys.modules) - before;"
        "assert 'skanogan.benchmark' in new, 'imported by skanogan itself';"
        "print([m for m in ('matplotlib', 'pandas', 'torch', 'pyod') if m in new])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

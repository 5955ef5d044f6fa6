"""The script for a GPU, on the CPU and at tiny size."""

from pathlib import Path

import pytest
from studies import gpu


@pytest.mark.parametrize("name", [name for name in gpu.SECTIONS if name != "tests"])
def test_each_section_runs_on_the_cpu(name, tmp_path):
    path = tmp_path / "report.md"
    command = [name, "--device", "cpu", "--quick", "--output", str(path)]
    assert gpu.main(command) == 0
    report = path.read_text(encoding="utf-8")
    assert f"## {name}" in report
    assert "There is no GPU in this run" in report


def test_the_tests_for_cuda_are_found():
    assert int(gpu.tests("cpu", quick=True).split("/")[0]) >= 5


def test_every_file_with_tests_for_cuda_is_run():
    root = Path(gpu.__file__).parents[2]
    marked = ("pytest.mark.cuda", "(device,", ", device)", "    device, ")
    found = {
        str(path.relative_to(root).as_posix())
        for path in (root / "tests").rglob("test_*.py")
        if any(mark in path.read_text(encoding="utf-8") for mark in marked)
    }
    # These two name a device and need none.
    others = {"tests/runtime/test_processes.py", "tests/studies/test_gpu.py"}
    assert found - others == set(gpu.FILES)


def test_a_section_that_fails_is_reported_and_the_next_one_runs(monkeypatch, tmp_path):
    path = tmp_path / "report.md"
    monkeypatch.setitem(gpu.SECTIONS, "files", lambda device, quick: 1 / 0)
    command = ["files", "memory", "--device", "cpu", "--quick", "--output", str(path)]
    assert gpu.main(command) == 1
    report = path.read_text(encoding="utf-8")
    assert "**Failed.** ZeroDivisionError" in report
    assert "## memory" in report


def test_no_section_begins_after_the_time_is_over(tmp_path):
    path = tmp_path / "report.md"
    assert gpu.main(["files", "--minutes", "-1", "--output", str(path)]) == 0
    assert "Left out: -1 minutes had passed" in path.read_text(encoding="utf-8")

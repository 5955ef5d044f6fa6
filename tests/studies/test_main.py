"""The command ``python examples/studies NAME``."""

import subprocess
import sys
from pathlib import Path

import pytest
from studies import __main__ as command

FOLDER = Path(command.__file__).parent


def run(*argv):
    return subprocess.run(
        [sys.executable, FOLDER, *argv], capture_output=True, text=True
    )


def test_the_command_lists_the_studies():
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in command.STUDIES)


def test_a_study_runs_from_the_command_line():
    done = run("selection", "conformal", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python examples/studies selection conformal" in done.stdout


def test_an_unknown_study_has_the_status_2():
    done = run("serach")
    assert done.returncode == 2
    assert "usage: python examples/studies NAME" in done.stdout


@pytest.mark.parametrize("name", command.STUDIES)
def test_every_study_describes_its_arguments(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main([name, "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: python examples/studies {name}" in printed
    study = __import__(f"studies.{name}", fromlist=["main"])
    assert f"python examples/studies {name}" in study.__doc__


def test_every_module_with_a_command_is_listed():
    with_main = {
        path.stem
        for path in FOLDER.glob("*.py")
        if "\ndef main(" in path.read_text(encoding="utf-8")
    }
    assert with_main - {"__main__"} == set(command.STUDIES)

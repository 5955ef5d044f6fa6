"""How a file is written: as a whole or not at all."""

import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import skanogan
from skanogan._persistence import files


def refuse(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("before", [None, b"the old file"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    call, before, make_detector, blob, tmp_path, monkeypatch
):
    detector = make_detector().fit(blob)
    path = tmp_path / "detector"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, refuse)
        with pytest.raises(OSError, match="No space left"):
            detector.save(path)
    assert os.listdir(tmp_path) == ([] if before is None else ["detector"])
    assert before is None or path.read_bytes() == before


CUT_SHORT = """
import os, resource, runpy, signal, sys
source, path, how = sys.argv[1:]
write = runpy.run_path(source)["write_atomically"]
if how == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
else:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
try:
    write(path, bytes(100_000))
except OSError:
    sys.exit(3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits on Windows")
@pytest.mark.parametrize(("how", "status"), [("full", 3), ("killed", -9)])
def test_an_interrupted_write_leaves_the_old_file(how, status, tmp_path):
    path = tmp_path / "detector"
    path.write_bytes(b"the old file")
    command = [sys.executable, "-c", CUT_SHORT, files.__file__, str(path), how]
    assert subprocess.run(command, check=False).returncode == status
    assert path.read_bytes() == b"the old file"
    rest = [name for name in os.listdir(tmp_path) if name != "detector"]
    # A killed process cannot delete its part.
    assert len(rest) == (1 if how == "killed" else 0)
    assert all(name.endswith(".part") for name in rest)


@pytest.mark.skipif(sys.platform == "win32", reason="no modes on Windows")
def test_permissions_of_the_old_file_are_kept(tmp_path):
    write = runpy.run_path(files.__file__)["write_atomically"]
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "new", b"content")
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "secret").chmod(0o600)
    write(tmp_path / "secret", b"content")
    mode = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert mode["new"] == mode["plain"]
    assert mode["secret"] == 0o600


def test_a_link_is_followed(make_detector, blob, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "detector", tmp_path / "link"
    link.symlink_to(target)
    detector = make_detector().fit(blob)
    detector.save(link)
    assert link.is_symlink()
    assert os.listdir(target.parent) == ["detector"]
    scores = skanogan.load(target).score_samples(blob)
    np.testing.assert_array_equal(scores, detector.score_samples(blob))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_string_or_a_path(make_detector, blob, tmp_path, kind):
    detector = make_detector().fit(blob)
    path = kind(str(tmp_path / "detector"))
    detector.save(path)
    assert isinstance(skanogan.load(path), skanogan.AnoGANDetector)


def test_a_missing_folder_is_an_error_and_not_made(make_detector, blob, tmp_path):
    path = tmp_path / "missing" / "detector"
    with pytest.raises(FileNotFoundError, match="detector' is in a folder that does"):
        make_detector().fit(blob).save(path)
    assert os.listdir(tmp_path) == []


def test_a_path_without_a_file_is_an_error_of_the_system(make_detector, blob, tmp_path):
    with pytest.raises(IsADirectoryError):
        make_detector().fit(blob).save(tmp_path)
    with pytest.raises(FileNotFoundError):
        skanogan.load(tmp_path / "detector")
    assert os.listdir(tmp_path) == []

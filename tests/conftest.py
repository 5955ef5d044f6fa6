import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cheap import cheap
from sklearn.datasets import load_digits

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._runtime.device import available_devices

# The networks in the tests are so small that a second thread costs more than it saves,
# and pytest-xdist runs one process per core.
torch.set_num_threads(1)


def pytest_configure(config):
    # Networks collapse in ten updates. pytest.warns still sees the warning.
    config.addinivalue_line(
        "filterwarnings", "ignore::skanogan.exceptions.CollapseWarning"
    )


@pytest.fixture(autouse=True)
def torch_seeded():
    """Seed torch's global stream, so that the draws of a test repeat.

    Nothing else uses this seed, so that a test notices code that seeds the stream.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(170305921)
        yield


@pytest.fixture
def memory_below():
    """Bound by how many bytes the resident memory grows within a block."""

    @contextmanager
    def memory_below(n_bytes):
        forget_peak()
        before = peak()
        yield
        assert peak() - before < n_bytes

    return memory_below


def forget_peak():
    """Reset the peak of this process, if Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def memory_of_process(field):
    """Read a field of /proc/self/status in bytes: "VmHWM" is the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(field))
    return float(kilobytes) * 1024


def peak():
    """Bytes resident at once: the most since `forget_peak` on Linux, ever elsewhere."""
    if sys.platform == "linux":
        return memory_of_process("VmHWM")
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture
def printed_by():
    """What code prints in a process of its own, which must end well."""

    def printed_by(code, *args):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, args)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return printed_by


@pytest.fixture
def interrupt_once(monkeypatch):
    """Interrupt one update of a model; the batches of all updates that began."""

    def interrupt(model, at):
        step, begun = model.train_step, []

        def interrupted(self, x):
            begun.append(x)
            if len(begun) == at:
                raise KeyboardInterrupt
            return step(self, x)

        monkeypatch.setattr(model, "train_step", interrupted)
        return begun

    return interrupt


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda), "mps"])
def device(request):
    """Each kind of device; those that are not here are skipped."""
    if request.param not in available_devices():
        pytest.skip(f"no {request.param} device on this machine")
    return request.param


@pytest.fixture
def blob():
    """80 normal rows of 5 correlated columns, each in its own unit."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 5)) + rng.normal(size=(80, 5))
    return 10 + X * [1, 2, 5, 0.1, 1]


@pytest.fixture
def zeros():
    """100 handwritten zeros of 8 x 8 pixels, 0 to 16."""
    digits = load_digits()
    return digits.images[digits.target == 0][:100]


@pytest.fixture
def make_detector():
    """AnoGANDetector with a small budget and any parameters."""
    return partial(cheap, AnoGANDetector)


@pytest.fixture
def make_fanogan():
    """FAnoGANDetector with a small budget and any parameters."""
    return partial(cheap, FAnoGANDetector)


@pytest.fixture
def make_ocgan():
    """OCGANDetector with a small budget and any parameters."""
    return partial(cheap, OCGANDetector)

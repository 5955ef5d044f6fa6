import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._device import available_devices
from skanogan.benchmark._memory import forget_peak, memory_of_process

# Of this test process alone: the networks here are so small that a second thread costs
# more than it saves, and pytest-xdist runs one process a core.
torch.set_num_threads(1)


def pytest_configure(config):
    # Ten updates cannot fill the space of the data; the tests of the warning itself
    # ask for it with pytest.warns, which this does not silence.
    config.addinivalue_line(
        "filterwarnings", "ignore::skanogan.exceptions.CollapseWarning"
    )


@pytest.fixture(autouse=True)
def torch_seeded():
    """Draws of a test's own from torch's global state, the same in every run.

    A seed that nothing else sets, so that a test of a state left alone sees it set.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(170305921)
        yield


@pytest.fixture
def memory_below():
    """Bound what is resident at once within a block, over what was there before."""

    @contextmanager
    def memory_below(n_bytes):
        forget_peak()
        before = peak()
        yield
        assert peak() - before < n_bytes

    return memory_below


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


@pytest.fixture(params=["cpu", "cuda", "mps"])
def device(request):
    """Each kind of device; those that are not here are skipped."""
    if request.param not in available_devices():
        pytest.skip(f"no {request.param} device on this machine")
    return request.param


@pytest.fixture
def blob():
    """80 normal rows of 5 correlated columns, in units of their own."""
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
    """AnoGANDetector with budgets of a tenth of a second, and any parameters."""

    def make(**parameters):
        cheap = {
            "max_iter": 10,
            "n_candidates": 64,
            "hidden_layer_sizes": (16, 16),
            "n_filters": 4,
            "latent_dim": 4,
            "device": "cpu",
            "random_state": 0,
        }
        return AnoGANDetector(**{**cheap, **parameters})

    return make


@pytest.fixture
def make_fanogan():
    """FAnoGANDetector with budgets of a tenth of a second, and any parameters."""

    def make(**parameters):
        cheap = {
            "max_iter": 10,
            "encoder_max_iter": 10,
            "hidden_layer_sizes": (16, 16),
            "n_filters": 4,
            "latent_dim": 4,
            "device": "cpu",
            "random_state": 0,
        }
        return FAnoGANDetector(**{**cheap, **parameters})

    return make


@pytest.fixture
def make_ocgan():
    """OCGANDetector with budgets of a tenth of a second, and any parameters."""

    def make(**parameters):
        cheap = {
            "max_iter": 10,
            "hidden_layer_sizes": (16, 16),
            "n_filters": 4,
            "discriminator_filters": 4,
            "classifier_filters": 4,
            "latent_dim": 4,
            "device": "cpu",
            "random_state": 0,
        }
        return OCGANDetector(**{**cheap, **parameters})

    return make

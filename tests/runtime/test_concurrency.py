"""Fits and scores in threads, in forked processes, and while the interpreter exits."""

import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._runtime.device import available_devices

N_THREADS = 8

PATIENCE = 300
"""The longest time in seconds that a test waits, so that a deadlock ends it."""

CHEAP = {
    "max_iter": 6,
    "hidden_layer_sizes": (16, 16),
    "n_filters": 4,
    "latent_dim": 4,
    "device": "cpu",
    "random_state": 0,
}
SEARCH = {**CHEAP, "n_candidates": 64, "n_steps": 4}

DETECTORS = {
    "AnoGAN": AnoGANDetector(**CHEAP, n_candidates=64),
    "AnoGAN, searching": AnoGANDetector(**SEARCH),
    "FAnoGAN": FAnoGANDetector(**CHEAP, encoder_max_iter=4),
    "OCGAN": OCGANDetector(**CHEAP),
}

METHODS = ("score_samples", "predict", "reconstruct", "anomaly_map", "embed")


@pytest.fixture(params=["table", "images"])
def rows(request, blob, zeros):
    return blob if request.param == "table" else zeros[:24]


@pytest.fixture(params=DETECTORS)
def detector(request):
    return clone(DETECTORS[request.param])


@pytest.fixture
def two_threads_of_torch():
    """Let torch use two threads in this process during a test."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def at_once(functions):
    """Call each function in a thread of its own, at the same time."""
    start = threading.Barrier(len(functions))

    def call(function):
        start.wait(PATIENCE)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


def run(code, n_threads=1):
    """Run code in a process that must succeed without messages; return its output."""
    threads = dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS"], str(n_threads))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Threads ------------------------------------------------------------------------


def scores_of_eight_threads(fitted, rows, n_scorings):
    """Scores of all threads, of shape (8 * n_scorings, n)."""

    def score():
        return [fitted.score_samples(rows) for _ in range(n_scorings)]

    return np.concatenate(at_once([score] * N_THREADS))


@pytest.mark.usefixtures("two_threads_of_torch")
def test_eight_threads_give_the_scores_of_one(detector, rows):
    fitted = detector.fit(rows)
    expected = fitted.score_samples(rows)
    found = scores_of_eight_threads(fitted, rows, 2)
    assert (found == expected).all()


@pytest.mark.long
@pytest.mark.usefixtures("two_threads_of_torch")
def test_eight_threads_give_the_scores_of_one_in_fifty_calls(detector, rows):
    fitted = detector.fit(rows)
    expected = fitted.score_samples(rows)
    found = scores_of_eight_threads(fitted, rows, 50)
    assert found.shape == (400, len(rows))
    assert (found == expected).all()


def test_threads_can_call_different_methods_of_one_detector(detector, rows):
    fitted = detector.fit(rows)
    calls = [lambda m=m: getattr(fitted, m)(rows) for m in METHODS]
    calls.append(lambda: fitted.sample(70, random_state=1))
    calls.append(lambda: pickle.loads(pickle.dumps(fitted)).score_samples(rows))
    calls.append(lambda: fitted.score_samples(rows[:1]))
    expected = [call() for call in calls]
    for one, other in zip(expected, at_once(calls), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["AnoGAN, searching", "FAnoGAN", "OCGAN"])
def test_fits_in_threads_equal_fits_in_sequence(name, rows):
    detector, seeds = DETECTORS[name], range(3)

    def fit(seed):
        fitted = clone(detector).set_params(random_state=seed).fit(rows)
        return [*fitted.score_samples(rows), fitted.offset_]

    expected = [fit(seed) for seed in seeds]
    found = at_once([lambda seed=seed: fit(seed) for seed in seeds])
    assert np.array_equal(found, expected)
    assert len(np.unique(np.array(expected)[:, 0])) == len(seeds)


@pytest.mark.cuda
@pytest.mark.skipif("cuda" not in available_devices(), reason="no cuda device here")
def test_eight_threads_give_the_scores_of_one_with_captured_steps(rows):
    fitted = AnoGANDetector(**{**SEARCH, "n_steps": 20, "device": "cuda"}).fit(rows)
    expected = fitted.score_samples(rows)
    found = scores_of_eight_threads(fitted, rows, 5)
    np.testing.assert_allclose(found, np.tile(expected, (40, 1)), rtol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_mode_without_gradients_does_not_affect_fits_in_other_threads(mode, blob):
    detector = AnoGANDetector(**SEARCH)
    expected = clone(detector).fit(blob).score_samples(blob)

    def without_gradients():
        with mode():
            return clone(detector).fit(blob).score_samples(blob)

    def with_gradients():
        return clone(detector).fit(blob).score_samples(blob)

    found = at_once([without_gradients, with_gradients] * 2)
    assert (np.array(found) == expected).all()


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_folds_in_joblib_workers_equal_folds_in_sequence(backend, blob):
    detector = AnoGANDetector(**SEARCH)
    settings = {"cv": 3, "method": "decision_function"}
    expected = cross_val_predict(detector, blob, **settings)
    with joblib.parallel_config(backend, n_jobs=2):
        found = cross_val_predict(detector, blob, **settings)
    assert np.array_equal(found, expected)


# Processes ----------------------------------------------------------------------

SETTING = """
import multiprocessing as mp, os, sys, threading, warnings
import numpy as np, torch
from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector

warnings.simplefilter("ignore")
X = np.random.RandomState(0).normal(size=(2100, 20))
few = X[:80]
cheap = {"max_iter": 6, "hidden_layer_sizes": (16, 16), "random_state": 0,
         "device": "cpu"}
detectors = [AnoGANDetector(n_steps=2, n_candidates=64, **cheap),
             FAnoGANDetector(encoder_max_iter=4, **cheap), OCGANDetector(**cheap)]
fitted = [detector.fit(X) for detector in detectors]
"""

FORK = """
# A parallel operation, after which OpenMP's threads wait for the next one.
torch.ones(10**6).exp().sum()
expected = [detector.score_samples(X) for detector in fitted]

def score():
    before = torch.get_num_threads()
    found = [detector.score_samples(X) for detector in fitted]
    found.append(fitted[0].sample(3000, random_state=0))
    assert torch.get_num_threads() == before == 2
    return found

def fit():
    return [detector.fit(few).score_samples(few) for detector in detectors]

def from_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.extend(function()))
    thread.start()
    thread.join()
    return found

def in_fork(function, *args):
    ours, theirs = mp.Pipe(False)
    ctx = mp.get_context("fork")
    child = ctx.Process(target=lambda: theirs.send(function(*args)), daemon=True)
    child.start()
    theirs.close()
    assert ours.poll(60), "the forked process does not answer"
    found = ours.recv()
    child.join()
    assert child.exitcode == 0
    return found

wanted = [*expected, fitted[0].sample(3000, random_state=0)]
for found in (in_fork(score), in_fork(from_a_new_thread, score)):
    for one, other in zip(found, wanted):
        # One thread and two threads split, and so round, a sum differently.
        assert abs(one - other).max() < 1e-12 * abs(other).max()
here = fit()
for one, other in zip(in_fork(fit), here):
    assert (one == other).all()
print("done")
"""


def test_a_forked_process_fits_and_scores_after_torch_has_used_threads():
    assert run(SETTING + FORK, n_threads=2) == "done\n"


def test_a_spawned_process_fits_and_scores_as_this_process(blob):
    detectors = [AnoGANDetector(**SEARCH), OCGANDetector(**CHEAP)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for detector in detectors:
            there = pool.submit(detector.fit, blob).result(PATIENCE)
            expected = detector.fit(blob).score_samples(blob)
            found = pool.submit(detector.score_samples, blob).result(PATIENCE)
            assert np.array_equal(found, expected)
            assert np.array_equal(there.score_samples(blob), expected)


# The end of the interpreter -----------------------------------------------------

END = """
search = AnoGANDetector(n_steps=500, n_candidates=64, **cheap).fit(few)
expected = fitted[0].score_samples(few)
at_work = threading.Barrier(6)

def for_ever(function):
    function()
    at_work.wait()
    while True:
        function()

def serve():
    threading.main_thread().join()
    assert (fitted[0].score_samples(few) == expected).all()
    print("done", flush=True)

calls = [lambda detector=detector: detector.score_samples(X) for detector in fitted]
calls += [lambda: search.score_samples(few[:1]), lambda: detectors[2].fit(few)]
for call in calls:
    threading.Thread(target=for_ever, args=[call], daemon=True).start()
threading.Thread(target=serve).start()
at_work.wait()
"""


def test_the_interpreter_exits_while_daemon_threads_compute():
    # Regressions: "terminate called without an active exception" in 10 of 10 runs, and
    # "cannot schedule new futures after interpreter shutdown" if torch has two threads.
    assert run(SETTING + END, n_threads=2) == "done\n"


@pytest.mark.long
@pytest.mark.parametrize("n_threads", [1, 2])
def test_thirty_interpreters_exit_while_daemon_threads_compute(n_threads):
    for _ in range(30):
        assert run(SETTING + END, n_threads) == "done\n"


# Resources ----------------------------------------------------------------------


@pytest.mark.parametrize("name", DETECTORS)
def test_the_model_of_a_deleted_detector_is_freed(name, rows):
    fitted = clone(DETECTORS[name]).fit(rows)
    fitted.score_samples(rows)
    model = weakref.ref(fitted.model_)
    del fitted
    gc.collect()
    assert model() is None


def tensors():
    gc.collect()
    # isinstance would load lazy modules of torch that are among the objects.
    kinds = Counter(map(type, gc.get_objects()))
    return sum(n for kind, n in kinds.items() if issubclass(kind, torch.Tensor))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_fit_and_a_score_leave_no_tensor(name, rows):
    # Regression: a cycle kept the autograd graph, 2 MB per fit of images.
    clone(DETECTORS[name]).fit(rows).score_samples(rows)
    before = tensors()
    clone(DETECTORS[name]).fit(rows).score_samples(rows)
    assert tensors() == before


def left_by_rounds(rows):
    """Open files, names of threads and the number of tasks after each of six rounds."""
    rounds = []
    for _ in range(6):
        for detector in DETECTORS.values():
            fitted = clone(detector).fit(rows)
            at_once([lambda fitted=fitted: fitted.score_samples(rows)] * 2)
        files = sorted(os.listdir("/proc/self/fd"))
        threads = [thread.name for thread in threading.enumerate()]
        rounds.append((files, threads, len(os.listdir("/proc/self/task"))))
    return rounds


ROUNDS = """
import json, runpy, warnings
import numpy as np

warnings.simplefilter("ignore")
left_by_rounds = runpy.run_path({tests!r})["left_by_rounds"]
with np.load({rows!r}) as file:
    print(json.dumps([left_by_rounds(rows) for rows in file.values()]))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_fits_and_scores_leave_no_open_file_and_no_thread(blob, zeros, tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, table=blob, images=zeros[:24])
    found = json.loads(run(ROUNDS.format(tests=__file__, rows=str(path))))
    assert len(found) == 2
    for rounds in found:
        files, threads, tasks = zip(*rounds, strict=True)
        # The first round may open what stays open, such as OpenMP's threads.
        assert files[1:] == files[1:2] * 5
        assert threads[1:] == threads[1:2] * 5
        # OpenMP starts and ends threads at any time. A leak would add some a round.
        assert tasks[-1] - tasks[0] < 5


HUNDRED = """
import itertools, json
from sklearn.base import clone

def left():
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"resident": resident, "files": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "tasks": len(os.listdir("/proc/self/task"))}

images = np.random.RandomState(0).uniform(size=(100, 16, 16))
work = itertools.cycle(itertools.product((few, images), detectors))
found = []
for (rows, detector), _ in zip(work, range(100)):
    clone(detector).fit(rows).score_samples(rows)
    found.append(left())
print(json.dumps(found))
"""


@pytest.mark.long
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_memory_and_threads_do_not_grow_over_a_hundred_fits(record_property):
    after = json.loads(run(SETTING + HUNDRED))
    assert len(after) == 100
    growth = max(one["resident"] for one in after[10:]) / after[9]["resident"] - 1
    record_property("growth of resident memory", growth)
    print(f"resident memory grew by {growth:.1%} after the first ten")
    assert growth <= 0.05
    for what in ("files", "threads", "tasks"):
        assert after[99][what] <= after[9][what], what

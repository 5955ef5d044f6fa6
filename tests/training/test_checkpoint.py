"""Interrupted fits, and fits that resume from a checkpoint."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np
import pytest
import torch
from cheap import cheap, mine_from
from sklearn.model_selection import GridSearchCV

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.exceptions import CheckpointError
from skanogan.models import OCGAN, AnoGAN, FAnoGAN

BUDGET = {"max_iter": 30, "encoder_max_iter": 30}

DETECTORS = {
    "anogan": (AnoGANDetector, {}),
    "fanogan": (FAnoGANDetector, {}),
    "fanogan that ends early": (
        FAnoGANDetector,
        {
            "n_iter_no_change": 6,
            "learning_rate": 0.05,
            "gradient_penalty": 0.0,
            "encoder_learning_rate": 0.3,
        },
    ),
    "ocgan": (OCGANDetector, {}),
    "ocgan with batch normalisation": (OCGANDetector, {"normalization": "batch"}),
    "ocgan without mining": (OCGANDetector, {"n_mining_steps": 0}),
}

MODELS = {AnoGANDetector: AnoGAN, FAnoGANDetector: FAnoGAN, OCGANDetector: OCGAN}


class Interrupted(BaseException):
    """An interruption which, like KeyboardInterrupt, is not an Exception."""


@pytest.fixture
def interrupt_after(monkeypatch):
    """Interrupt a model after a number of updates, until the result is called."""

    def interrupt(detector_class, n_updates):
        kind = MODELS[detector_class]
        step, done = kind.train_step, [0]

        def broken(model, x):
            if done[0] == n_updates:
                raise Interrupted
            done[0] += 1
            return step(model, x)

        monkeypatch.setattr(kind, "train_step", broken)
        return lambda: monkeypatch.setattr(kind, "train_step", step)

    return interrupt


def history(detector):
    """The records, which are equal for equal trainings, except for the seconds."""
    return [{k: v for k, v in r.items() if k != "seconds"} for r in detector.history_]


@pytest.mark.filterwarnings("ignore:The discriminator has won")
@pytest.mark.parametrize("name", DETECTORS)
def test_the_cases_end_early_or_mine_as_their_names_say(name, blob, monkeypatch):
    mine_from(monkeypatch, update=15)
    detector_class, parameters = DETECTORS[name]
    detector = cheap(detector_class, **BUDGET, **parameters).fit(blob)
    n_updates = detector.max_iter + getattr(detector, "encoder_max_iter", 0)
    assert (detector.n_iter_ < n_updates) == ("ends early" in name)
    mines = "ocgan" in name and "without mining" not in name
    assert detector.history_[-1].get("mining", 0.0) == float(mines)


@pytest.fixture(scope="module")
def uninterrupted():
    """The fitted detectors of the next test, by their names."""
    return {}


@pytest.mark.filterwarnings("ignore:The discriminator has won")
@pytest.mark.parametrize("share", [0.02, 0.48, 0.52, 0.98])
@pytest.mark.parametrize("name", DETECTORS)
def test_a_resumed_fit_ends_as_an_uninterrupted_fit(
    name, share, blob, tmp_path, interrupt_after, monkeypatch, uninterrupted
):
    mine_from(monkeypatch, update=15)
    detector_class, parameters = DETECTORS[name]
    if name not in uninterrupted:
        fresh = cheap(detector_class, **BUDGET, **parameters)
        uninterrupted[name] = fresh.fit(blob)
    whole = uninterrupted[name]
    after = round(share * whole.n_iter_)
    records = [0, *(record["n_iter"] for record in whole.history_)]
    written = max(n_iter for n_iter in records if n_iter <= after)
    detector = cheap(
        detector_class, checkpoint=tmp_path / "fit", **BUDGET, **parameters
    )
    resume = interrupt_after(detector_class, after)
    with pytest.raises(Interrupted):
        detector.fit(blob)
    resume()
    interrupt_after(detector_class, whole.n_iter_ - written)
    detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), whole.score_samples(blob))
    assert detector.offset_ == whole.offset_
    assert history(detector) == history(whole)
    for key, value in whole.model_.state_dict().items():
        assert torch.equal(value, detector.model_.state_dict()[key]), key


def test_the_best_state_so_far_is_in_the_checkpoint(
    blob, tmp_path, interrupt_after, monkeypatch
):
    # The error rises from record to record, so that the first state is the best.
    calls = iter(range(10**9))

    def rising(model, x):
        return torch.full((len(x),), float(next(calls)))

    monkeypatch.setattr(OCGAN, "validation_error", rising)
    whole = cheap(OCGANDetector, **BUDGET).fit(blob)
    detector = cheap(OCGANDetector, checkpoint=tmp_path / "fit", **BUDGET)
    resume = interrupt_after(OCGANDetector, 20)
    with pytest.raises(Interrupted):
        detector.fit(blob)
    resume()
    detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), whole.score_samples(blob))
    monkeypatch.setattr(OCGAN, "validation_error", lambda model, x: None)
    last = cheap(OCGANDetector, **BUDGET).fit(blob)
    assert not np.array_equal(last.score_samples(blob), whole.score_samples(blob))


def test_a_fit_on_images_is_resumed(make_ocgan, zeros, tmp_path, interrupt_after):
    whole = make_ocgan(max_iter=20).fit(zeros)
    detector = make_ocgan(max_iter=20, checkpoint=str(tmp_path / "fit"))
    resume = interrupt_after(OCGANDetector, 13)
    with pytest.raises(Interrupted):
        detector.fit(zeros)
    resume()
    detector.fit(zeros)
    assert np.array_equal(detector.score_samples(zeros), whole.score_samples(zeros))


def test_at_most_a_twentieth_of_the_updates_is_repeated(
    make_detector, blob, tmp_path, interrupt_after
):
    detector = make_detector(max_iter=100, checkpoint=tmp_path / "fit")
    resume = interrupt_after(AnoGANDetector, 63)
    with pytest.raises(Interrupted):
        detector.fit(blob)
    resume()
    interrupt_after(AnoGANDetector, 40)  # 60 of 100 are in the file
    detector.fit(blob)
    assert detector.n_iter_ == 100


def test_a_fit_that_has_ended_is_not_trained_again(
    make_detector, blob, tmp_path, interrupt_after
):
    detector = make_detector(checkpoint=tmp_path / "fit")
    scores = detector.fit(blob).score_samples(blob)
    interrupt_after(AnoGANDetector, 0)
    assert np.array_equal(detector.fit(blob).score_samples(blob), scores)


def test_a_checkpoint_of_another_training_is_refused_and_left_as_it_is(
    make_detector, blob, tmp_path
):
    path = tmp_path / "fit"
    make_detector(checkpoint=path).fit(blob)
    written = path.read_bytes()
    for detector, X in (
        (make_detector(checkpoint=path), blob + 1),
        (make_detector(checkpoint=path, random_state=1), blob),
        (make_detector(checkpoint=path, max_iter=11), blob),
        (make_detector(checkpoint=path, learning_rate=0.1), blob),
        (cheap(OCGANDetector, checkpoint=path), blob),
    ):
        with pytest.raises(CheckpointError, match="belongs to another training"):
            detector.fit(X)
    assert path.read_bytes() == written


def test_a_fit_with_other_parameters_of_scoring_resumes_from_the_file(
    make_detector, blob, tmp_path, interrupt_after
):
    make_detector(checkpoint=tmp_path / "fit").fit(blob)
    interrupt_after(AnoGANDetector, 0)
    changed = {"n_steps": 3, "shrinkage": 0.2}
    detector = make_detector(checkpoint=tmp_path / "fit", **changed).fit(blob)
    assert detector.n_iter_ == 10


def test_a_folder_holds_a_checkpoint_for_each_fit_of_a_search(
    make_detector, blob, tmp_path, interrupt_after
):
    search = GridSearchCV(
        make_detector(checkpoint=tmp_path),
        {"learning_rate": [1e-3, 1e-2], "n_steps": [0, 1]},
        scoring=lambda fitted, X, y=None: fitted.score_samples(X).mean(),
        cv=2,
        refit=False,
        error_score="raise",
    )
    found = search.fit(blob).cv_results_["mean_test_score"]
    # Two folds and two learning rates. n_steps belongs to scoring.
    assert len(list(tmp_path.glob("*.checkpoint"))) == 4
    interrupt_after(AnoGANDetector, 0)
    assert np.array_equal(search.fit(blob).cv_results_["mean_test_score"], found)


def test_the_error_of_another_training_in_a_file_names_a_folder(
    make_detector, blob, tmp_path
):
    path = tmp_path / "fit"
    make_detector(checkpoint=path).fit(blob)
    with pytest.raises(CheckpointError, match="as in a search, name an existing fold"):
        make_detector(checkpoint=path).fit(blob[1:])


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_damaged_checkpoint_is_refused(damage, make_detector, blob, tmp_path):
    path = tmp_path / "fit"
    make_detector(checkpoint=path).fit(blob)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="Delete the file to start again"):
        make_detector(checkpoint=path).fit(blob)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_checkpoint_requires_a_seed(make_detector, blob, tmp_path, random_state):
    detector = make_detector(checkpoint=tmp_path / "fit", random_state=random_state)
    with pytest.raises(ValueError, match="Set random_state to an integer"):
        detector.fit(blob)
    assert not (tmp_path / "fit").exists()


def test_a_missing_folder_is_an_error_before_the_first_update(
    make_detector, blob, tmp_path, monkeypatch
):
    monkeypatch.setattr(AnoGAN, "train_step", None)
    detector = make_detector(checkpoint=tmp_path / "nowhere" / "fit")
    with pytest.raises(CheckpointError, match="in a folder that does not exist"):
        detector.fit(blob)
    assert not hasattr(detector, "model_")


def test_a_folder_that_is_deleted_meanwhile_is_an_error(
    make_detector, blob, tmp_path, monkeypatch
):
    folder = tmp_path / "folder"
    folder.mkdir()
    train_step = AnoGAN.train_step

    def and_delete(self, x):
        shutil.rmtree(folder, ignore_errors=True)
        return train_step(self, x)

    monkeypatch.setattr(AnoGAN, "train_step", and_delete)
    detector = make_detector(checkpoint=folder / "fit")
    with pytest.raises(CheckpointError, match="could not be written after update 1"):
        detector.fit(blob)
    assert not hasattr(detector, "model_")


def test_a_warm_start_resumes_from_its_own_checkpoint(
    make_detector, blob, tmp_path, interrupt_after
):
    whole = make_detector(warm_start=True).fit(blob).fit(blob)
    detector = make_detector(warm_start=True).fit(blob)
    detector.set_params(checkpoint=tmp_path / "fit")
    resume = interrupt_after(AnoGANDetector, 7)
    with pytest.raises(Interrupted):
        detector.fit(blob)
    resume()
    detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), whole.score_samples(blob))
    assert detector.n_iter_ == whole.n_iter_ == 20


FIT = """
import resource, sys
import numpy as np, torch
from skanogan import AnoGANDetector
from skanogan.models import AnoGAN
torch.set_num_threads(1)
folder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
step, updates = AnoGAN.train_step, []

def counted(model, x):
    updates.append(len(x))
    print(len(updates), flush=True)
    return step(model, x)

AnoGAN.train_step = counted
X = np.load(folder + "/rows.npy")
print("begins", flush=True)
detector = AnoGANDetector(**PARAMETERS, checkpoint=folder + "/fit")
scores = detector.fit(X).score_samples(X)
np.savez(folder + "/found.npz", scores=scores, n_updates=len(updates))
"""

PARAMETERS = {
    "hidden_layer_sizes": (32, 32),
    "latent_dim": 4,
    "n_candidates": 32,
    "max_iter": 400,
    "device": "cpu",
    "random_state": 0,
}

PATIENCE = 300
"""Seconds until a test gives up on a process, which takes a few."""


def start(folder, limit=0):
    """Fit in a process of its own, which reads its rows from the folder.

    It prints the number of each update as it begins, and writes scores and the number
    of updates to the folder.
    """
    code = FIT.replace("PARAMETERS", repr(PARAMETERS))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    return process


@pytest.mark.skipif(os.name == "nt", reason="no limit on the size of files")
def test_a_full_disk_is_an_error_and_leaves_no_partial_file(blob, tmp_path):
    np.save(tmp_path / "rows.npy", blob)
    # The operating system limits files to 10,000 bytes.
    _, errors = start(tmp_path, limit=10_000).communicate()
    assert "CheckpointError" in errors
    assert "Free some space and call fit again" in errors.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def test_if_writing_fails_the_previous_checkpoint_is_kept(
    make_detector, blob, tmp_path, monkeypatch
):
    path, writes = tmp_path / "fit", []

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) > 6:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("skanogan._persistence.files.os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        make_detector(checkpoint=path).fit(blob)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit"]
    scores = make_detector(checkpoint=path).fit(blob).score_samples(blob)
    assert np.array_equal(scores, make_detector().fit(blob).score_samples(blob))


def kill_a_fit(folder, update, seconds):
    """Kill a fit some seconds after an update begins.

    Returns
    -------
    killed : bool
        False if the fit had ended before.
    """
    for name in ("fit", "found.npz"):
        (folder / name).unlink(missing_ok=True)
    process = start(folder)
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    try:
        begun = any(int(line) == update for line in iter(process.stdout.readline, ""))
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:
        guard.cancel()
        process.kill()
        _, errors = process.communicate()
    assert begun, errors
    assert (folder / "fit").exists()
    return process.returncode == -signal.SIGKILL


def kill_and_resume(folder, n_kills, seed):
    """Kill fits at random moments after a record. Resume them in other processes.

    Returns
    -------
    n_killed, n_equal : int
        How many fits were killed, and how many of them have the scores of a fit that
        was not killed.
    n_updates : list of int
        The updates of the processes that resumed.
    """
    X = np.random.RandomState(0).normal(size=(200, 6))
    np.save(folder / "rows.npy", X)
    expected = AnoGANDetector(**PARAMETERS).fit(X).score_samples(X)
    n_killed, n_equal, n_updates = 0, 0, []
    rng = np.random.RandomState(seed)
    for _ in range(n_kills):
        # The first record is that of update 20.
        moment = rng.randint(21, PARAMETERS["max_iter"] + 1), rng.uniform(0, 0.01)
        # On a busy machine the fit can end before it is killed.
        n_killed += any(kill_a_fit(folder, *moment) for _ in range(5))
        (folder / "found.npz").unlink(missing_ok=True)
        _, errors = start(folder).communicate(timeout=PATIENCE)
        if not (folder / "found.npz").exists():
            print(errors)
            continue
        with np.load(folder / "found.npz") as found:
            n_equal += np.array_equal(found["scores"], expected)
            n_updates.append(int(found["n_updates"]))
    print(f"{n_killed} of {n_kills} killed, {n_equal} equal; updates left: {n_updates}")
    return n_killed, n_equal, n_updates


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_a_killed_fit_is_resumed_and_ends_with_the_same_scores(tmp_path):
    n_killed, n_equal, n_updates = kill_and_resume(tmp_path, n_kills=1, seed=1)
    assert (n_killed, n_equal) == (1, 1)
    assert n_updates[0] < PARAMETERS["max_iter"]


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_fifty_killed_fits_are_resumed_and_end_with_the_same_scores(tmp_path):
    n_killed, n_equal, n_updates = kill_and_resume(tmp_path, n_kills=50, seed=0)
    assert (n_killed, n_equal) == (50, 50)
    assert max(n_updates) < PARAMETERS["max_iter"]
    assert np.count_nonzero(n_updates) > 25

"""A fit that is interrupted, and one that goes on from its checkpoint."""

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

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.exceptions import CheckpointError
from skanogan.models import OCGAN, AnoGAN, FAnoGAN

CHEAP = {
    "max_iter": 30,
    "encoder_max_iter": 30,
    "n_candidates": 16,
    "hidden_layer_sizes": (8, 8),
    "latent_dim": 3,
    "device": "cpu",
    "random_state": 0,
}

DETECTORS = {
    "anogan": (AnoGANDetector, {}),
    "anogan with an encoder": (AnoGANDetector, {"start": "encoder"}),
    "fanogan": (FAnoGANDetector, {}),
    "fanogan that settles": (
        FAnoGANDetector,
        {"n_iter_no_change": 6, "learning_rate": 0.05},
    ),
    "ocgan": (OCGANDetector, {"mining_start": "auto"}),
    "ocgan with batch normalisation": (
        OCGANDetector,
        {"normalization": "batch", "mining_start": 9},
    ),
}


MODELS = {AnoGANDetector: AnoGAN, FAnoGANDetector: FAnoGAN, OCGANDetector: OCGAN}


def cheap(detector_class, **parameters):
    names = detector_class().get_params()
    wanted = {**CHEAP, **parameters}
    return detector_class(**{k: v for k, v in wanted.items() if k in names})


class Interrupted(BaseException):
    """As KeyboardInterrupt is: no Exception."""


@pytest.fixture
def interrupt_after(monkeypatch):
    """Make the updates of a detector's model stop after a number of them."""

    def interrupt(detector_class, n_updates, error=Interrupted):
        kind = MODELS[detector_class]
        step, done = kind.train_step, [0]

        def broken(model, x):
            if done[0] == n_updates:
                raise error
            done[0] += 1
            return step(model, x)

        monkeypatch.setattr(kind, "train_step", broken)
        return lambda: monkeypatch.setattr(kind, "train_step", step)

    return interrupt


def history(detector):
    return [{k: v for k, v in r.items() if k != "seconds"} for r in detector.history_]


@pytest.mark.parametrize("share", [0.02, 0.48, 0.52, 0.98])
@pytest.mark.parametrize("name", DETECTORS)
def test_an_interrupted_fit_goes_on_to_what_an_uninterrupted_one_finds(
    name, share, blob, tmp_path, interrupt_after
):
    detector_class, parameters = DETECTORS[name]
    whole = cheap(detector_class, **parameters).fit(blob)
    after = round(share * whole.n_iter_)
    records = [0, *(record["n_iter"] for record in whole.history_)]
    written = max(n_iter for n_iter in records if n_iter <= after)
    detector = cheap(detector_class, checkpoint=tmp_path / "fit", **parameters)
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


def test_the_best_state_so_far_outlives_an_interruption(
    blob, tmp_path, interrupt_after, monkeypatch
):
    # The error rises from the first record on, so that the state kept is its state.
    calls = iter(range(10**9))

    def rising(model, x):
        return torch.full((len(x),), float(next(calls)))

    monkeypatch.setattr(OCGAN, "validation_error", rising)
    whole = cheap(OCGANDetector).fit(blob)
    detector = cheap(OCGANDetector, checkpoint=tmp_path / "fit")
    resume = interrupt_after(OCGANDetector, 20)
    with pytest.raises(Interrupted):
        detector.fit(blob)
    resume()
    detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), whole.score_samples(blob))
    monkeypatch.undo()
    last = cheap(OCGANDetector).fit(blob)
    assert not np.array_equal(last.score_samples(blob), whole.score_samples(blob))


def test_images_go_on_as_tables_do(make_ocgan, zeros, tmp_path, interrupt_after):
    whole = make_ocgan(max_iter=20).fit(zeros)
    detector = make_ocgan(max_iter=20, checkpoint=str(tmp_path / "fit"))
    resume = interrupt_after(OCGANDetector, 13)
    with pytest.raises(Interrupted):
        detector.fit(zeros)
    resume()
    detector.fit(zeros)
    assert np.array_equal(detector.score_samples(zeros), whole.score_samples(zeros))


def test_no_more_than_a_twentieth_is_done_again(
    make_detector, blob, tmp_path, interrupt_after, monkeypatch
):
    detector = make_detector(max_iter=100, checkpoint=tmp_path / "fit")
    resume = interrupt_after(AnoGANDetector, 63)
    with pytest.raises(Interrupted):
        detector.fit(blob)
    resume()
    still = interrupt_after(AnoGANDetector, 40)  # 60 of 100 are in the file
    detector.fit(blob)
    still()
    assert detector.n_iter_ == 100


def test_a_fit_that_was_finished_trains_nothing(
    make_detector, blob, tmp_path, interrupt_after
):
    detector = make_detector(checkpoint=tmp_path / "fit")
    scores = detector.fit(blob).score_samples(blob)
    interrupt_after(AnoGANDetector, 0)
    assert np.array_equal(detector.fit(blob).score_samples(blob), scores)


def test_ctrl_c_leaves_a_detector_as_it_was(make_detector, blob, interrupt_after):
    fresh, fitted = make_detector(), make_detector().fit(blob)
    before, scores = dict(vars(fresh)), fitted.score_samples(blob)
    interrupt_after(AnoGANDetector, 5, KeyboardInterrupt)
    for detector in (fresh, fitted):
        with pytest.raises(KeyboardInterrupt):
            detector.fit(blob)
    assert vars(fresh) == before
    assert np.array_equal(fitted.score_samples(blob), scores)


def test_the_file_of_another_training_is_an_error_and_stays(
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
        with pytest.raises(CheckpointError, match="is of another training"):
            detector.fit(X)
    assert path.read_bytes() == written


def test_parameters_of_scoring_go_on_from_the_same_file(
    make_detector, blob, tmp_path, interrupt_after
):
    make_detector(checkpoint=tmp_path / "fit").fit(blob)
    interrupt_after(AnoGANDetector, 0)
    changed = {"n_steps": 3, "contamination": 0.2}
    detector = make_detector(checkpoint=tmp_path / "fit", **changed).fit(blob)
    assert detector.n_iter_ == 10


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "folder"])
def test_a_file_that_cannot_be_gone_on_from_is_an_error(
    damage, make_detector, blob, tmp_path
):
    path = tmp_path / "fit"
    make_detector(checkpoint=path).fit(blob)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "other":
        path.write_bytes(b"not a checkpoint")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(CheckpointError, match="Remove it to begin anew"):
        make_detector(checkpoint=path).fit(blob)


def test_a_seed_is_needed(make_detector, blob, tmp_path):
    detector = make_detector(checkpoint=tmp_path / "fit", random_state=None)
    with pytest.raises(ValueError, match="Set random_state to an integer"):
        detector.fit(blob)
    assert not (tmp_path / "fit").exists()


def test_a_folder_that_is_missing_is_told_before_any_update(
    make_detector, blob, tmp_path, monkeypatch
):
    monkeypatch.setattr(AnoGAN, "train_step", None)
    detector = make_detector(checkpoint=tmp_path / "nowhere" / "fit")
    with pytest.raises(CheckpointError, match="in a folder that is not there"):
        detector.fit(blob)
    assert not hasattr(detector, "model_")


def test_a_folder_that_goes_away_is_told(make_detector, blob, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    train_step = AnoGAN.train_step

    def and_remove(self, x):
        shutil.rmtree(folder, ignore_errors=True)
        return train_step(self, x)

    monkeypatch.setattr(AnoGAN, "train_step", and_remove)
    detector = make_detector(checkpoint=folder / "fit")
    with pytest.raises(CheckpointError, match="could not be written after update 1"):
        detector.fit(blob)
    assert not hasattr(detector, "model_")


def test_a_warm_start_goes_on_from_its_own_checkpoint(
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
"""Seconds for a process of a few, so that a deadlock ends a test."""


def start(folder, limit=0):
    """Fit in a process of its own; what it learned from and found is in the folder."""
    code = FIT.replace("PARAMETERS", repr(PARAMETERS))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    return process


@pytest.mark.skipif(os.name == "nt", reason="no limits of files")
def test_a_full_disk_is_an_error_and_leaves_no_half_a_file(blob, tmp_path):
    np.save(tmp_path / "rows.npy", blob)
    # The operating system lets no file grow beyond 10,000 bytes.
    _, said = start(tmp_path, limit=10_000).communicate()
    assert "CheckpointError" in said
    assert "make room, and fit again" in said
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
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
    """Kill a fit these seconds after an update begins; whether it was at work."""
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
        _, said = process.communicate()
    assert begun, said
    assert (folder / "fit").exists()
    return process.returncode == -signal.SIGKILL


def kill_and_resume(folder, n_kills, seed):
    """Kill fits at random moments after a record, and fit again in other processes.

    Returns
    -------
    n_killed, n_equal : int
        Fits that were killed, and those with the scores of one that was not.
    n_updates : list of int
        Those that the second processes did, where they came to an end.
    """
    X = np.random.RandomState(0).normal(size=(200, 6))
    np.save(folder / "rows.npy", X)
    expected = AnoGANDetector(**PARAMETERS).fit(X).score_samples(X)
    n_killed, n_equal, n_updates = 0, 0, []
    rng = np.random.RandomState(seed)
    for _ in range(n_kills):
        # The first record is that of update 20.
        moment = rng.randint(21, PARAMETERS["max_iter"] + 1), rng.uniform(0, 0.01)
        # On a busy machine the kill may come when the fit has ended.
        n_killed += any(kill_a_fit(folder, *moment) for _ in range(5))
        (folder / "found.npz").unlink(missing_ok=True)
        _, said = start(folder).communicate(timeout=PATIENCE)
        if not (folder / "found.npz").exists():
            print(said)
            continue
        with np.load(folder / "found.npz") as found:
            n_equal += np.array_equal(found["scores"], expected)
            n_updates.append(int(found["n_updates"]))
    print(f"{n_killed} of {n_kills} killed, {n_equal} equal; updates left: {n_updates}")
    return n_killed, n_equal, n_updates


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_a_fit_that_was_killed_goes_on_to_the_same_scores(tmp_path):
    n_killed, n_equal, n_updates = kill_and_resume(tmp_path, n_kills=1, seed=1)
    assert (n_killed, n_equal) == (1, 1)
    assert n_updates[0] < PARAMETERS["max_iter"]


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_fifty_fits_that_were_killed_go_on_to_the_same_scores(tmp_path):
    n_killed, n_equal, n_updates = kill_and_resume(tmp_path, n_kills=50, seed=0)
    assert (n_killed, n_equal) == (50, 50)
    assert max(n_updates) < PARAMETERS["max_iter"]
    assert np.count_nonzero(n_updates) > 25

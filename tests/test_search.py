"""A parallel search finds what a serial one finds, with no more threads than cores."""

import joblib
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skanogan._training.run
import skanogan.detectors._base
from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._runtime.threads import threads_beside_others
from skanogan.metrics import outlier_f1_scorer, outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyKFold

SCORERS = {
    "auroc": outlier_roc_auc_scorer,
    "f1": outlier_f1_scorer,
    # Not a measure of anything, but one that no bit of a score escapes.
    "values": make_scorer(mean_squared_error, response_method="decision_function"),
}


@pytest.fixture
def four():
    """A process that gives torch four threads, whatever the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def unlimited(monkeypatch):
    """No limit on threads for worker processes to inherit."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def table():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20))
    X[-20:] += 5
    return X, np.repeat([1, -1], [280, 20])


def digits():
    images, targets = load_digits(return_X_y=True)
    rows = np.flatnonzero(targets <= 1)[:200]
    images = images.reshape(-1, 8, 8)[rows]
    return images, np.where(targets[rows] == 0, 1, -1)


def search(detector, grid):
    return GridSearchCV(
        detector,
        grid,
        scoring=SCORERS,
        cv=NoveltyKFold(2),
        refit=False,
        error_score="raise",
    )


# Networks of the default size: smaller ones are the same on any number of threads.
CHEAP = {"max_iter": 6, "random_state": 0, "device": "cpu"}
SEARCHES = {
    "AnoGAN, table": (
        table,
        search(
            make_pipeline(StandardScaler(), AnoGANDetector(n_candidates=256, **CHEAP)),
            [
                {"anogandetector__learning_rate": [1e-3]},
                {"anogandetector__n_steps": [2]},
            ],
        ),
    ),
    "OCGAN, digits": (
        digits,
        search(OCGANDetector(n_mining_steps=0, **CHEAP), {"latent_dim": [4, 8]}),
    ),
    "f-AnoGAN, digits": (
        digits,
        search(
            FAnoGANDetector(encoder_max_iter=3, **CHEAP),
            {"anomaly_score": ["whitened", "f_anogan"]},
        ),
    ),
}


def found(search):
    """The scores of a search, by name."""
    results = search.cv_results_
    return {k: v for k, v in results.items() if k.startswith("split") and "test" in k}


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("name", SEARCHES)
def test_two_jobs_find_what_one_finds_to_the_bit(name):
    data, search = SEARCHES[name]
    X, y = data()
    one = found(search.fit(X, y))
    assert len(one) == 2 * len(SCORERS)
    # Two threads for each of joblib's processes, other than the four here.
    for backend, limit in (("loky", {"inner_max_num_threads": 2}), ("threading", {})):
        with joblib.parallel_config(backend, n_jobs=2, **limit):
            two = found(search.fit(X, y))
        for name, scores in one.items():
            assert np.array_equal(two[name], scores)


# Threads ------------------------------------------------------------------------


@pytest.fixture
def threads_taken(monkeypatch):
    """Of torch, by each training and each scoring of this process."""
    taken = {"training": [], "scoring": []}
    train, score = skanogan._training.run.train, skanogan.models.AnoGAN.score

    def training(*args, **kwargs):
        taken["training"].append(torch.get_num_threads())
        return train(*args, **kwargs)

    def scoring(self, x):
        taken["scoring"].append(torch.get_num_threads())
        return score(self, x)

    monkeypatch.setattr(skanogan._training.run, "train", training)
    monkeypatch.setattr(skanogan.models.AnoGAN, "score", scoring)
    return taken


def fit_and_score(make_detector, X):
    make_detector(max_iter=2).fit(X).score_samples(X)
    return torch.get_num_threads()


@pytest.mark.usefixtures("four")
def test_a_small_training_takes_one_thread(threads_taken, make_detector, blob, zeros):
    for X in (blob, zeros):
        fit_and_score(make_detector, X)
    assert threads_taken["training"] == [1, 1]
    # By the scale and the calibration in fit, and by score_samples.
    assert threads_taken["scoring"] == [1, 1, 1, 1, 1, 1]


@pytest.mark.usefixtures("four")
def test_many_rows_of_a_table_are_scored_by_the_threads_there_are(
    threads_taken, make_detector, blob
):
    make_detector().fit(blob).score_samples(np.tile(blob, (20, 1)))
    assert threads_taken["scoring"] == [1, 1, 4]


@pytest.mark.usefixtures("four")
def test_a_large_training_takes_the_threads_there_are(
    threads_taken, make_detector, blob
):
    fit_and_score(make_detector, np.zeros((20, 16, 16)) + np.arange(16))
    assert threads_taken["training"] == [4]
    make_detector(max_iter=1, hidden_layer_sizes=(1024, 1024)).fit(blob)
    assert threads_taken["training"] == [4, 4]


@pytest.mark.usefixtures("four")
def test_threads_of_joblib_take_one_thread_each(threads_taken, make_detector):
    images = np.zeros((20, 16, 16)) + np.arange(16)
    after = Parallel(n_jobs=2, backend="threading")(
        delayed(fit_and_score)(make_detector, images) for _ in range(4)
    )
    assert set(threads_taken["training"]) == {1}
    assert set(threads_taken["scoring"]) == {1}
    assert after == [4] * 4


@pytest.mark.usefixtures("four")
def test_one_job_takes_the_threads_there_are(threads_taken, make_detector):
    images = np.zeros((20, 16, 16)) + np.arange(16)
    with joblib.parallel_config("threading", n_jobs=1):
        Parallel()([delayed(fit_and_score)(make_detector, images)])
    assert threads_taken["training"] == [4]


@pytest.mark.usefixtures("four")
def test_a_failed_fit_gives_its_threads_back(monkeypatch, make_detector, blob):
    monkeypatch.setattr(skanogan.detectors._base, "threshold", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_detector().fit(blob)
    assert torch.get_num_threads() == 4


def test_processes_of_joblib_are_not_held_a_second_time():
    # In those of the searches above: two threads each, where there are two cores.
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=2):
        may, has = Parallel()(
            [delayed(threads_beside_others)(), delayed(torch.get_num_threads)()]
        )
    assert may == has


@pytest.mark.usefixtures("unlimited")
def test_processes_of_joblib_share_the_cores():
    counts = Parallel(n_jobs=2, backend="loky")(
        delayed(threads_beside_others)() for _ in range(4)
    )
    assert set(counts) == {max(1, joblib.cpu_count() // 2)}

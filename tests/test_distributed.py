import asyncio
import gc
import importlib
import os
import sys
import warnings
from types import SimpleNamespace
from unittest import mock

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skanogan import AnoGANDetector
from skanogan.metrics import outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyKFold

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

from skanogan import distributed as ours  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread, on a network that is worth avoiding.

    Dask moves a block when it reckons that this pays. With scores for nothing and a
    kilobyte a second it never does, unless a graph leaves it no choice.
    """
    costs = {
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.bandwidth": "1 kB",
        "distributed.scheduler.default-task-durations": {"_score_block": "1 ms"},
    }
    with (
        # Dask sets variables for its workers in this process, and leaves them there.
        mock.patch.dict(os.environ),
        dask.config.set(costs),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def fitted(make_detector, blob):
    return make_detector().fit(blob)


@pytest.fixture
def blocks(blob):
    """The rows of the blob in five blocks, of 20, 20, 20, 19 and 1."""
    return da.from_array(blob, chunks=((20, 20, 20, 19, 1), 5))


@pytest.fixture
def scored(monkeypatch):
    """Lengths of what this process has scored."""
    lengths = []
    real = AnoGANDetector._score_values

    def counting(self, values, indices=None):
        lengths.append(len(values))
        return real(self, values, indices)

    monkeypatch.setattr(AnoGANDetector, "_score_values", counting)
    return lengths


@pytest.fixture
def pickled(monkeypatch):
    """Each time that a fitted detector leaves this process."""
    times = []
    real = AnoGANDetector.__getstate__

    def counting(self):
        if hasattr(self, "model_"):
            times.append(self)
        return real(self)

    monkeypatch.setattr(AnoGANDetector, "__getstate__", counting)
    return times


def other_detector(score):
    """A fitted detector of somebody else.

    Its class is made here so that it travels along: workers cannot import this file.
    """

    class Other(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def score_samples(self, X):
            return score(X)

    return Other()


def keys_of(array):
    return set(dask.core.flatten(array.__dask_keys__()))


def places(client, array):
    """The workers that hold each block, in order."""
    where = client.who_has(array)
    return [set(where[key]) for key in dask.core.flatten(array.__dask_keys__())]


def sent_by_workers(client):
    """Keys of all that went from a worker to another or to the client."""
    logs = client.run(lambda dask_worker: list(dask_worker.transfer_outgoing_log))
    return {key for log in logs.values() for sent in log for key in sent["keys"]}


# The same scores --------------------------------------------------------------


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_each_method_gives_what_the_detector_gives(
    client, fitted, blob, blocks, method
):
    lazy = getattr(ours, method)(fitted, blocks)
    expected = getattr(fitted, method)(blob)
    assert (lazy.shape, lazy.chunks) == ((80,), ((20, 20, 20, 19, 1),))
    assert lazy.dtype == (np.int64 if method == "predict" else np.float64)
    computed = lazy.compute()
    assert computed.dtype == lazy.dtype
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-12)


def test_without_a_cluster_local_threads_give_the_same(fitted, blob, blocks):
    lazy = ours.score_samples(fitted, blocks)
    computed = lazy.compute(scheduler="threads", num_workers=4)
    np.testing.assert_allclose(computed, fitted.score_samples(blob), rtol=1e-12)


def test_local_threads_can_be_chosen_beside_a_cluster(client, fitted, blocks, scored):
    with dask.config.set(scheduler="threads"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Dask, that this may surprise
        ours.score_samples(fitted, blocks).compute()
    assert sorted(scored) == [1, 19, 20, 20, 20]


def test_images_are_scored_as_they_are_also_uint8(client, make_detector, zeros):
    images = zeros.astype(np.uint8)
    detector = make_detector().fit(images)
    lazy = ours.score_samples(detector, da.from_array(images, chunks=(30, 8, 8)))
    expected = detector.score_samples(images)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-5)
    flat = da.from_array(images.reshape(-1, 64), chunks=(50, 64))
    with_channel = da.from_array(images[..., None], chunks=(50, 8, 8, 1))
    for other in (flat, with_channel):
        same = ours.score_samples(detector, other).compute()
        np.testing.assert_allclose(same, expected, rtol=1e-5)


def test_a_block_keeps_its_dtype():
    detector = other_detector(lambda X: np.full(len(X), X.dtype == np.uint8))
    images = da.zeros((4, 8, 8), dtype=np.uint8, chunks=(2, 8, 8))
    assert ours.score_samples(detector, images).compute().all()


def test_columns_in_several_blocks_are_merged(fitted, blob):
    lazy = ours.score_samples(fitted, da.from_array(blob, chunks=(30, 2)))
    assert lazy.chunks == ((30, 30, 20),)
    np.testing.assert_allclose(
        lazy.compute(), fitted.score_samples(blob), rtol=1e-12, atol=1e-12
    )


def test_pixels_in_several_blocks_are_merged(make_detector, zeros):
    detector = make_detector().fit(zeros)
    lazy = ours.score_samples(detector, da.from_array(zeros, chunks=(40, 3, 5)))
    assert lazy.chunks == ((40, 40, 20),)
    np.testing.assert_allclose(lazy.compute(), detector.score_samples(zeros), rtol=1e-5)


@pytest.mark.parametrize("columns", [5, 2])
def test_blocks_of_unknown_length_are_scored_also_empty_ones(
    client, fitted, blob, columns
):
    kept = np.arange(80) % 40 < 20  # of blocks of 20 rows every second one is empty
    rows = da.from_array(blob, chunks=(20, columns))
    some = rows[da.from_array(kept, chunks=20)]
    lazy = ours.score_samples(fitted, some)
    assert np.isnan(lazy.shape[0])
    assert lazy.numblocks == (4,)
    expected = fitted.score_samples(blob[kept])
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_no_rows_at_all_give_no_scores(fitted, blocks, method):
    nothing = getattr(ours, method)(fitted, blocks[blocks[:, 0] > np.inf])
    computed = nothing.compute()
    assert computed.shape == (0,)
    assert computed.dtype == nothing.dtype


@pytest.mark.parametrize("columns", [5, 2])
def test_unknown_columns_are_left_to_the_workers(fitted, blob, columns):
    rows = da.from_array(blob, chunks=(20, columns))
    all_columns = rows[:, da.ones(5, dtype=bool, chunks=columns)]
    assert np.isnan(all_columns.shape[1])
    np.testing.assert_allclose(
        ours.score_samples(fitted, all_columns).compute(),
        fitted.score_samples(blob),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "other",
    [
        IsolationForest(n_estimators=5, random_state=0),
        LocalOutlierFactor(n_neighbors=5, novelty=True),
        make_pipeline(StandardScaler(), IsolationForest(n_estimators=5)),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_any_detector_with_the_methods_will_do(other, blob, blocks):
    other.fit(blob)
    for method in ("score_samples", "decision_function", "predict"):
        np.testing.assert_allclose(
            getattr(ours, method)(other, blocks).compute(),
            getattr(other, method)(blob),
            rtol=1e-12,
        )


# What happens where -----------------------------------------------------------


def test_nothing_is_computed_before_it_is_asked_for(fitted, blob, scored):
    read = []

    def reading(block):
        read.append(len(block))
        return block

    blocks = da.from_array(blob, chunks=(20, 5))
    blocks = blocks.map_blocks(reading, meta=np.empty((0, 5)))
    lazy = [
        f(fitted, blocks)
        for f in (ours.score_samples, ours.decision_function, ours.predict)
    ]
    assert (read, scored) == ([], [])
    lazy[0].compute()
    assert (read, scored) == ([20] * 4, [20] * 4)


def test_the_client_scores_nothing(client, fitted, blocks, scored):
    ours.score_samples(fitted, blocks).compute()
    assert scored == []


def test_a_detector_leaves_the_client_once_for_a_graph_of_many_blocks(
    client, fitted, blob, pickled
):
    many = da.from_array(blob, chunks=(2, 5))
    lazy = ours.score_samples(fitted, many)
    assert len(pickled) == 1
    lazy.compute()
    lazy.mean().compute()
    assert len(pickled) == 1


def test_the_graph_holds_a_place_and_no_detector(client, fitted, blocks):
    graph = ours.score_samples(fitted, blocks).__dask_graph__()
    assert b"AnoGAN" not in b"".join(
        distributed.protocol.pickle.dumps(task)
        for task in dict(graph).values()
        if not isinstance(task, distributed.Future)
    )


def test_all_workers_hold_the_detector(client, fitted, blocks):
    lazy = ours.score_samples(fitted, blocks)
    [future] = distributed.futures_of(lazy)
    assert len(client.who_has(future)[future.key]) == 2


def test_the_detector_leaves_the_cluster_with_the_scores(client, fitted, blocks):
    lazy = ours.score_samples(fitted, blocks)
    [future] = distributed.futures_of(lazy)
    key = future.key
    lazy.compute()
    assert key in client.futures
    del lazy, future
    gc.collect()
    client.sync(asyncio.sleep, 0)  # a release waits for its turn in the client's loop
    assert key not in client.futures


def test_blocks_in_the_memory_of_workers_are_scored_there(client, fitted, blob):
    parts = [
        da.from_delayed(future, (10, 5), float)
        for worker in client.nthreads()
        for future in client.scatter(
            list(blob.reshape(8, 10, 5)), workers=[worker], hash=False
        )
    ]
    held = da.concatenate(parts).persist()
    distributed.wait(held)
    before = places(client, held)
    assert len(set(map(frozenset, before))) == 2
    scores = ours.score_samples(fitted, held).persist()
    distributed.wait(scores)
    assert places(client, scores) == before
    assert scores.compute().shape == (160,)
    assert not keys_of(held) & sent_by_workers(client)
    seen = distributed.futures_of(held)[0]
    seen.result()
    assert seen.key in sent_by_workers(client)


def test_a_worker_says_what_is_wrong_with_a_row_in_the_words_of_the_detector(
    client, fitted, blob
):
    blob[70, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        ours.score_samples(fitted, da.from_array(blob, chunks=(20, 5))).compute()


@pytest.mark.parametrize(
    "unusable",
    [
        SimpleNamespace(asynchronous=True),
        SimpleNamespace(asynchronous=False, nthreads=dict),
    ],
    ids=["asynchronous", "without workers"],
)
def test_a_client_that_can_take_no_detector_now_gets_it_with_the_graph(
    monkeypatch, fitted, blob, blocks, unusable
):
    monkeypatch.setattr(ours, "get_client", lambda: unusable)
    lazy = ours.score_samples(fitted, blocks)
    np.testing.assert_allclose(
        lazy.compute(scheduler="threads"),
        fitted.score_samples(blob),
        rtol=1e-12,
        atol=1e-12,
    )


# Threads ----------------------------------------------------------------------


def thread_counter():
    return other_detector(lambda X: np.full(len(X), torch.get_num_threads()))


@pytest.fixture
def greedy(client):
    """The share of a worker; each wants three threads more than that."""
    share = max(1, dask.system.CPU_COUNT // 2)

    def everywhere(n):
        for worker in client.nthreads():
            client.submit(
                torch.set_num_threads, n, workers=[worker], pure=False
            ).result()

    everywhere(share + 3)
    yield share
    everywhere(1)


def test_blocks_hold_torch_to_the_share_of_their_worker(client, greedy, blocks):
    counts = ours.score_samples(thread_counter(), blocks).compute()
    assert set(counts) == {greedy}


def test_workers_have_their_threads_back_afterwards(client, greedy, blocks):
    ours.score_samples(thread_counter(), blocks).compute()
    after = [
        client.submit(torch.get_num_threads, workers=[w], pure=False).result()
        for w in client.nthreads()
    ]
    assert after == [greedy + 3] * 2


def test_a_worker_that_was_not_counted_reckons_with_its_own_threads(
    client, greedy, blocks, monkeypatch
):
    monkeypatch.setattr(ours, "get_address_host", lambda address: "elsewhere")
    counts = ours.score_samples(thread_counter(), blocks).compute()
    assert set(counts) == {min(dask.system.CPU_COUNT, greedy + 3)}


@pytest.mark.parametrize("num_workers", [None, 1])
def test_local_schedulers_share_the_cores_as_well(num_workers, blocks):
    cores = dask.system.CPU_COUNT
    before = torch.get_num_threads()
    torch.set_num_threads(cores + 3)
    try:
        lazy = ours.score_samples(thread_counter(), blocks)
        with dask.config.set(scheduler="threads", num_workers=num_workers):
            counts = lazy.compute()
        assert set(counts) == {cores // (num_workers or cores)}
    finally:
        torch.set_num_threads(before)


# Refusals, at once ------------------------------------------------------------


@pytest.mark.parametrize("detector", [AnoGANDetector(), IsolationForest()])
def test_an_unfitted_detector_is_refused_at_once(detector, blocks):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        ours.score_samples(detector, blocks)


def test_a_detector_without_the_method_is_refused_at_once(blob, blocks):
    with pytest.raises(AttributeError, match="no attribute 'score_samples'"):
        ours.score_samples(LocalOutlierFactor(n_neighbors=5).fit(blob), blocks)


def test_an_array_that_is_not_of_dask_is_told_what_to_call(fitted, blob):
    expected = (
        r"X is a numpy\.ndarray; a dask\.array\.Array was expected\. "
        r"Call detector\.predict\(X\) for rows in memory"
    )
    with pytest.raises(TypeError, match=expected):
        ours.predict(fitted, blob)


def test_a_wrong_width_is_refused_at_once_in_the_words_of_the_detector(
    fitted, blob, blocks
):
    message = "X has 4 features, but {} is expecting 5 features"
    with pytest.raises(ValueError, match=message.format("AnoGANDetector")):
        ours.score_samples(fitted, blocks[:, :4])
    with pytest.raises(ValueError, match=message.format("IsolationForest")):
        ours.score_samples(IsolationForest().fit(blob), blocks[:, :4])


def test_images_of_a_wrong_shape_are_refused_at_once(make_detector, zeros):
    detector = make_detector().fit(zeros)
    with pytest.raises(ValueError, match=r"X holds images of shape \(8, 4\)"):
        ours.predict(detector, da.from_array(zeros[:, :, :4], chunks=(50, 8, 4)))


def test_rows_without_features_are_refused_at_once(fitted, blocks):
    with pytest.raises(ValueError, match=r"X has shape \(80,\); \(n_samples"):
        ours.score_samples(fitted, blocks[:, 0])


@pytest.mark.parametrize("missing", ["dask", "distributed"])
def test_without_dask_the_module_names_what_to_install(monkeypatch, missing):
    for module in list(sys.modules):
        if module == "skanogan.distributed" or module.split(".")[0] == missing:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "skanogan\[distributed\]"'):
        importlib.import_module("skanogan.distributed")


# Grid search ------------------------------------------------------------------


def test_a_grid_search_on_the_cluster_finds_what_one_process_finds_to_the_bit(
    client, make_detector, blob, scored
):
    X = np.concatenate([blob, blob[:20] + 3 * blob.std(0)])
    y = np.repeat([1, -1], [80, 20])

    def search():
        return GridSearchCV(
            # Networks of the default size: other counts of threads would show.
            make_detector(max_iter=5, hidden_layer_sizes=(256, 256)),
            [{"learning_rate": [1e-3]}, {"anomaly_score": ["residual"]}],
            scoring={
                "auroc": outlier_roc_auc_scorer,
                # Not a measure of anything, but one that no bit of a score escapes.
                "values": make_scorer(
                    mean_squared_error, response_method="decision_function"
                ),
            },
            cv=NoveltyKFold(2),
            refit=False,
            error_score="raise",
        )

    with joblib.parallel_config("dask"):
        there = search().fit(X, y)
    assert scored == []
    here = search().fit(X, y)
    for fold in ("split0_test", "split1_test"):
        for name in ("auroc", "values"):
            np.testing.assert_array_equal(
                there.cv_results_[f"{fold}_{name}"], here.cv_results_[f"{fold}_{name}"]
            )

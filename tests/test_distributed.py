"""Scores of Dask arrays, and grid searches on a Dask cluster."""

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
    """Two worker processes of one thread, on a network that Dask takes for slow.

    Dask moves a block if it estimates that this saves time. With scores of 1 ms and a
    bandwidth of 1 kB/s it moves none, unless the graph requires it.
    """
    costs = {
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.bandwidth": "1 kB",
        "distributed.scheduler.default-task-durations": {"_score_block": "1 ms"},
    }
    with (
        # Dask sets variables for its workers in this process and does not remove them.
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
    """The numbers of rows that this process has scored."""
    lengths = []
    score = AnoGANDetector._scores

    def counting(self, values, indices=None):
        lengths.append(len(values))
        return score(self, values, indices)

    monkeypatch.setattr(AnoGANDetector, "_scores", counting)
    return lengths


@pytest.fixture
def pickled(monkeypatch):
    """One entry for each time that a fitted detector is pickled."""
    detectors = []
    get_state = AnoGANDetector.__getstate__

    def counting(self):
        if hasattr(self, "model_"):
            detectors.append(self)
        return get_state(self)

    monkeypatch.setattr(AnoGANDetector, "__getstate__", counting)
    return detectors


def other_detector(score):
    """Make a fitted detector of a class that workers can unpickle.

    Workers cannot import this file, so the class is local and pickled with it.
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
    """The workers that hold each block, in the order of the blocks."""
    where = client.who_has(array)
    return [set(where[key]) for key in dask.core.flatten(array.__dask_keys__())]


def sent_by_workers(client):
    """Keys of everything that a worker sent to another worker or to the client."""
    logs = client.run(lambda dask_worker: list(dask_worker.transfer_outgoing_log))
    return {key for log in logs.values() for sent in log for key in sent["keys"]}


# Results ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_each_function_equals_the_method_of_the_detector(
    client, fitted, blob, blocks, method
):
    lazy = getattr(ours, method)(fitted, blocks)
    expected = getattr(fitted, method)(blob)
    assert (lazy.shape, lazy.chunks) == ((80,), ((20, 20, 20, 19, 1),))
    assert lazy.dtype == (np.int64 if method == "predict" else np.float64)
    computed = lazy.compute()
    assert computed.dtype == lazy.dtype
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-12)


def test_local_threads_give_the_scores_of_the_detector(fitted, blob, blocks):
    lazy = ours.score_samples(fitted, blocks)
    computed = lazy.compute(scheduler="threads", num_workers=4)
    np.testing.assert_allclose(computed, fitted.score_samples(blob), rtol=1e-12)


def test_local_threads_can_be_chosen_although_there_is_a_cluster(
    client, fitted, blocks, scored
):
    with dask.config.set(scheduler="threads"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Dask warns of this choice
        ours.score_samples(fitted, blocks).compute()
    assert sorted(scored) == [1, 19, 20, 20, 20]


def test_images_of_uint8_are_scored_in_every_accepted_shape(
    client, make_detector, zeros
):
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
def test_blocks_of_unknown_length_and_empty_blocks_are_scored(
    client, fitted, blob, columns
):
    kept = np.arange(80) % 40 < 20  # every second block of 20 rows becomes empty
    rows = da.from_array(blob, chunks=(20, columns))
    some = rows[da.from_array(kept, chunks=20)]
    lazy = ours.score_samples(fitted, some)
    assert np.isnan(lazy.shape[0])
    assert lazy.numblocks == (4,)
    expected = fitted.score_samples(blob[kept])
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_an_array_without_rows_has_no_scores(fitted, blocks, method):
    nothing = getattr(ours, method)(fitted, blocks[blocks[:, 0] > np.inf])
    computed = nothing.compute()
    assert computed.shape == (0,)
    assert computed.dtype == nothing.dtype


@pytest.mark.parametrize("columns", [5, 2])
def test_rows_with_an_unknown_number_of_columns_are_scored(fitted, blob, columns):
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
def test_detectors_of_scikit_learn_are_accepted(other, blob, blocks):
    other.fit(blob)
    for method in ("score_samples", "decision_function", "predict"):
        np.testing.assert_allclose(
            getattr(ours, method)(other, blocks).compute(),
            getattr(other, method)(blob),
            rtol=1e-12,
        )


# The cluster ------------------------------------------------------------------


def test_nothing_is_computed_before_compute_is_called(fitted, blob, scored):
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


def test_a_detector_is_pickled_once_for_many_blocks(client, fitted, blob, pickled):
    many = da.from_array(blob, chunks=(2, 5))
    lazy = ours.score_samples(fitted, many)
    assert len(pickled) == 1
    lazy.compute()
    lazy.mean().compute()
    assert len(pickled) == 1


def test_the_graph_refers_to_the_detector_and_does_not_contain_it(
    client, fitted, blocks
):
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


def test_the_detector_is_released_with_the_scores(client, fitted, blocks):
    lazy = ours.score_samples(fitted, blocks)
    [future] = distributed.futures_of(lazy)
    key = future.key
    lazy.compute()
    assert key in client.futures
    del lazy, future
    gc.collect()
    client.sync(asyncio.sleep, 0)  # the client's event loop does the release
    assert key not in client.futures


def test_persisted_blocks_are_scored_on_the_workers_that_hold_them(
    client, fitted, blob
):
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


def test_an_invalid_value_raises_the_error_of_the_detector(client, fitted, blob):
    blob[70, 2] = np.nan
    with pytest.raises(ValueError, match="holds NaN"):
        ours.score_samples(fitted, da.from_array(blob, chunks=(20, 5))).compute()


@pytest.mark.parametrize(
    "unusable",
    [
        SimpleNamespace(asynchronous=True),
        SimpleNamespace(asynchronous=False, nthreads=dict),
    ],
    ids=["asynchronous", "without workers"],
)
def test_without_a_usable_client_the_graph_contains_the_detector(
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
    """Let each worker use three threads more than its share, which is returned."""
    share = max(1, dask.system.CPU_COUNT // 2)

    def everywhere(n):
        for worker in client.nthreads():
            client.submit(
                torch.set_num_threads, n, workers=[worker], pure=False
            ).result()

    everywhere(share + 3)
    yield share
    everywhere(1)


def test_torch_is_limited_to_the_share_of_the_worker(client, greedy, blocks):
    counts = ours.score_samples(thread_counter(), blocks).compute()
    assert set(counts) == {greedy}


def test_the_threads_of_workers_are_restored_after_scoring(client, greedy, blocks):
    ours.score_samples(thread_counter(), blocks).compute()
    after = [
        client.submit(torch.get_num_threads, workers=[w], pure=False).result()
        for w in client.nthreads()
    ]
    assert after == [greedy + 3] * 2


def test_a_worker_that_joined_later_counts_its_own_threads(
    client, greedy, blocks, monkeypatch
):
    monkeypatch.setattr(ours, "get_address_host", lambda address: "elsewhere")
    counts = ours.score_samples(thread_counter(), blocks).compute()
    assert set(counts) == {min(dask.system.CPU_COUNT, greedy + 3)}


@pytest.mark.parametrize("num_workers", [None, 1])
def test_local_schedulers_share_the_cores(num_workers, blocks):
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


# Errors before anything is computed -------------------------------------------


@pytest.mark.parametrize("detector", [AnoGANDetector(), IsolationForest()])
def test_an_unfitted_detector_is_refused(detector, blocks):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        ours.score_samples(detector, blocks)


def test_a_detector_without_the_method_is_refused(blob, blocks):
    with pytest.raises(AttributeError, match="no attribute 'score_samples'"):
        ours.score_samples(LocalOutlierFactor(n_neighbors=5).fit(blob), blocks)


def test_the_error_for_a_numpy_array_says_what_to_call(fitted, blob):
    expected = (
        r"X is a numpy\.ndarray, not a dask\.array\.Array\. "
        r"Call detector\.predict\(X\) for rows in memory"
    )
    with pytest.raises(TypeError, match=expected):
        ours.predict(fitted, blob)


def test_a_wrong_number_of_features_raises_the_error_of_the_detector(
    fitted, blob, blocks
):
    message = "X has 4 features, but {} is expecting 5 features"
    with pytest.raises(ValueError, match=message.format("AnoGANDetector")):
        ours.score_samples(fitted, blocks[:, :4])
    with pytest.raises(ValueError, match=message.format("IsolationForest")):
        ours.score_samples(IsolationForest().fit(blob), blocks[:, :4])


def test_images_of_a_wrong_shape_are_refused(make_detector, zeros):
    detector = make_detector().fit(zeros)
    with pytest.raises(ValueError, match=r"X holds images of shape \(8, 4\)"):
        ours.predict(detector, da.from_array(zeros[:, :, :4], chunks=(50, 8, 4)))


def test_one_dimensional_arrays_are_refused(fitted, blocks):
    with pytest.raises(ValueError, match=r"X has shape \(80,\)\. Pass \(n_samples"):
        ours.score_samples(fitted, blocks[:, 0])


@pytest.mark.parametrize("missing", ["dask", "distributed"])
def test_the_error_without_dask_says_how_to_install_it(monkeypatch, missing):
    for module in list(sys.modules):
        if module == "skanogan.distributed" or module.split(".")[0] == missing:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "skanogan\[distributed\]"'):
        importlib.import_module("skanogan.distributed")


# Grid search ------------------------------------------------------------------


def test_a_grid_search_on_the_cluster_equals_that_of_one_process_bit_for_bit(
    client, make_detector, blob, scored
):
    X = np.concatenate([blob, blob[:20] + 3 * blob.std(0)])
    y = np.repeat([1, -1], [80, 20])

    def search():
        return GridSearchCV(
            # With networks of the default size, the number of threads would matter.
            make_detector(max_iter=5, hidden_layer_sizes=(256, 256)),
            [{"learning_rate": [1e-3]}, {"anomaly_score": ["residual"]}],
            scoring={
                "auroc": outlier_roc_auc_scorer,
                # This value depends on every bit of the scores.
                "values": make_scorer(
                    mean_squared_error, response_method="decision_function"
                ),
            },
            cv=NoveltyKFold(2),
            refit=False,
            error_score="raise",
        )

    with joblib.parallel_config("dask"):
        on_cluster = search().fit(X, y).cv_results_
    assert scored == []
    in_process = search().fit(X, y).cv_results_
    for fold in ("split0_test", "split1_test"):
        for name in ("auroc", "values"):
            key = f"{fold}_{name}"
            np.testing.assert_array_equal(on_cluster[key], in_process[key])

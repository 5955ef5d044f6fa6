"""Scores of a Dask array, block by block, on the machines that hold the blocks.

For any fitted detector with the methods of scikit-learn. Needs the extra:
``pip install "skanogan[distributed]"``.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skanogan._base import BaseDetector
from skanogan._compat import validate_data
from skanogan._threads import at_most_threads

try:
    import dask
    import dask.array as da
    from dask.delayed import Delayed, delayed
    from dask.system import CPU_COUNT
    from distributed import Client, get_client, get_worker
    from distributed.comm.addressing import get_address_host
except ImportError as error:
    raise ImportError(
        "skanogan.distributed needs dask and distributed. Install them with "
        'pip install "skanogan[distributed]".'
    ) from error

__all__ = ["decision_function", "predict", "score_samples"]


def score_samples(detector: Any, X: "da.Array") -> "da.Array":
    """How normal each row of a Dask array is, by ``detector.score_samples``.

    Parameters
    ----------
    detector : object
        Any fitted detector with the method. A cluster gets it in this call, once,
        whatever the number of blocks; Dask's local schedulers take it as it is when the
        scores are computed.
    X : dask.array.Array of shape (n_samples, n_features), (n_samples, H, W) or \
            (n_samples, H, W, C)
        In blocks of any number of rows, which need not be known. Blocks along the other
        axes are merged, since a row is scored whole.

    Returns
    -------
    scores : dask.array.Array of shape (n_samples,), float64
        Lazy, in the blocks of the rows of X.

    Notes
    -----
    With a ``distributed.Client`` all workers get the detector, and Dask places each
    block: a persisted one by preference on the worker that holds it, none in the
    client. Without a client the detector is a single node of the graph.

    While a block is scored torch takes at most the cores of the host divided by the
    threads of all workers on it, counted when this function is called. A lower limit
    that was set from outside stands; Dask starts workers with ``OMP_NUM_THREADS=1``.

    Examples
    --------
    >>> import dask.array as da
    >>> from skanogan import AnoGANDetector
    >>> from skanogan.distributed import score_samples
    >>> X = da.random.default_rng(0).normal(size=(400, 3), chunks=(100, 3))
    >>> detector = AnoGANDetector(max_iter=100, random_state=0)
    >>> scores = score_samples(detector.fit(X[:200].compute()), X)
    >>> scores.chunks
    ((100, 100, 100, 100),)
    >>> bool((scores.compute() == detector.score_samples(X.compute())).all())
    True
    """
    return _by_block("score_samples", detector, X, np.dtype(np.float64))


def decision_function(detector: Any, X: "da.Array") -> "da.Array":
    """`score_samples` less the detector's threshold; negative is an outlier.

    Parameters
    ----------
    detector : object
        As in `score_samples`.
    X : dask.array.Array
        As in `score_samples`.

    Returns
    -------
    scores : dask.array.Array of shape (n_samples,), float64
        Lazy, in the blocks of the rows of X.
    """
    return _by_block("decision_function", detector, X, np.dtype(np.float64))


def predict(detector: Any, X: "da.Array") -> "da.Array":
    """Label rows 1 (normal) or -1 (anomaly).

    Parameters
    ----------
    detector : object
        As in `score_samples`.
    X : dask.array.Array
        As in `score_samples`.

    Returns
    -------
    labels : dask.array.Array of shape (n_samples,), int64
        Lazy, in the blocks of the rows of X.
    """
    return _by_block("predict", detector, X, np.dtype(np.int64))


@dataclass(frozen=True)
class _BlockScorer:
    """What is sent to the workers, once."""

    detector: Any
    method: str
    dtype: np.dtype
    threads_on_host: dict[str, int]

    def __call__(self, block: np.ndarray) -> np.ndarray:
        if len(block) == 0:
            return np.empty(0, self.dtype)
        with at_most_threads(self._share()):
            values = getattr(self.detector, self.method)(block)
        return np.asarray(values, self.dtype)

    def _share(self) -> int:
        """Cores of this host for each block that is scored on it at the same time."""
        try:
            worker = get_worker()
        except ValueError:
            # Dask's local schedulers score this many blocks at a time. What was given
            # to compute(num_workers=...) cannot be seen from here.
            n_threads = dask.config.get("num_workers", None) or CPU_COUNT
        else:
            # A worker may have come after the count.
            counted = self.threads_on_host.get(get_address_host(worker.address), 0)
            n_threads = max(counted, worker.state.nthreads)
        return max(1, CPU_COUNT // n_threads)


def _by_block(method: str, detector: Any, X: Any, dtype: np.dtype) -> "da.Array":
    if not isinstance(X, da.Array):
        raise TypeError(
            f"X is a {type(X).__module__}.{type(X).__qualname__}; a dask.array.Array "
            f"was expected. Call detector.{method}(X) for rows in memory, "
            "dask.array.from_array(X, chunks=(100_000, -1)) for blocks of them, or "
            "X.to_dask_array() for a Dask DataFrame."
        )
    getattr(detector, method)  # a LocalOutlierFactor has it only with novelty=True
    check_is_fitted(detector)
    _check_row_shape(detector, X)
    return da.map_blocks(
        _score_block,
        X,
        _on_cluster(detector, method, dtype),
        # Blocks along an axis that is dropped are merged in the task. A rechunk would
        # do the same, but not where the lengths of columns are unknown.
        drop_axis=list(range(1, X.ndim)),
        # Given, so that Dask does not try the detector on a block of its own making.
        meta=np.empty(0, dtype),
    )


def _score_block(block: np.ndarray, scorer: _BlockScorer) -> np.ndarray:
    return scorer(block)


def _check_row_shape(detector: Any, X: "da.Array") -> None:
    """Fail here, in the detector's words, on what would fail in every worker."""
    if X.ndim < 2:
        raise ValueError(
            f"X has shape {X.shape}; (n_samples, n_features) or images, (n_samples, H, "
            "W) or (n_samples, H, W, C), were expected. Use X.reshape(-1, 1) for rows "
            "of one feature."
        )
    if np.isnan(X.shape[1:]).any():
        return
    row = np.zeros((1, *X.shape[1:]))
    if isinstance(detector, BaseDetector):
        detector._check_fitted_rows(row)
    elif isinstance(detector, BaseEstimator) and X.ndim == 2:
        validate_data(detector, row, reset=False, skip_check_array=True)


def _on_cluster(detector: Any, method: str, dtype: np.dtype) -> Delayed:
    """A node of the graph that holds the detector, or the place where it now is."""
    client = _active_client()
    threads_on_host: Counter[str] = Counter()
    if client is not None:
        for address, n_threads in client.nthreads().items():
            threads_on_host[get_address_host(address)] += n_threads
    scorer = _BlockScorer(detector, method, dtype, dict(threads_on_host))
    # A cluster that has yet to grow has nobody to take the detector.
    if client is None or not threads_on_host:
        return delayed(scorer, pure=False, traverse=False)
    # Not hashed: that would pickle the detector a second time, and a key that comes
    # again can be cancelled by the release of the one before (dask/distributed#3703).
    # On all workers: no block need move to the detector, and it outlives a worker.
    future = client.scatter(scorer, hash=False, broadcast=True)
    return Delayed(future.key, {future.key: future})


def _active_client() -> Client | None:
    """The client that ``compute()`` would use, if its methods can be called here."""
    scheduler = dask.config.get("scheduler", None)
    if scheduler not in (None, "distributed", "dask.distributed"):
        return None
    try:
        client = get_client()
    except ValueError:
        return None
    return None if client.asynchronous else client

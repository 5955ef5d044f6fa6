"""Score Dask arrays block by block, on the workers that hold the blocks.

The functions take any fitted detector with scikit-learn's methods. They require dask
and distributed: ``pip install "skanogan[distributed]"``.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skanogan._runtime.compatibility import validate_data
from skanogan._runtime.threads import at_most_threads
from skanogan.detectors._base import BaseDetector

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
    """Score the rows of a Dask array by ``detector.score_samples``.

    Parameters
    ----------
    detector : object
        A fitted detector.
    X : dask.array.Array of shape (n_samples, ...)
        Blocks may have any number of rows, also an unknown number. Blocks along the
        other axes are merged, since a row is scored whole.

    Returns
    -------
    scores : dask.array.Array of shape (n_samples,), float64
        Lazy, with the row blocks of X.

    Notes
    -----
    With a ``distributed.Client``, every worker receives the detector once, and Dask
    assigns the blocks to workers, by preference to those that hold them. Dask's local
    schedulers use the detector without a copy.

    While a block is scored, torch uses at most the cores of the host divided by the
    threads of all workers on it, or a lower limit that is set.

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
    return _by_block("score_samples", detector, X)


def decision_function(detector: Any, X: "da.Array") -> "da.Array":
    """Apply ``detector.decision_function``; negative values are outliers.

    Parameters
    ----------
    detector, X : object, dask.array.Array
        As in `score_samples`.

    Returns
    -------
    scores : dask.array.Array of shape (n_samples,), float64
        Lazy, with the row blocks of X.
    """
    return _by_block("decision_function", detector, X)


def predict(detector: Any, X: "da.Array") -> "da.Array":
    """Label rows 1 (normal) or -1 (anomaly) by ``detector.predict``.

    Parameters
    ----------
    detector, X : object, dask.array.Array
        As in `score_samples`.

    Returns
    -------
    labels : dask.array.Array of shape (n_samples,), int64
        Lazy, with the row blocks of X.
    """
    return _by_block("predict", detector, X)


@dataclass(frozen=True)
class _BlockScorer:
    """A detector and one of its methods, which the workers receive once."""

    detector: Any
    method: str
    dtype: type
    threads_on_host: dict[str, int]

    def n_threads(self) -> int:
        """Divide the cores of this host by the blocks scored on it at once."""
        try:
            worker = get_worker()
        except ValueError:
            # Dask's local schedulers score this many blocks at once. An argument
            # compute(num_workers=...) is not visible here.
            n_threads = dask.config.get("num_workers", None) or CPU_COUNT
        else:
            # The worker may have joined after the count.
            counted = self.threads_on_host.get(get_address_host(worker.address), 0)
            n_threads = max(counted, worker.state.nthreads)
        return max(1, CPU_COUNT // n_threads)


def _by_block(method: str, detector: Any, X: Any) -> "da.Array":
    if not isinstance(X, da.Array):
        raise TypeError(
            f"X is a {type(X).__module__}.{type(X).__qualname__}, not a "
            f"dask.array.Array. Call detector.{method}(X) for rows in memory, "
            "dask.array.from_array(X, chunks=(100_000, -1)) to split them into blocks, "
            "or X.to_dask_array() for a Dask DataFrame."
        )
    getattr(detector, method)  # raises an AttributeError if it is missing
    check_is_fitted(detector)
    _check_row_shape(detector, X)
    dtype = np.int64 if method == "predict" else np.float64
    return da.map_blocks(
        _score_block,
        X,
        _on_cluster(detector, method, dtype),
        # Dask merges the blocks along a dropped axis in the task. A rechunk would fail
        # where the number of columns is unknown.
        drop_axis=list(range(1, X.ndim)),
        # Without meta, Dask would call the detector on an empty block.
        meta=np.empty(0, dtype),
    )


def _score_block(block: np.ndarray, scorer: _BlockScorer) -> np.ndarray:
    if len(block) == 0:
        return np.empty(0, scorer.dtype)
    with at_most_threads(scorer.n_threads()):
        values = getattr(scorer.detector, scorer.method)(block)
    return np.asarray(values, scorer.dtype)


def _check_row_shape(detector: Any, X: "da.Array") -> None:
    """Raise the detector's own error before any worker does."""
    if X.ndim < 2:
        raise ValueError(
            f"X has shape {X.shape}. Pass (n_samples, n_features), (n_samples, H, W) "
            "or (n_samples, H, W, C). Use X.reshape(-1, 1) for rows of one feature."
        )
    if np.isnan(X.shape[1:]).any():
        return
    row = np.zeros((1, *X.shape[1:]))
    if isinstance(detector, BaseDetector):
        detector._check_fitted_rows(row)
    elif isinstance(detector, BaseEstimator) and X.ndim == 2:
        validate_data(detector, row, reset=False, skip_check_array=True)


def _on_cluster(detector: Any, method: str, dtype: type) -> Delayed:
    """Return a node of the graph that is the detector or refers to it."""
    client = _active_client()
    threads_on_host: Counter[str] = Counter()
    if client is not None:
        for address, n in client.nthreads().items():
            threads_on_host[get_address_host(address)] += n
    scorer = _BlockScorer(detector, method, dtype, dict(threads_on_host))
    # A cluster without workers cannot receive the detector yet.
    if client is None or not threads_on_host:
        return delayed(scorer, pure=False, traverse=False)
    # hash=True would pickle the detector twice, and a repeated key can be cancelled by
    # the release of the earlier one (dask/distributed#3703). With broadcast=True no
    # block moves to the detector, and the detector survives the loss of a worker.
    future = client.scatter(scorer, hash=False, broadcast=True)
    return Delayed(future.key, {future.key: future})


def _active_client() -> Client | None:
    """Return the client that ``compute()`` would use, if it can be called here."""
    scheduler = dask.config.get("scheduler", None)
    if scheduler not in (None, "distributed", "dask.distributed"):
        return None
    try:
        client = get_client()
    except ValueError:
        return None
    return None if client.asynchronous else client

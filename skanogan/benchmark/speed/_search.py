"""Section `search`: rows a second and AUROC of searches of the same networks."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from torch import Tensor

from skanogan import AnoGANDetector
from skanogan.benchmark._tasks import Split, load_tasks
from skanogan.benchmark.speed._bare_search import bare_search
from skanogan.benchmark.speed._library import (
    PUBLISHED,
    model_of,
    scaled_rows,
    searching,
)
from skanogan.benchmark.speed._text import machine_line, markdown, section
from skanogan.benchmark.speed._timing import ratios, seconds, spread

__all__ = ["QUICK", "bare_scores", "search_section"]

QUICK: dict[str, Any] = {
    "n_rows": 60,
    "n_bare": 12,
    "n_steps": 50,
    "parameters": {"max_iter": 200},
}


def search_section(
    data: "str | None" = None,
    *,
    normal: Any = 8,
    n_rows: int = 1000,
    n_bare: int = 60,
    n_steps: int = 500,
    n_rounds: int = 3,
    parameters: "dict[str, Any] | None" = None,
) -> str:
    """Compare the searches on images of which one class is normal.

    Parameters
    ----------
    data : str, default=None
        As for ``python -m skanogan benchmark``; scikit-learn's digits by default.
    normal : object, default=8
        The class.
    n_rows : int, default=1000
        At most so many test rows, half of them normal, for the library.
    n_bare : int, default=60
        So many of these for the bare loop, dealt to the rounds.
    n_steps : int, default=500
        Of the published search.
    n_rounds : int, default=3
        Turns of the three.
    parameters : dict, default=None
        Of the detector, beside the defaults.

    Returns
    -------
    text : str
    """
    task = load_tasks(data or "digits", classes=[normal])[0]
    X_train, X, y = _half_normal(task.split(0), n_rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        default = AnoGANDetector(random_state=0, **(parameters or {})).fit(X_train)
    published = searching(default, X_train, **PUBLISHED, n_steps=n_steps)
    # Every stride-th row of each kind: normal rows and anomalies alternate in X.
    n_bare = min(n_bare, len(X))
    bare_at = np.arange(n_bare)
    rng = torch.Generator().manual_seed(0)
    for detector in (default, published):
        detector.score_samples(X[:4])  # first calls of a process load kernels
    bare_scores(published, X[:1], 2, rng)

    names = ("bare loop, one image at a time", "published search, batches", "default")
    rates: dict[str, list[float]] = {name: [] for name in names}
    scores: dict[str, np.ndarray] = {names[0]: np.empty(n_bare)}
    for turn in range(n_rounds):
        share = bare_at[turn::n_rounds]

        def run_bare(share: np.ndarray = share) -> None:
            scores[names[0]][share] = bare_scores(published, X[share], n_steps, rng)

        def run_published() -> None:
            scores[names[1]] = published.score_samples(X)

        def run_default() -> None:
            scores[names[2]] = default.score_samples(X)

        rates[names[0]].append(len(share) / seconds(run_bare))
        rates[names[1]].append(len(X) / seconds(run_published))
        rates[names[2]].append(len(X) / seconds(run_default))

    lines = []
    for name in names:
        some = roc_auc_score(y[:n_bare], scores[name][:n_bare])
        every = len(scores[name]) == len(X)
        lines.append(
            [
                name,
                f"{spread(rates[name]).median:.3g}",
                ratios(rates[name], rates[names[0]]),
                f"{some:.3f}",
                f"{roc_auc_score(y, scores[name]):.3f}" if every else "",
            ]
        )
    header = ["search", "rows/s", "over the bare loop"]
    header += [f"AUROC, {n_bare} rows", f"AUROC, {len(X)} rows"]
    shape = " x ".join(map(str, X.shape[1:]))
    return section(
        "search",
        machine_line(default.device_),
        f"{task.name} normal, {shape} pixels, {len(X_train)} rows to train on; the "
        "same networks throughout. Bare and published: the published loss, "
        f"{n_steps} steps from a random start; half of the scored rows are normal.",
        markdown(header, lines),
    )


def bare_scores(
    detector: AnoGANDetector, X: np.ndarray, n_steps: int, rng: torch.Generator
) -> np.ndarray:
    """`score_samples` of the published search, by the bare loop.

    Parameters
    ----------
    detector : AnoGANDetector
        Fitted.
    X : ndarray
        Rows in its units.
    n_steps : int
        Of the search.
    rng : torch.Generator
        Each row's start is drawn from it.

    Returns
    -------
    scores : ndarray of shape (n,)
    """
    model = model_of(detector)
    rows = scaled_rows(detector, X)
    scores = []
    for x in rows.split(1):
        start = torch.randn(1, model.latent_dim, generator=rng)
        scores.append(-_bare(detector, x, start.to(x), n_steps))
    return np.array(scores)


def _bare(detector: AnoGANDetector, x: Tensor, start: Tensor, n_steps: int) -> float:
    model = model_of(detector)
    return bare_search(
        model.generator,
        model.discriminator.features,
        x,
        start,
        n_steps,
        detector.step_size,
        detector.discrimination_weight,
    )[1]


def _half_normal(split: Split, n_rows: int) -> Split:
    """At most `n_rows` test rows, normal rows and anomalies in turn."""
    rng = np.random.RandomState(0)
    kinds = [rng.permutation(np.flatnonzero(split.y_test == k)) for k in (1, -1)]
    n = min(n_rows // 2, *map(len, kinds))
    at = np.stack([kind[:n] for kind in kinds], axis=1).ravel()
    return Split(split.X_train, split.X_test[at], split.y_test[at])

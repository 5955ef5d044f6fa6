"""Section `search`: rows per second and AUROC of searches with the same networks."""

import tempfile
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from skanogan import AnoGANDetector
from skanogan.benchmark import load_tasks
from studies.bare_search import bare_search
from studies.report import machine_line, markdown, section
from studies.tensors import scaled
from studies.timing import ratios, seconds, spread

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
    """Compare the searches on images, with one class normal.

    Parameters
    ----------
    data : str, default=None
        As for ``python -m skanogan benchmark``. None is scikit-learn's digits.
    normal : object, default=8
        The normal class.
    n_rows : int, default=1000
        Largest number of test rows of the library, half of them normal.
    n_bare : int, default=60
        Number of test rows of the bare loop, divided among the rounds.
    n_steps : int, default=500
        Steps of the published search.
    n_rounds : int, default=3
        How often the three are timed in turn.
    parameters : dict, default=None
        Parameters of the detector other than the defaults.

    Returns
    -------
    text : str
    """
    task = load_tasks(data or "digits", classes=[normal])[0]
    X_train, X_test, y_test = task.split(0)
    at = _half_normal(y_test, n_rows)
    X, y = X_test[at], y_test[at]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The cache in the folder trains once.
        cached = {"random_state": 0, "memory": folder, **(parameters or {})}
        default = AnoGANDetector(**cached).fit(X_train)
        published = AnoGANDetector(
            **cached, anomaly_score="anogan", n_candidates=1, n_steps=n_steps
        ).fit(X_train)
    n_bare = min(n_bare, len(X))
    bare_at = np.arange(n_bare)
    rng = torch.Generator().manual_seed(0)
    for detector in (default, published):
        detector.score_samples(X[:4])  # the first call of a process loads kernels
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
    header = ["search", "rows/s", "ratio to the bare loop"]
    header += [f"AUROC, {n_bare} rows", f"AUROC, {len(X)} rows"]
    shape = " x ".join(map(str, X.shape[1:]))
    return section(
        "search",
        machine_line(default.device_),
        f"Normal rows: {task.name}, {shape} pixels, {len(X_train)} training rows. All "
        "searches have the same networks. The bare loop and the published search take "
        f"{n_steps} steps of the published loss from a random latent. Half of the "
        "scored rows are normal.",
        markdown(header, lines),
    )


def bare_scores(
    detector: AnoGANDetector, X: np.ndarray, n_steps: int, rng: torch.Generator
) -> np.ndarray:
    """Score rows by the published search in a bare loop.

    Parameters
    ----------
    detector : AnoGANDetector
        A fitted detector.
    X : ndarray of shape (n, ...)
        Rows in the units of the detector.
    n_steps : int
        Steps of the search.
    rng : torch.Generator
        Generator of the latents to start from.

    Returns
    -------
    scores : ndarray of shape (n,)
        Higher is more normal.
    """
    model: Any = detector.model_.members[0]
    scores = []
    for x in scaled(detector, X).split(1):
        start = torch.randn(1, model.latent_dim, generator=rng)
        _, loss = bare_search(
            model.generator,
            model.discriminator.features,
            x,
            start.to(x),
            n_steps,
            detector.step_size,
            detector.discrimination_weight,
        )
        scores.append(-loss)
    return np.array(scores)


def _half_normal(y: np.ndarray, n_rows: int) -> np.ndarray:
    """Choose `n_rows` rows at most, normal rows and anomalies in turn."""
    rng = np.random.RandomState(0)
    kinds = [rng.permutation(np.flatnonzero(y == kind)) for kind in (1, -1)]
    n = min(n_rows // 2, *map(len, kinds))
    return np.stack([kind[:n] for kind in kinds], axis=1).ravel()

"""Anomalies among the rows of a fit: made-up cases, a curve, thresholds of few rows.

Without data, rows with known anomalies are fitted and scored without labels:
`made_up_cases` lists them. With data, a growing share of anomalies is put among the
training rows, and other rows are tested.

    python examples/studies unlabelled --seeds 0,1,2,3,4,5,6,7,8,9
    python examples/studies unlabelled adbench/ --limit 2000 --picture curve.png
    python examples/studies unlabelled mnist.npz --protocol p2 --classes 2,5,8
"""

import argparse
import warnings
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.baselines import KNNDistance
from skanogan.benchmark import Task, load_tasks
from studies.report import markdown

__all__ = ["DETECTORS", "draw", "made_up_cases", "main"]

UNLABELLED: dict[str, Any] = {"support_fraction": 0.75, "n_neighbors": 20}
"""The settings for unlabelled rows."""

DETECTORS: dict[str, Any] = {
    "AnoGAN": lambda seed: AnoGANDetector(random_state=seed),
    "AnoGAN .75": lambda seed: AnoGANDetector(random_state=seed, **UNLABELLED),
    "OCGAN": lambda seed: OCGANDetector(random_state=seed),
    "OCGAN .75": lambda seed: OCGANDetector(random_state=seed, **UNLABELLED),
    "f-AnoGAN .75": lambda seed: FAnoGANDetector(random_state=seed, **UNLABELLED),
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "LOF": lambda seed: LocalOutlierFactor(novelty=True),
    "EllipticEnvelope": lambda seed: EllipticEnvelope(random_state=seed),
    "kNN": lambda seed: KNNDistance(),
}
"""The detectors as they are made for a seed. ".75" has those of `UNLABELLED`."""

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


def made_up_cases(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Make rows of which it is known which are anomalies.

    Parameters
    ----------
    seed : int

    Returns
    -------
    cases : dict of str to (ndarray of shape (n, 6), ndarray of bool of shape (n,))
        Some 1,000 normal rows with anomalies, and which rows are anomalies.
    """
    rng = np.random.RandomState(seed)
    column = rng.normal(size=(20, 6))
    column[:, 0] += 9
    anomalies = {
        "5 % tight cluster": 4.5 + 0.3 * rng.normal(size=(50, 6)),
        "1 % tight cluster": 4.5 + 0.3 * rng.normal(size=(10, 6)),
        "5 % wide cluster": 3 + rng.normal(size=(50, 6)),
        "1 % scattered": rng.uniform(-8, 8, (10, 6)),
        "2 % in one column": column,
        "3 % copies of one row": np.repeat(6 * _direction(rng), 30, axis=0),
    }
    return {
        name: (
            np.concatenate([rng.normal(size=(1000, 6)), rows]),
            np.arange(1000 + len(rows)) >= 1000,
        )
        for name, rows in anomalies.items()
    }


def _direction(rng: np.random.RandomState) -> np.ndarray:
    vector = rng.normal(size=(1, 6))
    return np.asarray(vector / np.linalg.norm(vector))


def score_case(name: str, case: str, seed: int) -> float:
    """Fit and score one made-up case without labels, and return the AUROC."""
    X, is_anomaly = made_up_cases(seed)[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = DETECTORS[name](seed).fit(X).score_samples(X)
    return float(roc_auc_score(is_anomaly, -scores))


def score_task(name: str, task: Task, seed: int) -> float:
    """Fit the training rows of a task and return the AUROC on its test rows."""
    X_train, X_test, y_test = task.split(seed)
    detector = DETECTORS[name](seed)
    if X_train.ndim > 2 and not type(detector).__module__.startswith("skanogan"):
        X_train, X_test = (X.reshape(len(X), -1) for X in (X_train, X_test))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = detector.fit(X_train).score_samples(X_test)
    return float(roc_auc_score(y_test, scores))


def draw(columns: list[str], curves: dict[str, list[float]], path: str) -> None:
    """Draw one curve for each detector; those of this package are thick.

    Parameters
    ----------
    columns : list of str
        What stands below the axis.
    curves : dict of str to list of float
        Mean AUROC in each column, by the name of the detector.
    path : str
        The file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        is_ours = "GAN" in name
        axes.plot(
            columns, values, "-" if is_ours else "--", lw=2.2 if is_ours else 1.2,
            marker="o", ms=4, label=name,
        )  # fmt: skip
    axes.set(xlabel="anomalies among the training rows", ylabel="mean AUROC")
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> int:
    """Run the study and print its table.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python examples/studies unlabelled",
        description="Detectors that are fitted on rows with anomalies among them.",
    )
    parser.add_argument("data", nargs="*", help="as for python -m skanogan benchmark")
    parser.add_argument("--protocol", default="auto")
    parser.add_argument("--classes", help="only these normal classes, such as 2,5,8")
    parser.add_argument("--detectors", default=",".join(DETECTORS))
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--picture", help="file to draw the curves to")
    parser.add_argument("--limit", type=int, help="training and test rows at most")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    arguments = parser.parse_args(argv)
    names = arguments.detectors.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    run: Any = score_case
    columns: dict[str, list[Any]] = {name: [name] for name in made_up_cases(0)}
    if arguments.data:
        run = score_task
        columns = {
            f"{float(share):.0%}": load_tasks(
                arguments.data,
                protocol=arguments.protocol,
                classes=arguments.classes and arguments.classes.split(","),
                limit=arguments.limit,
                contamination=float(share),
            )
            for share in arguments.shares.split(",")
        }
    cells = [
        (name, column, each, seed)
        for name in names
        for column, tasks in columns.items()
        for each in tasks
        for seed in seeds
    ]
    found = Parallel(n_jobs=arguments.jobs)(
        delayed(run)(name, each, seed) for name, _, each, seed in tqdm(cells)
    )
    body, curves = [], {}
    for name in names:
        line, curves[name] = [name], list[float]()
        for column in columns:
            scores = [
                score
                for (detector, where, _, _), score in zip(cells, found, strict=True)
                if (detector, where) == (name, column)
            ]
            curves[name].append(float(np.mean(scores)))
            line.append(f"{np.mean(scores):.3f} ({min(scores):.3f})")
        body.append(line)
    print("AUROC: mean (least)\n")
    print(markdown(["detector", *columns], body))
    if arguments.picture:
        draw(list(columns), curves, arguments.picture)
    return 0

"""What each part and each setting of OCGANDetector brings: ``python -m`` this module.

Each variant is trained once a task; the scores that need no discriminator are read off
the same networks. Nothing is chosen per task.

    python -m skanogan.benchmark.ocgan_study mnist.npz --jobs 2
    python -m skanogan.benchmark.ocgan_study digits --only settings
    python -m skanogan.benchmark.ocgan_study mnist.npz --classes 2,5,8 --curve

`ladder` is the paper's ablation, `settings` are the defaults with one thing changed.
With `--curve`, AUROC and validation error are printed against the updates instead; test
rows are looked at for that table only, never to choose a state.
"""

import argparse
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan import OCGANDetector
from skanogan._base import REFERENCE_ROWS
from skanogan._calibration import held_out_size
from skanogan._device import resolve_device
from skanogan._inputs import Rows, with_channels
from skanogan._training import train
from skanogan.benchmark._tasks import Task, load_tasks
from skanogan.models import OCGAN
from skanogan.models._autoencoder import AutoEncoder
from skanogan.models._metric import RANK, WhitenedMetric

__all__ = ["LADDER", "SETTINGS", "main", "study_curve", "study_variant"]

LADDER: dict[str, dict[str, Any]] = {
    "auto-encoder": {
        "latent_discriminator": False,
        "visual_discriminator": False,
        "mining": False,
    },
    "+ latent discriminator": {"visual_discriminator": False, "mining": False},
    "+ visual discriminator": {"mining": False},
    "+ mining (the default)": {},
}
"""Table 4 of the paper: name, and parameters beside the defaults."""

SCORES = ("reconstruction", "whitened", "features")
"""Read off the same networks."""

_PAPER = {
    "normalization": "batch",
    "reconstruction_weight": 10.0,
    "averaging": 0.0,
    "noise_variance": 0.2,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "the default": {},
    "normalization='batch'": {"normalization": "batch"},
    "reconstruction_weight=10": {"reconstruction_weight": 10.0},
    "reconstruction_weight=1000": {"reconstruction_weight": 1000.0},
    "noise_variance=0": {"noise_variance": 0.0},
    "noise_variance=0.04": {"noise_variance": 0.04},
    "noise_variance=0.2": {"noise_variance": 0.2},
    "noise_variance=1": {"noise_variance": 1.0},
    "averaging=0": {"averaging": 0.0},
    "learning_rate=2e-4": {"learning_rate": 2e-4},
    "mining_start=1": {"mining_start": 1},
    "mining_step_size=0.5": {"mining_step_size": 0.5},
    "n_mining_steps=1": {"n_mining_steps": 1},
    "adversarial_loss='least_squares'": {"adversarial_loss": "least_squares"},
    "visual_fakes='reconstructions'": {"visual_fakes": "reconstructions"},
    "aCAE": {
        "latent_discriminator": False,
        "mining": False,
        "visual_fakes": "reconstructions",
    },
    "the paper's text": _PAPER,
    "the paper's code": {
        **_PAPER,
        "noise_variance": 0.04,
        "n_mining_steps": 1,
        "latent_weight": 10.0,
        "learning_rate": 2e-4,
    },
}
"""Name of a setting, and its parameters beside the defaults."""


def study_variant(
    task: Task, seed: int, parameters: dict[str, Any]
) -> dict[str, float]:
    """Train one variant on one split.

    Parameters
    ----------
    task : Task
        Any.
    seed : int
        Of the split and of the detector.
    parameters : dict
        Beside the defaults.

    Returns
    -------
    figures : dict of str to float
        AUROC by score, false alarms, the least validation error, seconds.
    """
    X_train, X_test, y_test = task.split(seed)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        detector = OCGANDetector(random_state=seed, **parameters).fit(X_train)
    seconds = time.perf_counter() - started
    figures = {"seconds": seconds}
    figures["validation error"] = min(r["validation_error"] for r in detector.history_)
    figures["false alarms"] = float((detector.predict(X_test)[y_test == 1] < 0).mean())
    for score in SCORES:
        detector.model_.anomaly_score = score
        figures[score] = roc_auc_score(y_test, detector.score_samples(X_test))
    return figures


def study_curve(
    task: Task, seed: int, parameters: dict[str, Any]
) -> list[dict[str, float]]:
    """AUROC and validation error at each record of one training.

    Parameters
    ----------
    task : Task
        Of images.
    seed : int
        Of the split and of the networks.
    parameters : dict
        Beside the defaults.

    Returns
    -------
    records : list of dict
        ``n_iter``, ``validation_error``, and an AUROC by score.
    """
    X_train, X_test, y_test = task.split(seed)
    shape = with_channels(X_train.shape[1:])
    assert shape is not None, "curves are drawn for images"
    detector = OCGANDetector(random_state=seed, **parameters)
    device = resolve_device(detector.device)

    def rows(X: np.ndarray, indices: "np.ndarray | None" = None) -> Rows:
        return Rows(X.reshape(len(X), -1), shape, device, indices)

    order = np.random.RandomState(seed).permutation(len(X_train))
    n_held_out = held_out_size(len(X_train), detector.validation_fraction)
    kept, images = rows(X_train, order[n_held_out:]), rows(X_test).all()
    reference = rows(X_train, order[n_held_out:][:REFERENCE_ROWS]).all()
    rng = torch.Generator().manual_seed(seed)
    model = detector._make_model(kept, shape, rng).to(device)
    records = []
    for record in train(
        model,
        kept,
        n_updates=detector.max_iter,
        batch_size=64,
        report_every=max(1, detector.max_iter // 10),
        batch_rng=rng,
        noise_rng=torch.Generator(device).manual_seed(seed),
        held_out=rows(X_train, order[:n_held_out]).all(),
    ):
        found = {name: record[name] for name in ("n_iter", "validation_error")}
        network = model._average.network
        differences = [
            torch.cat([_differences(model, network, x) for x in part.split(500)])
            for part in (reference, images)
        ]
        metric = WhitenedMetric.fit(differences[0], model.whitening_floor, RANK)
        with torch.no_grad():
            errors = torch.cat([model.validation_error(x) for x in images.split(500)])
        for name, score in (
            ("reconstruction", errors),
            ("whitened", metric.squared_length(differences[1])),
        ):
            found[name] = roc_auc_score(y_test, -score.cpu().numpy())
        records.append(found)
    return records


@torch.no_grad()
def _differences(model: OCGAN, network: AutoEncoder, x: torch.Tensor) -> torch.Tensor:
    return network.feature_differences(model._scaled(x))


def main(argv: "list[str] | None" = None) -> int:
    """Run the study and print its tables.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None for those of this process.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="+", help="as for python -m skanogan benchmark")
    parser.add_argument("--classes", help="only these classes, as 2,5,8")
    parser.add_argument("--seeds", default="0", help="as 0,1,2")
    parser.add_argument("--limit", type=int, help="rows to train on and to test")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=["ladder", "settings"], default="ladder")
    parser.add_argument("--curve", action="store_true")
    arguments = parser.parse_args(argv)
    classes = arguments.classes and [int(c) for c in arguments.classes.split(",")]
    tasks = load_tasks(arguments.data, classes=classes, limit=arguments.limit)
    variants = LADDER if arguments.only == "ladder" else SETTINGS
    if arguments.curve:
        variants = {"the default": {}}
    study = study_curve if arguments.curve else study_variant
    # Variant after variant: an interrupted run has whole rows of the table.
    cells = [
        (name, task, int(seed))
        for name in variants
        for task in tasks
        for seed in arguments.seeds.split(",")
    ]
    runs = Parallel(n_jobs=arguments.jobs, return_as="generator")(
        delayed(study)(task, seed, variants[name]) for name, task, seed in cells
    )
    found = []
    for (name, task, _), run in zip(cells, tqdm(runs, total=len(cells)), strict=True):
        found.append(run)
        tqdm.write(f"{name}, {task.name}: {run}", file=sys.stderr)
    (_print_curves if arguments.curve else _print_table)(cells, found)
    return 0


def _print_table(
    cells: list[tuple[str, Task, int]], found: list[dict[str, float]]
) -> None:
    tasks = list(dict.fromkeys(task.name for _, task, _ in cells))
    for score in SCORES:
        print(f"\nAUROC, anomaly_score={score!r}\n")
        print("| | mean | " + " | ".join(tasks) + " |")
        print("|---" * (len(tasks) + 2) + "|")
        for variant in dict.fromkeys(name for name, _, _ in cells):
            means = [
                _mean(cells, found, score, variant, task_name) for task_name in tasks
            ]
            columns = " | ".join(f"{value:.3f}" for value in [np.mean(means), *means])
            print(f"| {variant} | {columns} |")
    others = ("validation error", "false alarms", "seconds")
    print("\n| | " + " | ".join(others) + " |\n|---|---|---|---|")
    for variant in dict.fromkeys(name for name, _, _ in cells):
        columns = " | ".join(
            f"{_mean(cells, found, name, variant):.3g}" for name in others
        )
        print(f"| {variant} | {columns} |")


def _mean(
    cells: list[tuple[str, Task, int]],
    found: list[dict[str, float]],
    figure: str,
    variant: str,
    task_name: "str | None" = None,
) -> float:
    """Of one figure over the runs of a variant, and of a task if one is named."""
    return float(
        np.mean(
            [
                run[figure]
                for (name, task, _), run in zip(cells, found, strict=True)
                if name == variant and task_name in (None, task.name)
            ]
        )
    )


def _print_curves(
    cells: list[tuple[str, Task, int]], found: list[list[dict[str, float]]]
) -> None:
    print("| task | updates | validation error | reconstruction | whitened |")
    print("|---|---|---|---|---|")
    for (_, task, _), records in zip(cells, found, strict=True):
        for r in records:
            print(
                f"| {task.name} | {r['n_iter']} | {r['validation_error']:.4f} | "
                f"{r['reconstruction']:.3f} | {r['whitened']:.3f} |"
            )


if __name__ == "__main__":
    sys.exit(main())

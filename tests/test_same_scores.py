"""Same seed, same scores, to the bit, before and after the package is rearranged.

``python tests/test_same_scores.py`` records. The test goes once the move is done.
"""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.conformal import ConformalDetector
from skanogan.image import PatchDetector

RECORD = Path(__file__).with_name("same_scores.npz")

torch.set_num_threads(1)

cancer = load_breast_cancer()
TABLE = cancer.data[cancer.target == 1][:120], cancer.data[300:340]
digits = load_digits()
ZEROS = digits.images[digits.target == 0]
SMALL = ZEROS[:90], digits.images[1000:1012]
LARGE = tuple(np.kron(x, np.ones((1, 2, 2))) for x in SMALL)
BYTES = tuple(x.astype(np.uint8) for x in LARGE)
COLOUR = tuple(np.stack([x, 16 - x, x / 2], -1) for x in SMALL)
CHEAP = {
    "max_iter": 40,
    "encoder_max_iter": 20,
    "n_candidates": 32,
    "hidden_layer_sizes": (16, 16),
    "n_filters": 8,
    "latent_dim": 4,
    "device": "cpu",
    "random_state": 3,
}
RENAMED = {"shrinkage": "whitening_floor", "ema_decay": "averaging"}


def own_networks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        g = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 30))
        d = nn.Sequential(
            nn.Linear(30, 9), nn.LeakyReLU(), nn.Dropout(0.2), nn.Linear(9, 1)
        )
    return {"generator": g, "discriminator": d}


def make(cls, **parameters):
    names = inspect.signature(cls).parameters
    wanted = {**CHEAP, **parameters}
    if "start" in names and wanted.get("n_candidates") == 1:  # before the move
        wanted["start"] = "random"
    if "mining" in names and wanted.get("n_mining_steps") == 0:
        wanted |= {"mining": False, "n_mining_steps": 5}
    if "classifier_filters" in names:
        wanted["classifier_filters"] = wanted["n_filters"]
    for new, old in RENAMED.items():
        if new in wanted and new not in names:
            wanted[old] = wanted.pop(new)
    return cls(**{k: v for k, v in wanted.items() if k in names})


PAPER = {
    "anomaly_score": "anogan",
    "n_candidates": 1,
    "n_steps": 12,
    "prior": "uniform",
    "ema_decay": 0,
}

CASES = {}
for score in ("whitened", "anogan", "residual", "discrimination", "gan_r", "p_d"):
    for n_steps in (0, 5):
        CASES[f"anogan {score} {n_steps}"] = (
            AnoGANDetector,
            TABLE,
            {"anomaly_score": score, "n_steps": n_steps},
        )
for score in ("whitened", "f_anogan", "residual", "discrimination", "latent"):
    CASES[f"fanogan {score}"] = (FAnoGANDetector, TABLE, {"anomaly_score": score})
for score in (
    *("whitened", "reconstruction", "features"),
    *("visual", "latent", "classifier"),
):
    CASES[f"ocgan {score}"] = (OCGANDetector, TABLE, {"anomaly_score": score})
CASES |= {
    "anogan paper": (AnoGANDetector, TABLE, PAPER),
    "anogan paper, images": (AnoGANDetector, SMALL, PAPER),
    "anogan own networks": (AnoGANDetector, TABLE, own_networks()),
    "anogan penalty": (AnoGANDetector, TABLE, {"gradient_penalty": 1.0}),
    "anogan shrinkage": (AnoGANDetector, TABLE, {"shrinkage": 0.2}),
    "anogan ema": (AnoGANDetector, TABLE, {"ema_decay": 0.5, "learning_rate": 1e-3}),
    "anogan float contamination": (AnoGANDetector, TABLE, {"contamination": 0.1}),
    "anogan float32": (AnoGANDetector, TABLE, {"scoring_dtype": "float32"}),
    "anogan images": (AnoGANDetector, SMALL, {}),
    "anogan images, steps": (AnoGANDetector, LARGE, {"n_steps": 4}),
    "anogan images, bytes": (AnoGANDetector, BYTES, {"anomaly_score": "anogan"}),
    "anogan images, colour": (AnoGANDetector, COLOUR, {}),
    "anogan images, mlp": (AnoGANDetector, SMALL, {"backbone": "mlp"}),
    "anogan more rows held out": (AnoGANDetector, TABLE, {"validation_fraction": 0.4}),
    "fanogan settles": (FAnoGANDetector, TABLE, {"n_iter_no_change": 4}),
    "fanogan images": (FAnoGANDetector, SMALL, {}),
    "fanogan uniform": (FAnoGANDetector, SMALL, {"prior": "uniform"}),
    "ocgan images": (OCGANDetector, LARGE, {}),
    "ocgan images, bytes": (OCGANDetector, BYTES, {"normalization": "batch"}),
    "ocgan images, mlp": (OCGANDetector, SMALL, {}),
    "ocgan long": (OCGANDetector, TABLE, {"max_iter": 400}),
    "ocgan no mining": (OCGANDetector, LARGE, {"n_mining_steps": 0}),
    "ocgan auto-encoder": (
        OCGANDetector,
        TABLE,
        {
            "latent_discriminator": False,
            "visual_discriminator": False,
            "n_mining_steps": 0,
        },
    ),
    "ocgan noise": (
        OCGANDetector,
        TABLE,
        {"noise_variance": 0.3, "reconstruction_weight": 10.0},
    ),
    "ocgan settles": (
        OCGANDetector,
        TABLE,
        {"n_iter_no_change": 6, "contamination": 0.2, "batch_size": 17},
    ),
}


def found(name):
    """By name, every number that a fit ends with."""
    cls, (X, new), parameters = CASES[name]
    detector = make(cls, **parameters).fit(X)
    return everything(detector, X, new)


def everything(detector, X, new):
    steps = {k: v for k, v in detector.get_params().items() if k == "n_steps" and v}
    few = 6 if steps else len(new)
    history = [
        [v for k, v in sorted(record.items()) if k != "seconds"]
        for record in detector.history_
    ]
    return {
        "scores": detector.score_samples(new),
        "scores of X": detector.score_samples(X[:few]),
        "offset": np.array([detector.offset_]),
        "labels": detector.predict(new),
        "drawn": detector.reconstruct(new[:3]),
        "map": detector.anomaly_map(new[:3]),
        "features map": detector.anomaly_map(new[:2], kind="features"),
        "embedding": detector.embed(new[:2]).astype(np.float32),
        "sample": detector.sample(2, random_state=1),
        "history": np.concatenate([np.array(row, float) for row in history]),
    }


def labelled():
    X, new = TABLE
    y = np.where(np.arange(len(X)) % 9 == 2, -1, 1)
    return everything(make(AnoGANDetector).fit(X, y), X, new)


def warm():
    X, new = TABLE
    detector = make(OCGANDetector, warm_start=True).fit(X)
    return everything(detector.set_params(max_iter=10).fit(X), X, new)


def patches():
    rng = np.random.RandomState(0)
    images = np.sin(np.arange(48))[:, None] + rng.normal(0, 0.1, (16, 48, 40))
    inner = make(OCGANDetector, backbone="mlp")
    detector = PatchDetector(
        inner, patch_size=8, patches_per_image=20, random_state=0
    ).fit(images[:12])
    shares = PatchDetector(
        inner, patch_size=8, contamination=0.2, pooling="max", random_state=0
    ).fit(images[:12])
    return {
        "scores": detector.score_samples(images),
        "labels": detector.predict(images),
        "offset": np.array([detector.offset_, shares.offset_]),
        "map": detector.anomaly_map(images[0], stride=7),
    }


def conformal():
    X, new = TABLE
    detector = ConformalDetector(make(AnoGANDetector), alpha=0.1, random_state=1)
    detector.fit(X)
    return {
        "decision": detector.decision_function(new),
        "p": detector.p_values(new),
        "labels": detector.predict(new),
    }


OTHERS = {
    "labelled": labelled,
    "warm": warm,
    "patches": patches,
    "conformal": conformal,
}


@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_every_number_is_what_it_was(name):
    numbers = OTHERS[name]() if name in OTHERS else found(name)
    with np.load(RECORD) as recorded:
        for key, value in numbers.items():
            np.testing.assert_array_equal(value, recorded[f"{name}/{key}"], key)


if __name__ == "__main__":
    everything_found = {
        f"{name}/{key}": value
        for name in [*CASES, *OTHERS]
        for key, value in (OTHERS[name]() if name in OTHERS else found(name)).items()
    }
    np.savez_compressed(RECORD, **everything_found)

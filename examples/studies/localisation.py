"""Find the defects of magnetic tiles with detectors fitted to tiles without defects.

The file ``magnetic_tile_64.npz`` (Huang et al.) has the arrays x (n, 64, 64) uint8,
mask (n, 64, 64), y (0 for Free, then the kinds of defects, named in classes), and group
(the photographs of one tile).

A fixed half of the groups is for development, and the other half for the report. Groups
with a defect in any photograph are never trained on. For each seed, a third of the
other groups of the half is tested, and all photographs of defects of that half, except
those with an empty mask. The rest is trained on. The report also trains on the groups
of the development half.

    python examples/studies localisation magnetic_tile_64.npz
    python examples/studies localisation magnetic_tile_64.npz --development

All methods have the same input (`flat_field`, flipped copies), and their maps are
smoothed in the same way.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from studies.map_metrics import pixel_auroc, region_overlap

__all__ = ["METHODS", "Tiles", "flat_field", "main", "measure", "split"]

Found = tuple[dict[str, np.ndarray], np.ndarray]
"""Maps by kind, and the anomaly score of each image."""


class Tiles(NamedTuple):
    """Photographs of tiles.

    Parameters
    ----------
    images : ndarray of shape (n, 64, 64), uint8
    masks : ndarray of shape (n, 64, 64), bool
    kinds : ndarray of shape (n,), int
        0 is Free, which is without a defect.
    groups : ndarray of shape (n,), int
    names : list of str
        Names of the kinds.
    """

    images: np.ndarray
    masks: np.ndarray
    kinds: np.ndarray
    groups: np.ndarray
    names: list[str]

    @classmethod
    def load(cls, path: str) -> "Tiles":
        """Read the file."""
        with np.load(path, allow_pickle=False) as data:
            masks = data["mask"] > 0
            names = [str(name) for name in data["classes"]]
            return cls(data["x"], masks, data["y"].astype(int), data["group"], names)


def split(
    kinds: np.ndarray,
    groups: np.ndarray,
    marked: np.ndarray,
    seed: int,
    development: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the photographs to train on and to test on.

    Parameters
    ----------
    kinds, groups : ndarray of shape (n,)
        Kind and group of each photograph.
    marked : ndarray of bool of shape (n,)
        Whether the mask of the photograph has any pixel.
    seed : int
        Seed of the choice of the normal groups to test on.
    development : bool
        Whether to test on the half for development.

    Returns
    -------
    train, test : ndarray of bool of shape (n,)
    """
    order = np.random.RandomState(0).permutation(np.unique(groups))
    half = np.isin(groups, order[: len(order) // 2]) == development
    whole = ~np.isin(groups, groups[kinds > 0])
    free = np.random.RandomState(seed).permutation(np.unique(groups[half & whole]))
    tested = np.isin(groups, free[: len(free) // 3])
    train = whole & ~tested & (half if development else True)
    return train, tested | (half & marked & (kinds > 0))


def flat_field(images: np.ndarray) -> np.ndarray:
    """Subtract the median of each column from the logarithms of the pixels.

    Tiles are ground from top to bottom and lit unevenly from left to right. The median
    of a column removes both. The 8 grey levels that are added damp the dark borders.

    Parameters
    ----------
    images : ndarray of shape (n, H, W), uint8

    Returns
    -------
    flat : ndarray of shape (n, H, W), float32
        Between -1 and 1.
    """
    logarithms = np.log(images.astype(np.float32) + 8)
    flat = logarithms - np.median(logarithms, axis=1, keepdims=True)
    return np.clip(flat, -1, 1)


def with_flips(images: np.ndarray) -> np.ndarray:
    """Add the images flipped left to right, top to bottom, and both."""
    flipped = np.concatenate([images, images[:, :, ::-1]])
    return np.concatenate([flipped, flipped[:, ::-1]])


# Methods ------------------------------------------------------------------------


def _gaussian(train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    deviations = np.abs(test - train.mean(0)) / train.std(0)
    return {"deviation": deviations}, np.square(deviations).mean((1, 2))


def _pca(
    n_components: int,
) -> Callable[[np.ndarray, np.ndarray, int], Found]:
    def method(train: np.ndarray, test: np.ndarray, seed: int) -> Found:
        pca = PCA(n_components, svd_solver="randomized", random_state=seed)
        rows = test.reshape(len(test), -1)
        pca.fit(train.reshape(len(train), -1))
        residuals = np.abs(rows - pca.inverse_transform(pca.transform(rows)))
        maps = {"residual": residuals.reshape(test.shape)}
        return maps, np.square(residuals).mean(1)

    return method


def _detector(
    make: type[Any], **parameters: Any
) -> Callable[[np.ndarray, np.ndarray, int], Found]:
    def method(train: np.ndarray, test: np.ndarray, seed: int) -> Found:
        detector = make(random_state=seed, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            detector.fit(train)
        kinds = ("residual", "features")
        maps = {kind: detector.anomaly_map(test, kind=kind) for kind in kinds}
        return maps, -detector.score_samples(test)

    return method


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, int], Found]] = {
    "Gaussian of each pixel": _gaussian,
    "PCA, 32 components": _pca(32),
    "PCA, 64 components": _pca(64),
    "AnoGAN": _detector(AnoGANDetector, n_filters=8, latent_dim=64, max_iter=600),
    "f-AnoGAN": _detector(
        FAnoGANDetector,
        n_filters=8,
        latent_dim=64,
        max_iter=600,
        encoder_max_iter=600,
    ),
    "OCGAN": _detector(
        OCGANDetector,
        n_filters=8,
        latent_dim=32,
        noise_variance=0.05,
        n_mining_steps=0,
        max_iter=600,
    ),
    "OCGAN, its auto-encoder alone": _detector(
        OCGANDetector,
        n_filters=16,
        latent_dim=32,
        noise_variance=0.05,
        latent_discriminator=False,
        visual_discriminator=False,
        n_mining_steps=0,
        max_iter=2500,
    ),
}
"""Name, and the function from training images, test images and a seed to maps.

The parameters of the last method are the best of a few on the development half. The
others have a budget of minutes."""


# Measurements -------------------------------------------------------------------


def measure(
    maps: np.ndarray, scores: np.ndarray, tiles: Tiles, smoothing: float
) -> dict[str, float]:
    """Measure one kind of map of the test photographs.

    Parameters
    ----------
    maps : ndarray of shape (n, H, W)
    scores : ndarray of shape (n,)
        Higher is more anomalous.
    tiles : Tiles
        The n photographs.
    smoothing : float
        Standard deviation of the smoothing in pixels.

    Returns
    -------
    found : dict of str to float
        AUROC of photographs by `scores` and by the highest value of their map; AUROC of
        pixels, for all defects, for each kind, and for all kinds but Uneven, always
        against the same Free photographs; per-region overlap.
    """
    if smoothing:
        maps = gaussian_filter(maps, (0, smoothing, smoothing))
    defect, kinds = tiles.kinds > 0, tiles.kinds
    found = {
        "image, score": roc_auc_score(defect, scores),
        "image, map": roc_auc_score(defect, maps.max((1, 2))),
        "pixel": pixel_auroc(tiles.masks, maps),
        "PRO": region_overlap(tiles.masks, maps),
    }
    for kind, name in enumerate(tiles.names[1:], 1):
        some = (kinds == 0) | (kinds == kind)
        found[name] = pixel_auroc(tiles.masks[some], maps[some])
    some = kinds != tiles.names.index("Uneven")
    found["without Uneven"] = pixel_auroc(tiles.masks[some], maps[some])
    return found


def _study(
    tiles: Tiles, names: list[str], seed: int, development: bool, widths: list[float]
) -> dict[str, dict[str, float]]:
    marked: np.ndarray = np.asarray(tiles.masks.any((1, 2)))
    train, test = split(tiles.kinds, tiles.groups, marked, seed, development)
    images, masks, kinds, groups = (part[test] for part in tiles[:4])
    tested = Tiles(images, masks, kinds, groups, tiles.names)
    flat = flat_field(tiles.images)
    images = with_flips(flat[train])
    found = {}
    for name in tqdm(names, desc=f"seed {seed}", unit="method"):
        started = time.perf_counter()
        maps, scores = METHODS[name](images, flat[test], seed)
        seconds = time.perf_counter() - started
        for (kind, values), width in itertools.product(maps.items(), widths):
            measured = measure(values, scores, tested, width)
            found[f"{name} | {kind} | {width:g}"] = {**measured, "s": seconds}
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
        prog="python examples/studies localisation",
        description="How well anomaly maps find the defects of magnetic tiles.",
    )
    parser.add_argument("data", help="magnetic_tile_64.npz")
    parser.add_argument("--seeds", default="0,1,2", help="such as 0,1,2")
    parser.add_argument(
        "--development", action="store_true", help="test on the development half"
    )
    parser.add_argument("--smoothing", default="0,3", help="widths in pixels")
    parser.add_argument("--only", default="", help="methods with this in their name")
    arguments = parser.parse_args(argv)
    names = [name for name in METHODS if arguments.only in name]
    widths = [float(width) for width in arguments.smoothing.split(",")]
    tiles = Tiles.load(arguments.data)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    runs = [_study(tiles, names, seed, arguments.development, widths) for seed in seeds]
    columns = list(next(iter(runs[0].values())))
    print(f"| method | map | smoothed | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 3) + "|")
    for name in runs[0]:
        cells = (np.mean([run[name][column] for run in runs]) for column in columns)
        print(f"| {name} | {' | '.join(f'{cell:.3g}' for cell in cells)} |")
    return 0

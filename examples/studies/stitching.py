"""Memory and seams of the stitched map of a large image.

The auto-encoder of `OCGANDetector` is fitted to patches of an artificial surface. It
then maps whole images, one of them in a process of its own. The study prints

- memory: the peak of the process while it mapped a normal image, minus what it held
  before, which includes the detector and the image (VmHWM and VmRSS of Linux);
- on an image of one grey level, the largest difference of neighbours in the map across
  the borders of windows, as a share of the range of the normal image's map. A decoder
  draws a faint pattern for a grey patch too. The difference is therefore split into the
  differences within the maps of the patches, blended in the same way, and the rest,
  which stitching made: the seams. The seams without overlap are printed as well;
- on the normal image, the mean difference across borders, divided by that elsewhere.
  Above 1, borders are visible.

    python examples/studies stitching --side 2000 --patch 64 --stride 16
"""

import argparse
import multiprocessing
import time
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, OutlierMixin

from skanogan import OCGANDetector
from skanogan.image import PatchDetector
from studies.resident_memory import forget_peak, memory_of_process

__all__ = ["GREY", "jumps", "main", "seams", "texture"]

GREY = 128
"""Grey level of polished places and of the flat image."""


class SameMap(OutlierMixin, BaseEstimator):
    """A detector that gives the same map for every patch.

    Parameters
    ----------
    values : ndarray of shape (patch, patch)
        The map.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def fit(self, X: np.ndarray, y: Any = None) -> "SameMap":
        """Do nothing."""
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Score all patches 0."""
        return np.zeros(len(X))

    def anomaly_map(self, X: np.ndarray) -> np.ndarray:
        """Return the map for each patch, (n, patch * patch)."""
        return np.tile(self.values.ravel(), (len(X), 1))


class Mapped(NamedTuple):
    """The map of an image, and what it took."""

    values: np.ndarray
    memory_before: float
    memory_added: float
    seconds: float


def texture(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Draw brushed metal: streaks of varying depth, with polished places.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    seed : int
        Each seed gives another surface.

    Returns
    -------
    image : ndarray of uint8
        With the mean grey level `GREY`.
    """
    rng = np.random.RandomState(seed)
    streaks = gaussian_filter(rng.normal(size=shape), (1.5, 8), mode="wrap")
    depth = gaussian_filter(rng.normal(size=shape), 40, mode="wrap")
    depth = np.maximum((depth - depth.mean()) / depth.std(), 0)
    surface = GREY + 30 * depth * streaks / streaks.std()
    return np.clip(surface, 0, 255).astype(np.uint8)


def jumps(found: np.ndarray, patch: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute differences of vertical neighbours, at borders of windows and elsewhere.

    Parameters
    ----------
    found : ndarray of shape (H, W)
        A map stitched from windows of `patch` pixels, `stride` apart.
    patch, stride : int
        In pixels.

    Returns
    -------
    across, elsewhere : ndarray of shape (n, W)
        Signed differences.
    """
    last = len(found) - patch
    starts = np.append(np.arange(0, last, stride), last)
    # The first row of a window and the row before; its last row and the row after.
    borders = np.union1d(starts, starts + patch)
    is_border = np.isin(np.arange(1, len(found)), borders)
    differences = np.diff(found, axis=0)
    return differences[is_border], differences[~is_border]


def seams(found: np.ndarray, patch_map: np.ndarray, stride: int) -> float:
    """Find the largest vertical jump across a border that stitching made.

    Parameters
    ----------
    found : ndarray of shape (H, W)
        The map of an image of one grey level.
    patch_map : ndarray of shape (patch, patch)
        The map of each of its patches.
    stride : int
        Distance of windows in pixels.

    Returns
    -------
    jump : float
        In the units of the map.
    """
    patch = len(patch_map)
    own = np.diff(patch_map, axis=0, prepend=patch_map[:1])
    stitcher = PatchDetector(
        SameMap(own), patch_size=patch, stride=stride, contamination=0.1, random_state=0
    ).fit([np.zeros_like(patch_map)])
    made = found - np.cumsum(stitcher.anomaly_map(np.zeros_like(found)), axis=0)
    return float(np.abs(jumps(made, patch, stride)[0]).max())


def map_image(detector: PatchDetector, image: np.ndarray) -> Mapped:
    """Map an image and measure the memory of this process.

    Parameters
    ----------
    detector : PatchDetector
        A fitted detector.
    image : ndarray of shape (H, W)

    Returns
    -------
    mapped : Mapped
    """
    forget_peak()
    before = memory_of_process("VmRSS")
    started = time.perf_counter()
    values = detector.anomaly_map(image)
    seconds = time.perf_counter() - started
    return Mapped(values, before, memory_of_process("VmHWM", before), seconds)


def main(argv: list[str]) -> int:
    """Run the study and print its results.

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
        prog="python examples/studies stitching",
        description="Memory and seams of the stitched map of a large image.",
    )
    parser.add_argument("--side", type=int, default=2000, help="of the images, pixels")
    parser.add_argument("--patch", type=int, default=64, help="side of the patches")
    parser.add_argument("--stride", type=int, default=16, help="distance of patches")
    parser.add_argument("--max-iter", type=int, default=1000, help="updates")
    arguments = parser.parse_args(argv)
    side, patch, stride = arguments.side, arguments.patch, arguments.stride
    detector = PatchDetector(
        OCGANDetector(
            n_filters=8,
            latent_discriminator=False,
            visual_discriminator=False,
            n_mining_steps=0,
            max_iter=arguments.max_iter,
            device="cpu",
            random_state=0,
        ),
        patch_size=patch,
        stride=stride,
        patches_per_image=64,
        random_state=0,
    ).fit([texture((4 * patch, 4 * patch), seed) for seed in range(1, 21)])
    normal = texture((side, side), 0)
    with multiprocessing.get_context("spawn").Pool(1) as fresh_process:
        mapped = fresh_process.apply(map_image, (detector, normal))
    flat = np.full_like(normal, GREY)
    patch_map = detector.estimator_.anomaly_map(flat[None, :patch, :patch])[0]
    blended = detector.anomaly_map(flat)
    tiled = detector.anomaly_map(flat, stride=patch)
    values = mapped.values
    span = values.max() - values.min()
    # In both directions: the transposed map has the horizontal neighbours.
    jump, seam, tile = (
        max(found) / span
        for found in (
            [np.abs(jumps(m, patch, stride)[0]).max() for m in (blended, blended.T)],
            [seams(blended, patch_map, stride), seams(blended.T, patch_map.T, stride)],
            [seams(tiled, patch_map, patch), seams(tiled.T, patch_map.T, patch)],
        )
    )
    across, elsewhere = (
        np.mean([np.abs(jumps(m, patch, stride)[k]).mean() for m in (values, values.T)])
        for k in (0, 1)
    )
    print(
        f"{side} x {side} pixels, patches of {patch}, stride {stride}: "
        f"{mapped.seconds:.1f} s, {mapped.memory_added / 1e6:.0f} MB over the start "
        f"({mapped.memory_before / 1e6:.0f} MB), of which the map is "
        f"{values.nbytes / 1e6:.0f} MB"
    )
    print(f"normal image: map from {values.min():.4f} to {values.max():.4f}")
    print(
        f"flat image: largest jump across borders {jump:.2%} of that range, of which "
        f"stitching made {seam:.2%}; without overlap it makes {tile:.2%}"
    )
    print(
        "normal image: mean jump across borders divided by that elsewhere "
        f"{across / elsewhere:.4f}"
    )
    return 0

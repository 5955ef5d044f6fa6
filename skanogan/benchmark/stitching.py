"""Memory and seams of a stitched map: ``python -m`` this module.

Trains the auto-encoder of `OCGANDetector` on patches of a made-up surface, then maps
whole images, one of them in a process of its own. It prints

- memory: the most that the process held while it mapped a normal image, over what it
  held just before, detector and image included (VmHWM and VmRSS of Linux);
- on an image of one grey, the greatest difference of neighbours in the map across the
  borders of windows, as a share of the range (greatest less least) of the normal
  image's map. A decoder draws a faint pattern for a grey patch too, so this is split
  into what neighbours differ by in the maps of the patches themselves (blended as they
  are), and the rest, which stitching made: the seams. Beside it the same without
  overlap, which shows that it can see one;
- on the normal image, the mean difference across borders over that elsewhere: above 1
  where borders stand out.

    python -m skanogan.benchmark.stitching --side 2000 --patch 64 --stride 16
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from skanogan import OCGANDetector
from skanogan._patches import blend, grid
from skanogan.benchmark._memory import forget_peak, memory_of_process
from skanogan.image import PatchDetector

__all__ = ["jumps", "main", "seams", "texture"]

GREY = 128
"""Of what is polished, and of the flat image."""


def texture(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Brushed metal: streaks, deep in places and polished away in others.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    seed : int
        Another one is another surface.

    Returns
    -------
    image : ndarray of uint8
        Around a mean grey.
    """
    rng = np.random.RandomState(seed)
    streaks = gaussian_filter(rng.normal(size=shape), (1.5, 8), mode="wrap")
    depth = gaussian_filter(rng.normal(size=shape), 40, mode="wrap")
    depth = np.maximum((depth - depth.mean()) / depth.std(), 0)
    surface = GREY + 30 * depth * streaks / streaks.std()
    return np.clip(surface, 0, 255).astype(np.uint8)


def jumps(found: np.ndarray, patch: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences of neighbours down the map, across borders of windows and elsewhere.

    Parameters
    ----------
    found : ndarray of shape (H, W)
        A map stitched of windows of `patch` pixels, `stride` apart.
    patch, stride : int
        In pixels.

    Returns
    -------
    across, elsewhere : ndarray of shape (n, W)
        With their signs.
    """
    last = len(found) - patch
    starts = np.append(np.arange(0, last, stride), last)
    # A window's first line and the one before; its last line and the one after.
    borders = np.union1d(starts, starts + patch)
    is_border = np.isin(np.arange(1, len(found)), borders)
    differences = np.diff(found, axis=0)
    return differences[is_border], differences[~is_border]


def seams(found: np.ndarray, patch_map: np.ndarray, stride: int) -> float:
    """The greatest jump down the map across a border that stitching made.

    Parameters
    ----------
    found : ndarray of shape (H, W)
        The map of an image of one grey.
    patch_map : ndarray of shape (patch, patch)
        The map of each of its patches.
    stride : int
        From window to window, in pixels.

    Returns
    -------
    jump : float
        In the units of the map.
    """
    patch = len(patch_map)
    own = np.diff(patch_map, axis=0, prepend=patch_map[:1])
    corners = grid(found.shape, patch_map.shape, (stride, stride))
    drawn = blend(((corner, own) for corner in corners), found.shape, patch_map.shape)
    made = found - np.cumsum(drawn, axis=0)
    return float(np.abs(jumps(made, patch, stride)[0]).max())


def main(argv: "list[str] | None" = None) -> int:
    """Print the figures.

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
    parser.add_argument("--side", type=int, default=2000, help="of the images mapped")
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--max-iter", type=int, default=1000, help="of the training")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        return _measure(arguments.measure)
    side, patch, stride = arguments.side, arguments.patch, arguments.stride
    detector = PatchDetector(
        OCGANDetector(
            n_filters=8,
            latent_discriminator=False,
            visual_discriminator=False,
            mining=False,
            max_iter=arguments.max_iter,
            device="cpu",
            random_state=0,
        ),
        patch_size=patch,
        stride=stride,
        random_state=0,
    ).fit([texture((4 * patch, 4 * patch), seed) for seed in range(1, 21)])
    normal = texture((side, side), 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "detector.pickle").write_bytes(pickle.dumps(detector))
        np.save(folder / "image.npy", normal)
        command = [sys.executable, "-m", "skanogan.benchmark.stitching"]
        run = subprocess.run(
            [*command, "--measure", name], capture_output=True, text=True, check=True
        )
        measured = json.loads(run.stdout.splitlines()[-1])
        mapped = np.load(folder / "map.npy")
    flat = np.full_like(normal, GREY)
    patch_map = detector.estimator_.anomaly_map(flat[None, :patch, :patch])[0]
    blended = detector.anomaly_map(flat)
    tiled = detector.anomaly_map(flat, stride=patch)
    span = mapped.max() - mapped.min()
    # Both ways: down the map and, turned, across it.
    jump, seam, tile = (
        max(values) / span
        for values in (
            [np.abs(jumps(m, patch, stride)[0]).max() for m in (blended, blended.T)],
            [seams(blended, patch_map, stride), seams(blended.T, patch_map.T, stride)],
            [seams(tiled, patch_map, patch), seams(tiled.T, patch_map.T, patch)],
        )
    )
    across, elsewhere = (
        np.mean([np.abs(jumps(m, patch, stride)[k]).mean() for m in (mapped, mapped.T)])
        for k in (0, 1)
    )
    print(
        f"{side} x {side} pixels, patches of {patch}, stride {stride}: "
        f"{measured['seconds']:.1f} s, {measured['peak'] / 1e6:.0f} MB over the start "
        f"({measured['start'] / 1e6:.0f} MB), of which the map is "
        f"{mapped.nbytes / 1e6:.0f} MB"
    )
    print(f"normal image: map from {mapped.min():.4f} to {mapped.max():.4f}")
    print(
        f"flat image: greatest jump across borders {jump:.2%} of that range, of which "
        f"stitching made {seam:.2%}; without overlap it makes {tile:.2%}"
    )
    print(
        "normal image: mean jump across borders over that elsewhere "
        f"{across / elsewhere:.4f}"
    )
    return 0


def _measure(folder: Path) -> int:
    """What the fresh process does: load, map, and look at its own memory."""
    detector = pickle.loads((folder / "detector.pickle").read_bytes())
    image = np.load(folder / "image.npy")
    forget_peak()
    start = memory_of_process("VmRSS")
    started = time.perf_counter()
    found = detector.anomaly_map(image)
    taken = time.perf_counter() - started
    peak = memory_of_process("VmHWM") - start
    np.save(folder / "map.npy", found)
    print(json.dumps({"start": start, "peak": peak, "seconds": taken}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Memory and seams of a stitched map: ``python -m`` this module.

Trains `AnoGANDetector` on patches of a made-up texture, then maps whole images in a
process of its own, and prints

- memory: the most that the process held while it mapped a normal image, over what it
  held just before, detector and image included (VmHWM and VmRSS of Linux);
- jumps: on an image of one grey, the greatest difference of neighbours in the map
  across the borders of the windows, as a share of the range (greatest less least) of
  the normal image's map. Beside it the same without overlap, which shows what a seam
  measures, and the greatest difference between other neighbours, which shows how much
  is the detector's own pattern;
- on the normal image, the mean difference across borders over that elsewhere: 1 where
  borders cannot be told.

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

from skanogan import AnoGANDetector
from skanogan.benchmark.speed._growth import _forget_peak, _status
from skanogan.image import PatchDetector

__all__ = ["jumps", "main", "texture"]


def texture(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Streaks of grey, as in brushed metal.

    Parameters
    ----------
    shape : (int, int)
    seed : int

    Returns
    -------
    image : ndarray of uint8
    """
    noise = np.random.RandomState(seed).normal(size=shape)
    streaks = gaussian_filter(noise, (1.5, 8), mode="wrap")
    return np.clip(128 + 40 * streaks / streaks.std(), 0, 255).astype(np.uint8)


def jumps(found: np.ndarray, patch: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Absolute differences of neighbours across borders of windows, and of others.

    Parameters
    ----------
    found : ndarray of shape (H, W)
        A map stitched of windows of `patch` pixels, `stride` apart.
    patch, stride : int

    Returns
    -------
    across, others : ndarray of shape (n,)
    """
    across, others = [], []
    for lines in (found, found.T):
        last = len(lines) - patch
        starts = np.append(np.arange(0, last, stride), last)
        # A window's first line and the one before; its last line and the one after.
        borders = np.union1d(starts, starts + patch)
        is_border = np.isin(np.arange(1, len(lines)), borders)
        differences = np.abs(np.diff(lines, axis=0))
        across.append(differences[is_border].ravel())
        others.append(differences[~is_border].ravel())
    return np.concatenate(across), np.concatenate(others)


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
    parser.add_argument("--max-iter", type=int, default=500, help="of the training")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        return _measure(arguments.measure)
    side, patch, stride = arguments.side, arguments.patch, arguments.stride
    detector = PatchDetector(
        AnoGANDetector(
            n_filters=8,
            n_candidates=512,
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
    flat = np.full_like(normal, round(normal.mean()))
    blended, other = jumps(detector.anomaly_map(flat), patch, stride)
    tiled, _ = jumps(detector.anomaly_map(flat, stride=patch), patch, patch)
    across, others = jumps(mapped, patch, stride)
    span = mapped.max() - mapped.min()
    print(
        f"{side} x {side} pixels, patches of {patch}, stride {stride}: "
        f"{measured['seconds']:.1f} s, {measured['peak'] / 1e6:.0f} MB over the start "
        f"({measured['start'] / 1e6:.0f} MB), of which the map is "
        f"{mapped.nbytes / 1e6:.0f} MB"
    )
    print(
        f"range of the normal map: {span:.4f} ({mapped.min():.4f} to "
        f"{mapped.max():.4f}; training range 2)"
    )
    print(
        f"flat image, greatest jump across borders: {blended.max() / span:.3%} of the "
        f"range; other neighbours {other.max() / span:.3%}; borders without overlap "
        f"{tiled.max() / span:.3%}"
    )
    print(
        "normal image, mean jump across borders over others: "
        f"{across.mean() / others.mean():.4f}"
    )
    return 0


def _measure(folder: Path) -> int:
    """What the fresh process does: load, map, and look at its own memory."""
    detector = pickle.loads((folder / "detector.pickle").read_bytes())
    image = np.load(folder / "image.npy")
    _forget_peak()
    start = _status("VmRSS", 0)
    started = time.perf_counter()
    found = detector.anomaly_map(image)
    taken = time.perf_counter() - started
    peak = _status("VmHWM", 0) - start
    np.save(folder / "map.npy", found)
    print(json.dumps({"start": start, "peak": peak, "seconds": taken}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

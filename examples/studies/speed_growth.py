"""Section `growth`: time and memory of scores and fits for growing numbers of rows."""

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skanogan import AnoGANDetector
from studies.report import machine_line, markdown, section
from studies.resident_memory import forget_peak, memory_of_process
from studies.timing import seconds

__all__ = ["QUICK", "growth_section", "measure_fit", "measure_scores", "write_images"]

QUICK: dict[str, Any] = {"n_rows": (1_000, 10_000), "n_images": (2_000,)}

N_COLUMNS, SIDE = 20, 64


def growth_section(
    n_rows: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000),
    n_images: tuple[int, ...] = (10_000, 1_000_000),
    max_iter: int = 100,
) -> str:
    """Score tables in memory, and fit to images in a mapped file.

    Parameters
    ----------
    n_rows : tuple of int
        Numbers of rows to score, of 20 columns in float64.
    n_images : tuple of int
        Numbers of images to fit, of 64 x 64 pixels in uint8. A million are 4 GB.
    max_iter : int, default=100
        Updates of the fit.

    Returns
    -------
    text : str
    """
    scored = [_in_a_fresh_process(measure_scores, n) for n in n_rows]
    middle = scored[len(scored) // 2 if len(scored) < 3 else 1]
    n_middle = int(middle["n"])
    lines = [
        [
            f"{n:,}",
            f"{found['seconds'] / n * 1e6:.3g}",
            f"{found['seconds'] / n / (middle['seconds'] / middle['n']):.3f}",
            _megabytes(found["peak"]),
            f"{found['peak'] / middle['peak']:.3f}" if found["peak"] else "n/a",
        ]
        for n, found in zip(n_rows, scored, strict=True)
    ]
    text = markdown(
        ["rows scored", "microseconds per row", "ratio", "peak MB", "ratio"], lines
    )
    with tempfile.TemporaryDirectory() as folder:
        fitted = [
            _in_a_fresh_process(
                measure_fit, str(write_images(Path(folder), n)), max_iter
            )
            for n in n_images
        ]
    images = markdown(
        ["images fitted", "seconds", "peak MB", "peak MB without mapped files"],
        [
            [
                f"{n:,}",
                f"{f['seconds']:.3g}",
                _megabytes(f["peak"]),
                _megabytes(f["own"]),
            ]
            for n, f in zip(n_images, fitted, strict=True)
        ],
    )
    return section(
        "growth",
        machine_line(),
        f"Each size runs in a process of its own. Ratios are to {n_middle:,} rows. "
        "X and the scores are subtracted from the peak of resident memory (VmHWM).",
        text,
        f"`fit` with max_iter={max_iter} to images in a mapped file. The peak is that "
        "of the whole process, with torch and Python.",
        images,
    )


def measure_scores(n: int) -> dict[str, float]:
    """Score rows and measure the time and memory of this process.

    Parameters
    ----------
    n : int
        Number of rows.

    Returns
    -------
    measured : dict of str to float
        "n", "seconds" of one pass, and "peak" in bytes.
    """
    rng = np.random.RandomState(0)
    detector = AnoGANDetector(max_iter=100, random_state=0)
    detector.fit(rng.normal(size=(2000, N_COLUMNS)))
    X = rng.normal(size=(n, N_COLUMNS))
    detector.score_samples(X[:1000])
    # Several passes over few rows, so that the load of the machine averages out.
    n_passes = max(1, 200_000 // n)
    forget_peak()
    taken = seconds(lambda: [detector.score_samples(X) for _ in range(n_passes)])
    peak = memory_of_process("VmHWM", X.nbytes + 8 * n)
    return {"n": n, "seconds": taken / n_passes, "peak": peak}


def measure_fit(path: str, max_iter: int) -> dict[str, float]:
    """Fit to images in a file and measure the time and memory of this process.

    Parameters
    ----------
    path : str
        A file of images, as `write_images` writes it.
    max_iter : int
        Updates of the fit.

    Returns
    -------
    measured : dict of str to float
        "n", "seconds", "peak" in bytes, and "own", the bytes without mapped files.
    """
    images = np.load(path, mmap_mode="r")
    detector = AnoGANDetector(max_iter=max_iter, random_state=0)
    forget_peak()
    return {
        "n": len(images),
        "seconds": seconds(lambda: detector.fit(images)),
        "peak": memory_of_process("VmHWM"),
        "own": memory_of_process("RssAnon"),
    }


def _in_a_fresh_process(
    function: Callable[..., dict[str, float]], *args: Any
) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def write_images(folder: Path, n: int) -> Path:
    """Write a file of random images, piece by piece.

    Parameters
    ----------
    folder : Path
    n : int
        Number of images.

    Returns
    -------
    path : Path
        The file.
    """
    path = folder / f"{n}.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE))
    rng = np.random.RandomState(0)
    for at in range(0, n, 10_000):
        length = min(10_000, n - at)
        images[at : at + length] = rng.randint(0, 256, (length, SIDE, SIDE), np.uint8)
    images.flush()
    return path


def _megabytes(n_bytes: float) -> str:
    return "n/a" if n_bytes != n_bytes else f"{n_bytes / 1e6:,.0f}"

"""Section `growth`: time and memory of scoring and of fit over the number of rows."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from skanogan import AnoGANDetector
from skanogan.benchmark._memory import forget_peak, memory_of_process
from skanogan.benchmark.speed._text import machine_line, markdown, section
from skanogan.benchmark.speed._timing import seconds

__all__ = ["QUICK", "growth_section", "measure"]

QUICK: dict[str, Any] = {"n_rows": (1_000, 10_000), "n_images": (2_000,)}

N_COLUMNS, SIDE = 20, 64


def growth_section(
    n_rows: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000),
    n_images: tuple[int, ...] = (10_000, 1_000_000),
    max_iter: int = 100,
) -> str:
    """Score tables in memory, and fit on images in a mapped file.

    Parameters
    ----------
    n_rows : tuple of int
        Rows of 20 columns in float64 that are scored.
    n_images : tuple of int
        Images of 64 x 64 in uint8 that are fitted; a million are a file of 4 GB.
    max_iter : int, default=100
        Updates of that fit.

    Returns
    -------
    text : str
    """
    scored = [_in_a_fresh_process("score", n, "") for n in n_rows]
    middle = scored[len(scored) // 2 if len(scored) < 3 else 1]
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
        ["rows scored", "microseconds a row", "ratio", "peak MB", "ratio"], lines
    )
    with tempfile.TemporaryDirectory() as folder:
        fitted = [
            _in_a_fresh_process(f"fit {max_iter}", n, str(_images(Path(folder), n)))
            for n in n_images
        ]
    images = markdown(
        ["images fitted", "seconds", "peak MB", "of it without mapped files"],
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
        "Each size in a process of its own; ratios to 10,000 rows. Peak resident "
        "memory (VmHWM) less X and the scores.",
        text,
        f"`fit` with max_iter={max_iter} on images in a mapped file; the peak of the "
        "whole process, torch and Python included.",
        images,
    )


def measure(task: str, n: int, path: str) -> dict[str, float]:
    """What a fresh process does: make or open X, run, and look at its own memory.

    Parameters
    ----------
    task : {"score", "fit MAX_ITER"}
    n : int
        Rows.
    path : str
        Of the images.
    """
    if task == "score":
        rng = np.random.RandomState(0)
        detector = AnoGANDetector(max_iter=100, random_state=0)
        detector.fit(rng.normal(size=(2000, N_COLUMNS)))
        X = rng.normal(size=(n, N_COLUMNS))
        detector.score_samples(X[:1000])
        # By turns, for long enough that a slow moment of the machine does not decide.
        n_turns = max(1, 200_000 // n)
        forget_peak()
        taken = seconds(lambda: [detector.score_samples(X) for _ in range(n_turns)])
        held = X.nbytes + 8 * n
        return {
            "n": n,
            "seconds": taken / n_turns,
            "peak": memory_of_process("VmHWM", held),
        }
    images = np.load(path, mmap_mode="r")
    detector = AnoGANDetector(max_iter=int(task.split()[1]), random_state=0)
    forget_peak()
    taken = seconds(lambda: detector.fit(images))
    return {
        "n": n,
        "seconds": taken,
        "peak": memory_of_process("VmHWM", 0),
        "own": memory_of_process("RssAnon", 0),
    }


def _in_a_fresh_process(task: str, n: int, path: str) -> dict[str, float]:
    code = (
        "import json, sys, warnings; warnings.simplefilter('ignore')\n"
        "from skanogan.benchmark.speed._growth import measure\n"
        "print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, task, str(n), path],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def _images(folder: Path, n: int) -> Path:
    """A file of random images, written a piece at a time."""
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

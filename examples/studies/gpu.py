"""Everything that needs a GPU, in one run of some eight minutes and one report.

    python examples/studies gpu                      # cuda, or mps, or the CPU
    python examples/studies gpu --output report.md
    python examples/studies gpu --device cpu --quick  # a test of this script

The report is written after each section, so that a run that is cut short leaves what it
has found. A section that fails is reported, and the next one runs. A section that would
begin after `--minutes` is left out. On the CPU the report says that there is no GPU.

- `tests`: the tests that are marked with cuda.
- `checks`: the estimator checks of scikit-learn and of this package.
- `agreement`: scores in float32 and float64 against the CPU.
- `files`: saved on the device, opened on the CPU.
- `search`: gradient steps, which CUDA captures as a graph, against the CPU.
- `memory`: chunks become smaller if memory runs out.
- `speed`: seconds of fit and search against the CPU, and the share of the peak.
- `processes`: two processes on one device.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
import unittest
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

import skanogan
from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.utils.estimator_checks import detector_checks
from studies.report import machine_line, markdown, section
from studies.speed_limit import QUICK, limit_section
from studies.timing import seconds

__all__ = ["SECTIONS", "main"]

DETECTORS = (AnoGANDetector, FAnoGANDetector, OCGANDetector)

CHEAP: dict[str, Any] = {
    "n_estimators": 1,
    "max_iter": 10,
    "encoder_max_iter": 10,
    "n_candidates": 64,
    "hidden_layer_sizes": (16, 16),
    "n_filters": 4,
    "latent_dim": 4,
    "random_state": 0,
}


FILES = [
    *(
        "tests/nn/test_latent_search.py",
        "tests/runtime/test_device.py",
        "tests/test_ties.py",
    ),
    *("tests/runtime/test_concurrency.py", "tests/persistence/test_saving.py"),
]
"""Files with tests that are marked with cuda."""


def make(detector_class: type, device: str, **parameters: Any) -> Any:
    """Make a detector with a small budget, from those parameters that it has."""
    known = detector_class().get_params()
    wanted = {**CHEAP, "device": device, **parameters}
    return detector_class(**{k: v for k, v in wanted.items() if k in known})


def data(quick: bool) -> dict[str, np.ndarray]:
    """Draw a table and images."""
    rng, n = np.random.RandomState(0), 100 if quick else 2000
    side = 8 if quick else 28
    return {"table": rng.normal(size=(n, 6)), "images": rng.rand(n, side, side)}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Compute the largest difference, as a share of the range of the scores."""
    return float(np.abs(found - expected).max() / np.ptp(expected))


def tests(device: str, quick: bool) -> str:
    """Run the tests that are marked with cuda; in the quick form, collect them."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda"]
    # Collecting all tests takes a minute.
    command += ["--collect-only", *FILES[:2]] if quick else FILES
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=240
    )
    if done.returncode not in (0, 5):
        raise AssertionError(done.stdout[-3000:])
    return done.stdout.strip().splitlines()[-1]


def checks(device: str, quick: bool) -> str:
    """Count the checks that pass, and name those that fail; some in the quick form."""
    lines = []
    for detector_class in DETECTORS[:1] if quick else DETECTORS:
        # In float64, in which a row alone and in a batch has the same score to 1e-9.
        detector = make(detector_class, device)
        failed, n_passed = [], 0
        cases = [*estimator_checks_generator(detector), *detector_checks(detector)]
        for each, check in cases[:: 20 if quick else 1]:
            try:
                check(clone(each))
                n_passed += 1
            except unittest.SkipTest:
                continue
            except Exception as error:
                name = getattr(check, "func", check).__name__
                failed.append(f"{name} ({type(error).__name__})")
        lines.append([detector_class.__name__, n_passed, ", ".join(failed) or "none"])
    return markdown(["detector", "passed", "failed"], lines)


def agreement(device: str, quick: bool) -> str:
    """Compare scores of one fitted detector on both devices."""
    lines = []
    for name, X in data(quick).items():
        for detector_class in DETECTORS:
            for dtype in ("float64", "float32"):
                if device == "mps" and dtype == "float64":
                    continue
                fitted = make(detector_class, "cpu", scoring_dtype=dtype).fit(X)
                there = moved(fitted, device)
                found = difference(there.score_samples(X), fitted.score_samples(X))
                lines.append([detector_class.__name__, name, dtype, f"{found:.1e}"])
    header = ["detector", "rows", "dtype", "largest difference, share of the range"]
    return markdown(header, lines)


def moved(fitted: Any, device: str) -> Any:
    """Save a detector, and load it on a device."""
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "detector")
        return skanogan.load(Path(folder) / "detector", device=device)


def files(device: str, quick: bool) -> str:
    """Fit on the device, and open files and pickles on a machine without it."""
    lines = []
    for name, X in data(quick).items():
        fitted = make(AnoGANDetector, device).fit(X)
        expected = fitted.score_samples(X)
        stored = pickle.dumps(fitted)
        os.environ["SKANOGAN_EXCLUDE_DEVICES"] = "cuda,mps"
        try:
            opened = {"save": moved(fitted, "cpu"), "pickle": pickle.loads(stored)}
        finally:
            del os.environ["SKANOGAN_EXCLUDE_DEVICES"]
        for way, copy in opened.items():
            if copy.device_.type != "cpu":
                raise AssertionError(f"{way} was opened on {copy.device_}")
            found = difference(copy.score_samples(X), expected)
            lines.append([name, way, f"{found:.1e}"])
    return markdown(["rows", "way", "largest difference, share of the range"], lines)


def search(device: str, quick: bool) -> str:
    """Take gradient steps on both devices; CUDA captures one and replays it."""
    lines = []
    for name, X in data(quick).items():
        fitted = make(AnoGANDetector, "cpu", n_steps=5 if quick else 30).fit(X)
        there = moved(fitted, device)
        found = difference(there.score_samples(X), fitted.score_samples(X))
        again = bool((there.score_samples(X) == there.score_samples(X)).all())
        lines.append([name, f"{found:.1e}", again])
    return markdown(["rows", "largest difference", "twice the same"], lines)


def memory(device: str, quick: bool) -> str:
    """Give the process less memory than a chunk takes."""
    if device != "cuda":
        return "Only cuda can be given less memory. Left out."
    X = np.random.RandomState(0).rand(64 if quick else 4096, 64, 64)
    fitted = make(AnoGANDetector, device, n_filters=64).fit(X[:32])
    expected = fitted.score_samples(X)
    used = torch.cuda.memory_allocated() + 300 * 2**20
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        used / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        found = difference(fitted.score_samples(X), expected)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    retries = torch.cuda.memory_stats()["num_ooms"]
    return f"{retries} times out of memory; largest difference {found:.1e}."


def fitted_scores(device: str, quick: bool) -> np.ndarray:
    """Fit and score a table."""
    X = data(quick)["table"]
    scores: np.ndarray = make(AnoGANDetector, device).fit(X).score_samples(X)
    return scores


def processes(device: str, quick: bool) -> str:
    """Fit and score in two processes at once, and in this one."""
    spawn = multiprocessing.get_context("spawn")  # cuda cannot be forked
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        both = [pool.submit(fitted_scores, device, quick) for _ in range(2)]
        expected = fitted_scores(device, quick)
        found = [difference(each.result(), expected) for each in both]
    return f"Largest differences {found[0]:.1e} and {found[1]:.1e}."


def speed(device: str, quick: bool) -> str:
    """Time fits and searches on both devices, and measure the share of the peak."""
    lines = []
    budget = {} if quick else {"n_filters": 64, "hidden_layer_sizes": (256, 256)}
    for name, X in data(quick).items():
        for detector_class in DETECTORS:
            taken = []
            for each in ("cpu", device):
                detector = make(detector_class, each, n_steps=5, **budget)
                detector.fit(X).score_samples(X)  # loads kernels
                calls = (partial(detector.fit, X), partial(detector.score_samples, X))
                taken.append([seconds(call, torch.device(each)) for call in calls])
            (cpu_fit, cpu_score), (fit, score) = taken
            lines.append(
                [
                    *(detector_class.__name__, name),
                    *(f"{cpu_fit:.2f}", f"{fit:.2f}", f"{cpu_fit / fit:.1f}"),
                    *(f"{cpu_score:.2f}", f"{score:.2f}", f"{cpu_score / score:.1f}"),
                ]
            )
    header = ["detector", "rows", "fit, cpu, s", f"fit, {device}, s", "ratio"]
    header += ["score, cpu, s", f"score, {device}, s", "ratio"]
    share = limit_section(**QUICK) if quick else limit_section(n_rounds=2)
    return markdown(header, lines) + "\n\n" + share.replace("## ", "### ")


SECTIONS: dict[str, Callable[[str, bool], str]] = {
    each.__name__: each
    for each in (tests, agreement, files, search, memory, checks, speed, processes)
}
"""Sections in their order. If processes wait for each other, the rest is written."""


def main(argv: list[str]) -> int:
    """Run the sections and write the report.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0, or 1 if a section failed.
    """
    parser = argparse.ArgumentParser(
        prog="python examples/studies gpu",
        description="Everything that needs a GPU, in one run and one report.",
    )
    parser.add_argument(
        "sections", nargs="*", help=f"some of {', '.join(SECTIONS)} (default: all)"
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--quick", action="store_true", help="use tiny sizes")
    parser.add_argument("--minutes", type=float, default=7.0, help="begin no later")
    parser.add_argument("--output", default="gpu-report.md", help="file of the report")
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.sections) - set(SECTIONS)):
        parser.error(f"no section is named {', '.join(unknown)}")
    device = arguments.device
    if device == "auto":
        device = "mps" if torch.backends.mps.is_available() else "cpu"
        device = "cuda" if torch.cuda.is_available() else device
    begun, failed = time.monotonic(), []
    head = machine_line(torch.device(device))
    if device == "cpu":
        head = f"**There is no GPU in this run. It only tests the script.** {head}"
    report = [f"# GPU report\n\n{head}"]
    for name in arguments.sections or SECTIONS:
        started = time.monotonic()
        if started - begun > 60 * arguments.minutes:
            text = f"Left out: {arguments.minutes:g} minutes had passed."
        else:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    text = SECTIONS[name](device, arguments.quick)
            except Exception as error:
                failed.append(name)
                text = f"**Failed.** {type(error).__name__}: {error}"
        text += f"\n\n{time.monotonic() - started:.0f} seconds."
        report.append(section(name, text))
        Path(arguments.output).write_text("\n\n".join(report) + "\n", encoding="utf-8")
        print(report[-1], end="\n\n", flush=True)
    print(f"The report is in {arguments.output}. Failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))

"""Section `limit`: the share of the measured peak of the machine that scores reach."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from skanogan import AnoGANDetector
from studies.report import machine_line, markdown, section
from studies.tensors import as_tensor
from studies.timing import seconds, spread

__all__ = ["QUICK", "limit_section", "operations_of_a_step", "peak"]

QUICK: dict[str, Any] = {
    "names": ("convolutional, 28 x 28, float32",),
    "n_rows": 64,
    "n_steps": 3,
    "n_rounds": 1,
    "largest": 512,
}

NETWORKS: dict[str, tuple[tuple[int, ...], str]] = {
    "convolutional, 28 x 28, float32": ((28, 28), "float32"),
    "convolutional, 64 x 64, float32": ((64, 64), "float32"),
    "MLP, 20 columns, float64": ((20,), "float64"),
    "MLP, 20 columns, float32": ((20,), "float32"),
}


def limit_section(
    names: "tuple[str, ...] | None" = None,
    n_rows: int = 256,
    n_steps: int = 10,
    n_rounds: int = 5,
    largest: int = 4096,
) -> str:
    """Divide the rate of operations by the rate of the best large kernel.

    Parameters
    ----------
    names : tuple of str, default=None
        Names in `NETWORKS`. None is all.
    n_rows : int, default=256
        Number of rows.
    n_steps : int, default=10
        Steps of the search. The time without steps is subtracted.
    n_rounds : int, default=5
        How often peak, search and default score are timed in turn.
    largest : int, default=4096
        Side of the larger of the two matrix products.

    Returns
    -------
    text : str
    """
    lines = []
    for name in names or NETWORKS:
        shape, dtype = NETWORKS[name]
        found = _shares(shape, dtype, n_rows, n_steps, n_rounds, largest)
        lines += [[name, *line] for line in found]
    header = ["networks", "what", "million operations per row", "share of the peak"]
    return section(
        "limit",
        machine_line(),
        f"The peak is the best of matrix products of {largest // 4} x {largest // 4} "
        f"and {largest} x {largest} and of a convolution of 64 channels, in the same "
        "turn and precision. A step consists of G, f, the published loss, and the "
        "gradient for z.",
        markdown(header, lines),
    )


def _shares(
    shape: tuple[int, ...],
    dtype: str,
    n_rows: int,
    n_steps: int,
    n_rounds: int,
    largest: int,
) -> list[list[str]]:
    rng = np.random.RandomState(0)
    X = rng.normal(size=(max(n_rows, 64), *shape)).astype(np.float32)
    published = {"anomaly_score": "anogan", "n_candidates": 1}
    variants: list[dict[str, Any]] = [{**published, "n_steps": n} for n in (0, n_steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Untrained networks take as much time as trained ones.
        fitted = [
            AnoGANDetector(
                max_iter=1, scoring_dtype=dtype, random_state=0, **parameters
            ).fit(X)
            for parameters in (*variants, {})
        ]
    x, device = as_tensor(fitted[0], X[:n_rows]), fitted[0].device_
    without, searching, default = (detector.model_.members[0] for detector in fitted)
    in_step = operations_of_a_step(searching)
    in_score = operations(lambda: default.score(x)) / n_rows
    steps, scores = [], []
    with torch.no_grad():
        for _ in range(n_rounds + 1):
            best = peak(next(searching.generator.parameters()), largest)
            none, some = (
                seconds(partial(model.find_latents, x), device)
                for model in (without, searching)
            )
            steps.append(in_step * n_rows * n_steps / (some - none) / best)
            whole = seconds(lambda: default.score(x), device)
            scores.append(in_score * n_rows / whole / best)
    # The first turn loads kernels and is dropped.
    return [
        ["a step of the search", f"{in_step / 1e6:.3g}", str(spread(steps[1:]))],
        ["the default score", f"{in_score / 1e6:.3g}", str(spread(scores[1:]))],
    ]


def operations_of_a_step(model: Any) -> float:
    """Count the floating-point operations of G, f and their gradients for z.

    The networks are counted as they are written. The search may fold layers.

    Parameters
    ----------
    model : skanogan.models.AnoGAN

    Returns
    -------
    n_operations : float
        For each row.
    """
    n = 2
    weight: Tensor = next(model.generator.parameters())
    z = torch.zeros(n, model.latent_dim, device=weight.device, dtype=weight.dtype)
    z.requires_grad_(True)

    def step() -> None:
        drawn = model.generator(z)
        features = model.discriminator.features(drawn)
        # torch counts the operations of backward, not of autograd.grad.
        (drawn.sum() + features.sum()).backward()

    with torch.enable_grad():
        return operations(step) / n


def operations(function: Callable[[], object]) -> float:
    """Count the floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def peak(like: Tensor, largest: int) -> float:
    """Measure the operations per second of the best of three large kernels."""
    options: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
    found = []
    for side, n_times in ((largest // 4, 4), (largest, 1)):
        matrix = torch.ones(side, side, **options)
        product = partial(torch.mm, matrix, matrix)
        taken = min(seconds(product, like.device) for _ in range(n_times))
        found.append(2 * side**3 / taken)
    images = torch.ones(64, 64, 28, 28, **options)
    kernels = torch.ones(64, 64, 3, 3, **options)
    taken = min(
        seconds(
            lambda: torch.nn.functional.conv2d(images, kernels, padding=1), like.device
        )
        for _ in range(3)
    )
    found.append(2 * 64 * 64 * 64 * 9 * 28 * 28 / taken)
    return max(found)

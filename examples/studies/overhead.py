"""Time of AnoGANDetector compared with a bare torch loop.

`AnoGANDetector` with its default parameters is fitted to n rows of d columns and scores
them. The bare loop has the same networks, batch size and number of updates, and nothing
else: no validation, scaling, history, calibration, metric or scoring. The two are timed
in turn, and the median of their ratios is printed.

    python examples/studies overhead --rows 5000 --columns 20 --pairs 5
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from skanogan import AnoGANDetector

__all__ = ["bare_loop", "main"]


def bare_loop(X: np.ndarray, n_updates: int, batch_size: int = 128) -> None:
    """Train the same networks in a bare loop.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Scaled rows to train on.
    n_updates : int
        Updates of each network.
    batch_size : int, default=128
        Rows in a batch.
    """
    n, d = X.shape
    rows = torch.from_numpy(X).float()
    generator = nn.Sequential(
        nn.Linear(d, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, d)
    )
    discriminator = nn.Sequential(
        nn.Linear(d, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
    )
    g_adam, d_adam = (
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
        for network in (generator, discriminator)
    )
    average = [p.detach().clone() for p in generator.parameters()]
    order = torch.randperm(n)
    for update in range(n_updates):
        at = update * batch_size % n
        if at + batch_size > n:
            order, at = torch.randperm(n), 0
        real = rows[order[at : at + batch_size]]
        with torch.no_grad():
            drawn = generator(torch.randn(len(real), d))
        loss = softplus(-discriminator(real)).mean()
        loss = loss + softplus(discriminator(drawn)).mean()
        d_adam.zero_grad()
        loss.backward()
        d_adam.step()
        discriminator.requires_grad_(False)
        loss = softplus(-discriminator(generator(torch.randn(len(real), d)))).mean()
        g_adam.zero_grad()
        loss.backward()
        g_adam.step()
        discriminator.requires_grad_(True)
        current = [p.detach() for p in generator.parameters()]
        torch._foreach_lerp_(average, current, 0.001)


def main(argv: list[str]) -> int:
    """Run the study and print seconds and ratios.

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
        prog="python examples/studies overhead",
        description="Time of AnoGANDetector compared with a bare torch loop.",
    )
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5, help="times each is run")
    arguments = parser.parse_args(argv)
    X = np.random.RandomState(0).normal(size=(arguments.rows, arguments.columns))
    detector = AnoGANDetector(random_state=0, device="cpu")
    bare_loop(X, 20)  # the first optimiser of a process takes a second longer
    ours, bare = [], []
    for _ in range(arguments.pairs):
        started = time.perf_counter()
        detector.fit(X).score_samples(X)
        between = time.perf_counter()
        bare_loop(X, detector.n_iter_)
        bare.append(time.perf_counter() - between)
        ours.append(between - started)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    print(f"fit + score of {X.shape}: median {statistics.median(ours):.2f} s")
    print(
        f"bare loop, {detector.n_iter_} updates: median {statistics.median(bare):.2f} s"
    )
    print(
        f"ratio: median {statistics.median(ratios):.3f}, "
        f"from {min(ratios):.3f} to {max(ratios):.3f}"
    )
    return 0

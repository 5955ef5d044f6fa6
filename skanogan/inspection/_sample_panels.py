"""What SampleDisplay draws: grids of images, histograms of features."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skanogan.inspection._drawing import NORMAL_COLOUR

__all__ = ["draw_histograms", "in_a_grid"]

MOST_BINS = 30


def in_a_grid(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size in a square grid, white lines between them.

    Parameters
    ----------
    pictures : list of ndarray of shape (H, W) or (H, W, 3)
        Values in [0, 1].

    Returns
    -------
    grid : ndarray of shape (rows * (H + gap) - gap, ...)
    """
    height, width = pictures[0].shape[:2]
    n_columns = int(np.ceil(np.sqrt(len(pictures))))
    n_rows = -(-len(pictures) // n_columns)
    gap = max(1, round(0.04 * max(height, width)))
    down, across = height + gap, width + gap
    grid = np.ones(
        (n_rows * down - gap, n_columns * across - gap, *pictures[0].shape[2:])
    )
    for k, picture in enumerate(pictures):
        top, left = k // n_columns * down, k % n_columns * across
        grid[top : top + height, left : left + width] = picture
    return grid


def draw_histograms(ax: Any, drawn: np.ndarray, real: np.ndarray | None) -> Any:
    """Shares of the drawn rows as an outline, on those of the real rows."""
    both = drawn if real is None else np.concatenate([drawn, real])
    low, high = np.quantile(both, (0.005, 0.995))
    if low == high:
        low, high = both.min(), both.max()
    edges = np.histogram_bin_edges(np.clip(both, low, high), "auto")
    if len(edges) > MOST_BINS + 1:
        edges = np.linspace(low, high, MOST_BINS + 1)

    def shares(values: np.ndarray) -> np.ndarray:
        # The bars at both ends hold what lies beyond.
        counts = np.histogram(np.clip(values, low, high), edges)[0]
        return counts / len(values)

    if real is not None:
        ax.stairs(shares(real), edges, fill=True, color="0.75")
    return ax.stairs(shares(drawn), edges, color=NORMAL_COLOUR, linewidth=1.8)

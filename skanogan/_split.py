"""Which rows a fit trains on and which it holds out, and all that is random in it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skanogan._calibration import held_out_size
from skanogan.models import _processes

__all__ = ["Split", "split"]


@dataclass(frozen=True)
class Split:
    """The rows of a fit, as positions in X, and its seeds.

    Parameters
    ----------
    kept : ndarray of int
        To train on, in X's order.
    unseen : ndarray of int
        Held out, in random order, so that the first ones are a sample.
    seeds : ndarray of shape (4,)
        Of first weights, batches, noise, and what scoring fixes at the end.
    random_state : RandomState
        What comes after them.
    """

    kept: np.ndarray
    unseen: np.ndarray
    seeds: np.ndarray
    random_state: np.random.RandomState


def split(
    normal: np.ndarray,
    row_shape: tuple[int, ...],
    fraction: "float | str",
    random_state: Any,
    device: torch.device,
) -> Split:
    """Split the normal rows at random, in the same way in every process.

    Parameters
    ----------
    normal : ndarray of int
        Positions of the normal rows in X.
    row_shape : tuple of int
        (d,) or (H, W, C).
    fraction : float or "auto"
        Share that is held out, as in `held_out_size`.
    random_state : int, RandomState instance or None
    device : torch.device
        Over which processes talk.

    Returns
    -------
    split : Split

    Raises
    ------
    ValueError
        If another process has an X of another shape.
    """
    shape = (len(normal), *row_shape)
    rng, first_shape = _processes.from_first(
        (check_random_state(random_state), shape), device
    )
    if shape != first_shape:
        raise ValueError(
            f"Every process is to pass the same X: got normal rows of shape {shape}, "
            f"and the first process has {first_shape}. Each takes its part of every "
            "batch by itself."
        )
    seeds = rng.randint(np.iinfo(np.int32).max, size=4)
    order = rng.permutation(normal)
    n_held_out = held_out_size(len(normal), fraction)
    unseen, kept = order[:n_held_out], np.sort(order[n_held_out:])
    return Split(kept, unseen, seeds, rng)

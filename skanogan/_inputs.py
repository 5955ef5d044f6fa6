"""Rows in: flat, image, uint8, memmap -> batches on the device, in bounded memory."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from skanogan.models._scaling import Scaling

__all__ = ["Rows", "flatten_images", "normal_rows", "with_channels"]

RESIDENT_BYTES = 512 * 2**20
"""Rows up to this size go to the device at once; larger ones batch by batch."""

CHUNK_BYTES = 16 * 2**20


class Rows:
    """Rows of X as tensors, in X's own units and, where torch has it, its dtype.

    uint8 stays uint8 and a memmap stays on disk: scaling belongs to the model and
    happens batch by batch.

    Parameters
    ----------
    values : ndarray of shape (n, d)
        Validated and flat.
    image_shape : tuple of int or None
        (H, W, C): batches are then (n, C, H, W).
    device : torch.device
        Where batches go.
    indices : ndarray of int, default=None
        The rows of `values` this stands for; all by default.
    """

    def __init__(
        self,
        values: np.ndarray,
        image_shape: tuple[int, int, int] | None,
        device: torch.device,
        indices: np.ndarray | None = None,
    ) -> None:
        self.device = device
        self._values = values
        self._image_shape = image_shape
        self._indices = np.arange(len(values)) if indices is None else indices
        row_bytes = values.dtype.itemsize * values.shape[1]
        self._resident: Tensor | None = None
        if len(self._indices) * row_bytes <= RESIDENT_BYTES:
            self._resident = self._read(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def batch(self, at: Tensor) -> Tensor:
        """The rows at these positions, as (n, d) or (n, C, H, W) on the device.

        Parameters
        ----------
        at : Tensor of int64
            Positions among these rows, on the CPU.
        """
        if self._resident is not None:
            return self._resident.index_select(0, at.to(self._resident.device))
        return self._read(self._indices[at.numpy()])

    def chunks(self, length: int) -> "list[Tensor]":
        """Positions of consecutive chunks of at most `length` rows."""
        return list(torch.arange(len(self)).split(length))

    def all(self) -> Tensor:
        """All these rows at once."""
        return self.batch(torch.arange(len(self)))

    def some(self, n: int, rng: np.random.RandomState) -> Tensor:
        """A random subset of at most `n` rows."""
        at = rng.permutation(len(self))[:n]
        return self.batch(torch.from_numpy(np.sort(at)))

    def scaling(self) -> Scaling:
        """The scaling of these rows: standardised columns, or pixels to [-1, 1].

        uint8 images use the whole range of the type, others the range of the rows.
        """
        if self._image_shape is None:
            columns = StandardScaler()
            for values in self._stored_chunks():
                columns.partial_fit(values)
            return Scaling(*map(torch.from_numpy, (columns.mean_, columns.scale_)))
        if self._values.dtype == np.uint8:
            return Scaling.to_unit_box(0.0, 255.0)
        ranges = [(values.min(), values.max()) for values in self._stored_chunks()]
        lows, highs = zip(*ranges, strict=True)
        return Scaling.to_unit_box(float(min(lows)), float(max(highs)))

    def _stored_chunks(self) -> Iterator[np.ndarray]:
        """The rows as float64, a few megabytes at a time."""
        length = max(1, CHUNK_BYTES // (8 * self._values.shape[1]))
        for at in range(0, len(self), length):
            yield np.asarray(self._values[self._indices[at : at + length]], float)

    def _read(self, indices: np.ndarray) -> Tensor:
        rows = torch.from_numpy(_for_torch(self._values[indices]))
        if self.device.type == "mps" and rows.dtype == torch.float64:
            rows = rows.float()
        rows = rows.to(self.device)
        if self._image_shape is None:
            return rows
        height, width, channels = self._image_shape
        images = rows.view(-1, height, width, channels)
        return images.permute(0, 3, 1, 2).contiguous()


def _for_torch(rows: np.ndarray) -> np.ndarray:
    """A writable copy in a dtype that torch and every device have."""
    if rows.dtype == np.uint8:
        return np.array(rows, dtype=np.uint8)
    exact = rows.dtype.itemsize <= 2 or rows.dtype == np.float32
    return np.array(rows, dtype=np.float32 if exact else np.float64)


def flatten_images(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Images to flat rows; anything else is passed through.

    scikit-learn would take the number of features from the height: images become
    (n, H * W * C) before it sees them.

    Parameters
    ----------
    X : array-like
        Of any dimension.

    Returns
    -------
    X : array-like
        Two-dimensional where it was an array of images.
    shape : tuple of int or None
        (H, W) or (H, W, C) of images.
    """
    n_dim = getattr(X, "ndim", None)
    if n_dim is None and isinstance(X, (list, tuple)):
        try:
            X, n_dim = np.asarray(X), np.ndim(X)
        except ValueError:  # ragged: scikit-learn's message is better than ours
            return X, None
    if n_dim not in (3, 4):
        return X, None
    images = np.asarray(X)
    n_pixels = int(np.prod(images.shape[1:]))
    return images.reshape(len(images), n_pixels), images.shape[1:]


def with_channels(shape: "tuple[int, ...] | None") -> tuple[int, int, int] | None:
    """(H, W) or (H, W, C) as (H, W, C).

    Raises
    ------
    ValueError
        If it is neither, or a side is not a positive integer.
    """
    if shape is None:
        return None
    sides = tuple(shape)
    whole = all(isinstance(s, (int, np.integer)) and s > 0 for s in sides)
    if len(sides) not in (2, 3) or not whole:
        raise ValueError(
            f"image_shape={shape!r}: (height, width) or (height, width, channels) in "
            "positive integers was expected."
        )
    height, width, channels = (*sides, 1)[:3]
    return int(height), int(width), int(channels)


def normal_rows(y: Any, n_rows: int) -> np.ndarray:
    """Positions of the rows to learn from.

    scikit-learn's detectors ignore `y` and its checks pass labels of any kind, so
    labels can mean something only where a -1 says that they are meant.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or None
        1 normal, -1 anomaly.
    n_rows : int

    Returns
    -------
    positions : ndarray of int

    Raises
    ------
    ValueError
        If the length is wrong, or there is a -1 beside labels other than 1.
    """
    if y is None:
        return np.arange(n_rows)
    labels = np.asarray(y).reshape(-1)
    if len(labels) != n_rows:
        raise ValueError(
            f"Found y with {len(labels)} labels for {n_rows} rows of X: one label a "
            "row was expected."
        )
    values = set(np.unique(labels).tolist())
    if -1 in values and values - {-1, 1}:
        raise ValueError(
            f"y holds {sorted(values)[:5]}; 1 for normal rows and -1 for anomalies was "
            "expected. Convert with np.where(is_anomaly, -1, 1)."
        )
    if not values <= {-1, 1}:
        warnings.warn(
            f"y is ignored: it holds {sorted(values)[:5]}, and only labels 1 (normal) "
            "and -1 (anomaly, left out of the fit) mean something here. Convert with "
            "np.where(is_anomaly, -1, 1).",
            UserWarning,
            stacklevel=5,
        )
        return np.arange(n_rows)
    return np.flatnonzero(labels == 1)

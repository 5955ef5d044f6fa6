"""Rows of X as batches on the device, in bounded memory."""

import hashlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from skanogan.nn._scaling import Scaling

__all__ = ["Rows", "shared_mapping"]

RESIDENT_BYTES = {"cpu": 64 * 2**20}
"""Training rows up to this size become tensors once. Larger ones are converted batch by
batch, which costs some tens of microseconds per batch."""

RESIDENT_BYTES_ELSEWHERE = 512 * 2**20
"""The same limit on other devices, to which every batch would have to be copied."""

ORDINARY = 1e-100, 1e100
"""If the largest entry of a column lies between these, its square is finite and
normal."""

PAGED_ROWS = 64
"""Rows of a mapped file that are read before its pages are released."""

CHUNK_BYTES = 16 * 2**20


class Rows:
    """Rows of X as tensors, in the units of X and, where torch has it, its dtype.

    uint8 stays uint8 and a memmap stays on disk. Scaling belongs to the model and
    happens batch by batch.

    Parameters
    ----------
    values : ndarray or Tensor of shape (n, d)
        Validated flat rows. A tensor can be scored, and not be trained on.
    image_shape : tuple of int or None
        (H, W, C). Batches are then of shape (n, C, H, W).
    device : torch.device
        Where batches go.
    indices : ndarray of int, default=None
        Positions in `values`. By default all rows.
    resident : bool, default=True
        Whether few rows are read once and kept on the device. Training reads rows many
        times.
    """

    def __init__(
        self,
        values: Any,
        image_shape: tuple[int, int, int] | None,
        device: torch.device,
        indices: np.ndarray | None = None,
        resident: bool = True,
    ) -> None:
        self.device = device
        self._values = values
        self._image_shape = image_shape
        self._indices = indices
        self._mapping = shared_mapping(values)
        self._resident: Tensor | None = None
        if resident:
            row_bytes = _dtype_for_torch(values.dtype).itemsize * values.shape[1]
            limit = RESIDENT_BYTES.get(device.type, RESIDENT_BYTES_ELSEWHERE)
            if len(self) * row_bytes <= limit:
                self._resident = self.stretch(0, len(self))

    def __len__(self) -> int:
        return len(self._values if self._indices is None else self._indices)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(d,) or (H, W, C)."""
        return self._image_shape or (self._values.shape[1],)

    def others(self, indices: np.ndarray) -> "Rows":
        """Other rows of the array, by position, which are not kept on the device."""
        return Rows(self._values, self._image_shape, self.device, indices, False)

    def batch(self, at: Tensor) -> Tensor:
        """Read the rows at these positions (int64, on the CPU), to the device."""
        if self._resident is not None:
            return self._resident.index_select(0, at.to(self._resident.device))
        positions = at.numpy()
        if self._indices is not None:
            positions = self._indices[positions]
        return self._tensor(self._stored(positions))

    def stretch(self, start: int, stop: int) -> Tensor:
        """Read the rows from one position up to another, in order."""
        return self._tensor(self._stored(self._positions(start, stop)))

    def all(self) -> Tensor:
        """Read all rows at once."""
        return self.stretch(0, len(self))

    def some(self, n: int, rng: np.random.RandomState) -> Tensor:
        """Read a random subset of at most `n` rows."""
        at = rng.permutation(len(self))[:n]
        return self.batch(torch.from_numpy(np.sort(at)))

    def digest(self) -> str:
        """Compute a digest that is equal for equal values of one dtype and shape."""
        found = hashlib.blake2b(digest_size=16)
        kind = (self._values.dtype.str, self._values.shape[1], self._image_shape)
        found.update(repr((*kind, len(self))).encode())
        for stored in self._stored_chunks():
            found.update(np.ascontiguousarray(stored).data)
        return found.hexdigest()

    def scaling(self) -> Scaling:
        """Compute the scaling that standardises columns, or maps pixels to [-1, 1].

        For uint8 images the range is that of the dtype, for others that of the rows.
        """
        if self._image_shape is None:
            return Scaling(*map(torch.from_numpy, self._moments()))
        if self._values.dtype == np.uint8:
            return Scaling.to_unit_box(0.0, 255.0)
        ranges = [(values.min(), values.max()) for values in self._stored_chunks()]
        lows, highs = zip(*ranges, strict=True)
        return Scaling.to_unit_box(float(min(lows)), float(max(highs)))

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each column. A constant column has the deviation 1."""
        with np.errstate(all="ignore"):
            mean, scale, largest = self._moments_in_units(None)
        ordinary = (ORDINARY[0] <= largest) & (largest <= ORDINARY[1])
        if (ordinary | (largest == 0)).all():
            return mean, scale
        # Squares of the other columns overflow or vanish. Dividing by a power of two
        # avoids this and changes no digit.
        exponents = np.where(ordinary, 0, np.frexp(largest)[1] - 1)
        mean, scale, _ = self._moments_in_units(exponents)
        scale = np.ldexp(scale, exponents)
        # A smaller deviation has lost its digits, or is zero.
        scale = np.maximum(scale, np.finfo(float).tiny)
        return np.ldexp(mean, exponents), scale

    def _moments_in_units(
        self, exponents: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, deviation and largest entry of each column, divided by 2^exponent."""
        columns = StandardScaler()
        low, high = np.full((2, self._values.shape[1]), [[np.inf], [-np.inf]])
        for values in self._stored_chunks():
            # The order in memory is the order of the sums, and so decides rounding.
            rows = np.asarray(values, float, order="C")
            if exponents is not None:
                rows = np.ldexp(rows, -exponents)
            low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
            columns.partial_fit(rows)
        # The computed mean of a large constant column is off by some units of rounding;
        # one such unit at 1e20 is 16,384. Its value is exact. Where only rounding makes
        # a column vary, scikit-learn sets a scale other than the deviation. Such a
        # column is treated as constant, so that rounding is not amplified.
        constant = low == high
        flat = constant | (columns.scale_ != np.sqrt(columns.var_))
        mean = np.where(constant, low, columns.mean_)
        scale = np.where(flat, np.maximum(1.0, high - low), columns.scale_)
        return mean, scale, np.maximum(-low, high)

    def _stored_chunks(self) -> Iterator[np.ndarray]:
        """Yield the rows as they are stored, a few megabytes at a time."""
        length = max(1, CHUNK_BYTES // (8 * self._values.shape[1]))
        for at in range(0, len(self), length):
            yield self._stored(self._positions(at, at + length))

    def _positions(self, start: int, stop: int) -> "slice | np.ndarray":
        stretch = slice(start, stop)
        return stretch if self._indices is None else self._indices[stretch]

    def _stored(self, at: "slice | np.ndarray") -> np.ndarray:
        if self._mapping is None:
            return self._values[at]
        # Pages that were read stay resident until they are released, and each read
        # loads neighbouring pages: 2,048 scattered rows of 4 kB loaded 3 GB.
        if isinstance(at, slice):
            at = np.arange(*at.indices(len(self._values)))
        rows = np.empty((len(at), self._values.shape[1]), self._values.dtype)
        for start in range(0, len(at), PAGED_ROWS):
            part = slice(start, start + PAGED_ROWS)
            rows[part] = self._values[at[part]]
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return rows

    def _tensor(self, values: Any) -> Tensor:
        if isinstance(values, Tensor):
            # A copy, as of an array, which a network may change.
            rows = values.clone()
            if rows.dtype != torch.uint8:
                short = rows.dtype.itemsize <= 2 or rows.dtype == torch.float32
                rows = rows.to(torch.float32 if short else torch.float64)
        else:
            rows = torch.from_numpy(_for_torch(values))
        if self.device.type == "mps" and rows.dtype == torch.float64:
            rows = rows.float()
        rows = rows.to(self.device)
        if self._image_shape is None:
            return rows
        height, width, channels = self._image_shape
        images = rows.view(-1, height, width, channels)
        return images.permute(0, 3, 1, 2).contiguous()


def _for_torch(rows: np.ndarray) -> np.ndarray:
    """Make a writable copy in a dtype that torch and every device have."""
    # Indexing by positions has already made a copy. A slice has not.
    fresh = rows.flags.owndata and rows.flags.writeable and type(rows) is np.ndarray
    return rows.astype(_dtype_for_torch(rows.dtype), order="C", copy=not fresh)


def _dtype_for_torch(dtype: np.dtype) -> np.dtype:
    """uint8, or the shorter float that holds every number of the dtype."""
    if dtype == np.uint8:
        return np.dtype(np.uint8)
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else float)


def shared_mapping(values: np.ndarray) -> "mmap.mmap | None":
    """Find the mapped file behind an array, if its pages can be released and reread."""
    if not hasattr(mmap, "MADV_DONTNEED"):  # Windows
        return None
    array: Any = values
    reloadable = False
    while isinstance(array, np.ndarray):
        # Changes to a copy-on-write mapping ("c") exist only in its pages.
        reloadable = reloadable or getattr(array, "mode", "c") != "c"
        array = array.base
    return array if reloadable and isinstance(array, mmap.mmap) else None

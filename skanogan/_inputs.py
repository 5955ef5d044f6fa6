"""Rows in: flat, image, uint8, memmap -> batches on the device, in bounded memory."""

import hashlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from skanogan.models._scaling import Scaling

__all__ = [
    "Rows",
    "as_numbers",
    "flatten_images",
    "refuse_masks",
    "shared_mapping",
    "with_channels",
]

RESIDENT_BYTES = {"cpu": 64 * 2**20}
"""Training rows up to this size are made tensors at once; larger ones batch by batch,
which costs some tens of microseconds a batch."""

RESIDENT_BYTES_ELSEWHERE = 512 * 2**20
"""On other devices, to which every batch would travel."""

ORDINARY = 1e-100, 1e100
"""Columns with largest entries between these have finite and normal squares."""

PAGED_ROWS = 64
"""Rows of a mapped file that are read before its pages are let go."""

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
    resident : bool, default=True
        Whether rows are read once and kept on the device, if they are few: for
        training, which reads them again and again.
    """

    def __init__(
        self,
        values: np.ndarray,
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
        row_bytes = _dtype_for_torch(values.dtype).itemsize * values.shape[1]
        limit = RESIDENT_BYTES.get(device.type, RESIDENT_BYTES_ELSEWHERE)
        self._resident: Tensor | None = None
        if resident and len(self) * row_bytes <= limit:
            self._resident = self.stretch(0, len(self))

    def __len__(self) -> int:
        return len(self._values if self._indices is None else self._indices)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(d,) or (H, W, C)."""
        return self._image_shape or (self._values.shape[1],)

    def batch(self, at: Tensor) -> Tensor:
        """The rows at these positions, as (n, d) or (n, C, H, W) on the device.

        Parameters
        ----------
        at : Tensor of int64
            Positions among these rows, on the CPU.
        """
        if self._resident is not None:
            return self._resident.index_select(0, at.to(self._resident.device))
        positions = at.numpy()
        if self._indices is not None:
            positions = self._indices[positions]
        return self._tensor(self._stored(positions))

    def stretch(self, start: int, stop: int) -> Tensor:
        """The rows from one position up to another, read in order."""
        return self._tensor(self._stored(self._positions(start, stop)))

    def all(self) -> Tensor:
        """All these rows at once."""
        return self.stretch(0, len(self))

    def some(self, n: int, rng: np.random.RandomState) -> Tensor:
        """A random subset of at most `n` rows."""
        at = rng.permutation(len(self))[:n]
        return self.batch(torch.from_numpy(np.sort(at)))

    def digest(self) -> str:
        """Of these rows: equal for equal values of one dtype and shape."""
        found = hashlib.blake2b(digest_size=16)
        kind = (self._values.dtype.str, self._values.shape[1], self._image_shape)
        found.update(repr((*kind, len(self))).encode())
        for stored in self._stored_chunks():
            found.update(np.ascontiguousarray(stored).data)
        return found.hexdigest()

    def scaling(self) -> Scaling:
        """The scaling of these rows: standardised columns, or pixels to [-1, 1].

        uint8 images use the whole range of the type, others the range of the rows.
        """
        if self._image_shape is None:
            return Scaling(*map(torch.from_numpy, self._moments()))
        if self._values.dtype == np.uint8:
            return Scaling.to_unit_box(0.0, 255.0)
        ranges = [(values.min(), values.max()) for values in self._stored_chunks()]
        lows, highs = zip(*ranges, strict=True)
        return Scaling.to_unit_box(float(min(lows)), float(max(highs)))

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each column; its unit where it is constant."""
        with np.errstate(all="ignore"):
            mean, scale, largest = self._moments_in_units(None)
        ordinary = (ORDINARY[0] <= largest) & (largest <= ORDINARY[1])
        if (ordinary | (largest == 0)).all():
            return mean, scale
        # Squares of the others overflow or vanish: in units of a power of two, which
        # changes no digit, they do not.
        exponents = np.where(ordinary, 0, np.frexp(largest)[1] - 1)
        mean, scale, _ = self._moments_in_units(exponents)
        scale = np.ldexp(scale, exponents)
        # Below, a deviation has lost its digits, or is zero.
        scale = np.maximum(scale, np.finfo(float).tiny)
        return np.ldexp(mean, exponents), scale

    def _moments_in_units(
        self, exponents: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, deviation and largest entry of each column, in units of 2^exponent."""
        columns = StandardScaler()
        low, high = np.full((2, self._values.shape[1]), [[np.inf], [-np.inf]])
        for values in self._stored_chunks():
            # In one order of memory, which is the order of the sums.
            rows = np.asarray(values, float, order="C")
            if exponents is not None:
                rows = np.ldexp(rows, -exponents)
            low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
            columns.partial_fit(rows)
        # Of a large constant column the mean of sums is some units of rounding off, and
        # one such unit of 1e20 is 16,384. One that rounding alone makes vary, to which
        # scikit-learn gives another scale than its deviation, is not blown up either.
        constant = low == high
        flat = constant | (columns.scale_ != np.sqrt(columns.var_))
        mean = np.where(constant, low, columns.mean_)
        scale = np.where(flat, np.maximum(1.0, high - low), columns.scale_)
        return mean, scale, np.maximum(-low, high)

    def _stored_chunks(self) -> Iterator[np.ndarray]:
        """The rows as they are stored, a few megabytes at a time."""
        length = max(1, CHUNK_BYTES // (8 * self._values.shape[1]))
        for at in range(0, len(self), length):
            yield self._stored(self._positions(at, at + length))

    def _positions(self, start: int, stop: int) -> "slice | np.ndarray":
        stretch = slice(start, stop)
        return stretch if self._indices is None else self._indices[stretch]

    def _stored(self, at: "slice | np.ndarray") -> np.ndarray:
        if self._mapping is None:
            return self._values[at]
        # Pages that were read stay resident until told otherwise, and each brings its
        # neighbours: 2,048 rows of 4 kB here and there brought 3 GB.
        if isinstance(at, slice):
            at = np.arange(*at.indices(len(self._values)))
        rows = np.empty((len(at), self._values.shape[1]), self._values.dtype)
        for start in range(0, len(at), PAGED_ROWS):
            part = slice(start, start + PAGED_ROWS)
            rows[part] = self._values[at[part]]
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return rows

    def _tensor(self, values: np.ndarray) -> Tensor:
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
    """A writable copy in a dtype that torch and every device have."""
    # Indexing by positions has made a copy already, a slice has not.
    fresh = rows.flags.owndata and rows.flags.writeable and type(rows) is np.ndarray
    return rows.astype(_dtype_for_torch(rows.dtype), order="C", copy=not fresh)


def _dtype_for_torch(dtype: np.dtype) -> np.dtype:
    """uint8, or the shorter float that holds each of its numbers."""
    if dtype == np.uint8:
        return np.dtype(np.uint8)
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else float)


def shared_mapping(values: np.ndarray) -> "mmap.mmap | None":
    """The mapped file behind an array, if its pages can be let go and read again."""
    if not hasattr(mmap, "MADV_DONTNEED"):  # Windows
        return None
    array: Any = values
    reloadable = False
    while isinstance(array, np.ndarray):
        # Changes to a private, copy-on-write mapping ("c") exist in its pages alone.
        reloadable = reloadable or getattr(array, "mode", "c") != "c"
        array = array.base
    return array if reloadable and isinstance(array, mmap.mmap) else None


def refuse_masks(X: Any) -> None:
    """What a masked array hides is no number, and to scikit-learn it is not hidden.

    Raises
    ------
    ValueError
        If X, or a row in a list, is a masked array of which something is masked.
    """
    rows = X if isinstance(X, (list, tuple)) else [X]
    masked = [row.mask for row in rows if isinstance(row, np.ma.MaskedArray)]
    n_masked = sum(int(np.sum(mask)) for mask in masked)
    if n_masked:
        raise ValueError(
            f"X is masked in {n_masked} places, and a number was expected in each. "
            "Fill them, for instance with numpy.ma.filled and sklearn.impute, or leave "
            "the rows out with numpy.ma.compress_rows."
        )


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Validated rows in a dtype that converts to float64 without a surprise.

    Raises
    ------
    ValueError
        For dates, and for long doubles that float64 cannot hold.
    """
    if values.dtype.kind in "mM":
        raise ValueError(
            f"X holds dates or durations ({values.dtype}); numbers were expected. "
            "Divide durations by a unit, such as numpy.timedelta64(1, 's')."
        )
    if values.dtype.itemsize <= 8:
        return values
    with np.errstate(over="ignore"):
        converted = values.astype(np.float64)
    if not np.isfinite(converted).all():
        raise ValueError(
            f"X holds {np.abs(values).max()!s}, more than float64 can. Divide X."
        )
    return converted


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

    Raises
    ------
    ValueError
        For a list of images of several shapes.
    """
    n_dim = getattr(X, "ndim", None)
    if n_dim is None and isinstance(X, (list, tuple)):
        shapes = {getattr(row, "shape", ()) for row in X}
        if len(shapes) > 1 and {len(shape) for shape in shapes} <= {2, 3}:
            raise ValueError(
                f"X is a list of images of {len(shapes)} shapes, such as "
                f"{sorted(shapes)[:3]}; one was expected. Resize them, or take "
                "skanogan.image.PatchDetector, for images of any sizes."
            )
        try:
            X, n_dim = np.asarray(X), np.ndim(X)
        except ValueError:  # ragged rows: scikit-learn's message is as good as ours
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

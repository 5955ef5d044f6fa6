"""Scaling from the units of the rows to the range of the networks, and back."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Scaling"]

LIMIT = 1e6
"""Bound of scaled values, far beyond any normal row; its square is finite."""


class Scaling(nn.Module):
    """Affine map ``(x - shift) / scale``, fixed by the normal rows.

    A generator that ends in tanh cannot reach rows around 100. The scaling is therefore
    part of the model.

    Parameters
    ----------
    shift, scale : Tensor
        Scalars, or tensors of the shape of a row. They are kept in float64 where the
        device has it, so that a large offset costs no digits.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    @classmethod
    def to_unit_box(cls, low: float, high: float) -> "Scaling":
        """Make the scaling from one range for all pixels to [-1, 1].

        Parameters
        ----------
        low, high : float
            The range.

        Returns
        -------
        scaling : Scaling
            It only subtracts `low` if the range is empty.
        """
        # The difference of halves is finite; the least is a number with all digits.
        tiny = torch.finfo(torch.float64).tiny
        half = max(high / 2 - low / 2, tiny) if high > low else 1.0
        shift = torch.tensor(low / 2 + high / 2, dtype=torch.float64)
        return cls(shift, torch.tensor(half, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Scaling":
        # The buffers follow the networks to their device, not to their precision.
        device = fn(self.shift.float()).device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.shift = self.shift.to(device, dtype)
        self.scale = self.scale.to(device, dtype)
        return self

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Scale rows.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            Rows in X's units, of any numeric dtype.
        dtype : torch.dtype
            The dtype of the result.

        Returns
        -------
        scaled : Tensor of shape (n, ...)
            Rows on the networks' scale, between -1e6 and 1e6.
        """
        # The difference of halves is finite, and halving changes no digit.
        halved = x.to(self.shift.dtype) / 2 - self.shift / 2
        return (halved / (self.scale / 2)).clamp(-LIMIT, LIMIT).to(dtype)

    def inverse(self, scaled: Tensor) -> Tensor:
        """Bring scaled rows back to X's units.

        Parameters
        ----------
        scaled : Tensor of shape (n, ...)
            Rows on the networks' scale.

        Returns
        -------
        x : Tensor of shape (n, ...)
            Finite rows in X's units, in the dtype of `shift`.
        """
        limits = torch.finfo(self.shift.dtype)
        rows = scaled.to(self.shift.dtype) * self.scale + self.shift
        return rows.clamp(limits.min, limits.max)

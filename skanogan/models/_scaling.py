"""Rows in their own units to the range the networks work in, and back."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Scaling"]

LIMIT = 1e6
"""Scaled values stop here: far beyond any normal row, and its square is finite."""


class Scaling(nn.Module):
    """``(x - shift) / scale``, with both fixed by the normal rows.

    A generator that ends in tanh cannot reach rows around 100; scaling is therefore
    part of the model, saved and moved with it, and users never see it.

    Parameters
    ----------
    shift, scale : Tensor
        Of the rows' shape, or scalars. Kept in float64 where the device has it, so
        that a large offset costs no digits.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    @classmethod
    def to_unit_box(cls, low: float, high: float) -> "Scaling":
        """From [low, high], one range for all pixels, to [-1, 1]."""
        # Of two halves, which are finite; at least the smallest number with all digits.
        tiny = torch.finfo(torch.float64).tiny
        half = max(high / 2 - low / 2, tiny) if high > low else 1.0
        shift = torch.tensor(low / 2 + high / 2, dtype=torch.float64)
        return cls(shift, torch.tensor(half, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Scaling":
        # Follows the networks to their device, not to their precision.
        device = fn(self.shift.float()).device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.shift = self.shift.to(device, dtype)
        self.scale = self.scale.to(device, dtype)
        return self

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of any numeric dtype to scaled rows of `dtype`."""
        # Halves, whose difference is finite: powers of two change no digit.
        halved = x.to(self.shift.dtype) / 2 - self.shift / 2
        scaled = halved / (self.scale / 2)
        return scaled.clamp(-LIMIT, LIMIT).to(dtype)

    def inverse(self, scaled: Tensor) -> Tensor:
        """Scaled rows back to the units of X, in the dtype of `shift`, and finite."""
        limits = torch.finfo(self.shift.dtype)
        rows = scaled.to(self.shift.dtype) * self.scale + self.shift
        return rows.clamp(limits.min, limits.max)

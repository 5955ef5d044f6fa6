"""Anomaly scores on a common scale, in units of those of normal rows."""

import torch
from torch import Tensor

from skanogan.nn._fixed import Fixed

__all__ = ["ScoreScale"]

FLOOR = 1e-3
"""Share of the mean squared distance of normal rows that is added before the logarithm.
A row that repeats a training row has no distance at all."""

NO_SPREAD = 1e-4
"""A smaller deviation is one of rounding. That of logarithms is .05 to 2."""


class ScoreScale(Fixed):
    r"""Increasing function of an anomaly score that is comparable between members.

    .. math:: s(a) = (l(a) - \mu) / \sigma, \quad l(a) = \log(a / \bar a + 0.001)

    with the mean :math:`\bar a` of the scores of held-out normal rows, and mean and
    standard deviation of their :math:`l`. For scores that can be negative, l(a) = a.

    Parameters
    ----------
    typical, location, spread : Tensor of shape ()
        :math:`\bar a, \mu, \sigma`.
    logarithmic : int
        1 for the logarithm, 0 for l(a) = a.
    """

    typical: Tensor
    location: Tensor
    spread: Tensor

    def __init__(
        self, typical: Tensor, location: Tensor, spread: Tensor, logarithmic: int
    ) -> None:
        super().__init__()
        self.register_buffer("typical", typical)
        self.register_buffer("location", location)
        self.register_buffer("spread", spread)
        self.logarithmic = logarithmic

    @classmethod
    def fit(cls, scores: Tensor, logarithmic: bool, least: float = 1.0) -> "ScoreScale":
        """Take the scale of held-out normal rows.

        Parameters
        ----------
        scores : Tensor of shape (m,)
            Anomaly scores; none is negative if `logarithmic`.
        logarithmic : bool
            Whether to take logarithms.
        least : float, default=1.0
            Smallest mean that logarithms are taken relative to, so that the rounding of
            equal rows is not taken for a difference. Whitened lengths have means of
            more than 1.

        Returns
        -------
        scale : ScoreScale
            A scale without spread, as that of one row or of equal rows, has spread 1.
        """
        one = torch.ones_like(scores[:1].sum())
        typical = scores.mean().clamp(min=least) if logarithmic else one
        values = cls(typical, 0 * one, one, int(logarithmic))(scores)
        spread = values.std(correction=0)
        spread = spread if spread > NO_SPREAD else torch.ones_like(spread)
        location, spread = values.mean().to(scores), spread.to(scores)
        return cls(typical, location, spread, int(logarithmic))

    def forward(self, scores: Tensor) -> Tensor:
        """Bring anomaly scores to the scale.

        Parameters
        ----------
        scores : Tensor of shape (n,)
            Anomaly scores.

        Returns
        -------
        scaled : Tensor of shape (n,)
            In the same order. Held-out normal rows have mean 0 and variance 1.
        """
        values = _precise(scores)
        if self.logarithmic:
            values = (values / _precise(self.typical) + FLOOR).log()
        return (values - _precise(self.location)) / _precise(self.spread)


def _precise(values: Tensor) -> Tensor:
    """In float64, where close scores keep their order, but for mps, which lacks it."""
    return values if values.device.type == "mps" else values.double()

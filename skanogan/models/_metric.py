"""The distance between two feature vectors, in units of what normal rows vary by."""

import torch
from torch import Tensor

from skanogan.models._fixed import Fixed

__all__ = ["RANK", "WhitenedMetric", "nearest"]

RANK = 256
"""Most directions that are whitened one by one."""


class WhitenedMetric(Fixed):
    r"""Mahalanobis distance under a covariance of low rank plus a multiple of identity.

    .. math:: d^2(r) = r^\top (U \mathrm{diag}(e) U^\top + \sigma^2 I)^{-1} r

    with the leading eigenvectors :math:`U` and eigenvalues :math:`e` of the second
    moment of given differences, and :math:`\sigma^2` = `floor` times its mean
    eigenvalue plus the mean of the eigenvalues left out (Tipping & Bishop 1999,
    probabilistic PCA). Sums over features in which normal rows differ a lot drown the
    evidence of the others: on two of scikit-learn's digits this metric lifts the AUROC
    at the nearest generated row from .835 to .990 (docs/defaults.md).

    Parameters
    ----------
    basis : Tensor of shape (p, k)
        Orthonormal columns.
    gain : Tensor of shape (k,)
        One over the deviation along each.
    noise : Tensor of shape ()
        One over the deviation along every other direction.
    """

    basis: Tensor
    gain: Tensor
    noise: Tensor

    def __init__(self, basis: Tensor, gain: Tensor, noise: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", basis)
        self.register_buffer("gain", gain)
        self.register_buffer("noise", noise)

    @classmethod
    def fit(cls, differences: Tensor, floor: float, max_rank: int) -> "WhitenedMetric":
        """Estimate the metric.

        Parameters
        ----------
        differences : Tensor of shape (m, p)
            Their second moment about zero is the covariance.
        floor : float
            Share of the mean eigenvalue that is added to all.
        max_rank : int
            Most eigenvectors kept.

        Returns
        -------
        metric : WhitenedMetric
            On the device and in the dtype of `differences`.
        """
        rows = differences.to("cpu", torch.float64)
        m, p = rows.shape
        # The smaller side is decomposed: at most m directions have any variance.
        if p <= m:
            values, vectors = torch.linalg.eigh(rows.T @ rows / m)
        else:
            values, left = torch.linalg.eigh(rows @ rows.T / m)
            norms = (values.clamp(min=0) * m).sqrt().clamp(min=1e-150)
            vectors = rows.T @ left / norms
        values = values.clamp(min=0)
        mean = values.sum() / p
        # Directions far below the floor are not told apart from it.
        kept = int((values > 0.01 * floor * mean).sum())
        rank = min(kept, max_rank)
        values, vectors = values.flip(0)[:rank], vectors.flip(1)[:, :rank].contiguous()
        rest = (mean * p - values.sum()).clamp(min=0) / max(p - rank, 1)
        tiny = 1e-12 if float(mean) == 0 else 0.0
        added = floor * mean + tiny
        return cls(vectors, (values + added).rsqrt(), (rest + added).rsqrt()).to(
            differences
        )

    def coordinates(self, features: Tensor) -> Tensor:
        """Features in which the metric is Euclidean, (n, p) to (n, p)."""
        inside = features @ self.basis
        return (
            features * self.noise + (inside * (self.gain - self.noise)) @ self.basis.T
        )

    def squared_length(self, differences: Tensor) -> Tensor:
        """d^2 of each row, (n, p) to (n,)."""
        return self.coordinates(differences).square().sum(1)


def nearest(queries: Tensor, bank: Tensor, k: int = 1) -> Tensor:
    """Indices of the `k` bank rows with the least Euclidean distance.

    Parameters
    ----------
    queries : Tensor of shape (n, p)
    bank : Tensor of shape (m, p)
    k : int, default=1

    Returns
    -------
    indices : Tensor of shape (n, k)
        Nearest first.
    """
    squared = torch.addmm(bank.square().sum(1), queries, bank.T, alpha=-2)
    return squared.topk(k, dim=1, largest=False).indices

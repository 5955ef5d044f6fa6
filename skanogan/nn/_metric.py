"""Distances between feature vectors, in units of how much normal rows vary."""

import torch
from torch import Tensor

from skanogan.nn._fixed import Fixed

__all__ = ["RANK", "WhitenedMetric", "nearest"]

RANK = 256
"""Largest number of directions that are whitened one by one."""


class WhitenedMetric(Fixed):
    r"""Mahalanobis distance under a covariance of low rank plus a multiple of identity.

    .. math:: d^2(r) = r^\top (U \mathrm{diag}(e) U^\top + \sigma^2 I)^{-1} r

    with the leading eigenvectors :math:`U` and eigenvalues :math:`e` of the second
    moment of given differences, and :math:`\sigma^2` = `shrinkage` times its mean
    eigenvalue plus the mean of the eigenvalues left out (Tipping & Bishop 1999,
    probabilistic PCA). In a plain sum of squares, features in which normal rows differ
    a lot hide the others: on two of scikit-learn's digits this metric raises the AUROC
    at the nearest generated row from .835 to .990 (docs/defaults.md).

    Parameters
    ----------
    basis : Tensor of shape (p, k)
        Orthonormal columns.
    gain, noise : Tensor of shape (k,) and ()
        1 / standard deviation along each column, and along every other direction.
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
    def fit(
        cls, differences: Tensor, shrinkage: float, max_rank: int = RANK
    ) -> "WhitenedMetric":
        """Estimate the metric.

        Parameters
        ----------
        differences : Tensor of shape (m, p)
            Differences between feature vectors of normal rows.
        shrinkage : float
            Share of the mean eigenvalue that is added to all eigenvalues.
        max_rank : int, default=256
            Largest number of eigenvectors to keep.

        Returns
        -------
        metric : WhitenedMetric
            On the device and in the dtype of `differences`, in eval mode.
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
        # Directions far below what is added are not told apart from it.
        kept = int((values > 0.01 * shrinkage * mean).sum())
        rank = min(kept, max_rank)
        values, vectors = values.flip(0)[:rank], vectors.flip(1)[:, :rank].contiguous()
        rest = (mean * p - values.sum()).clamp(min=0) / max(p - rank, 1)
        tiny = 1e-12 if float(mean) == 0 else 0.0
        added = shrinkage * mean + tiny
        metric = cls(vectors, (values + added).rsqrt(), (rest + added).rsqrt())
        return metric.to(differences).eval()

    def coordinates(self, features: Tensor) -> Tensor:
        """Map features to coordinates in which the metric is Euclidean.

        Parameters
        ----------
        features : Tensor of shape (n, p)
            Feature vectors.

        Returns
        -------
        coordinates : Tensor of shape (n, p)
            Whitened features.
        """
        inside = (features @ self.basis) * (self.gain - self.noise)
        return features * self.noise + inside @ self.basis.T

    def squared_length(self, differences: Tensor) -> Tensor:
        """Compute d^2 of each row.

        Parameters
        ----------
        differences : Tensor of shape (n, p)
            Differences between feature vectors.

        Returns
        -------
        lengths : Tensor of shape (n,)
            Squared Mahalanobis lengths.
        """
        return self.coordinates(differences).square().sum(1)


def nearest(queries: Tensor, bank: Tensor) -> Tensor:
    """Find the row of the bank with the least Euclidean distance to each query.

    Parameters
    ----------
    queries, bank : Tensor of shape (n, p) and (m, p)
        Points to look up, and points to choose from.

    Returns
    -------
    indices : Tensor of shape (n,)
        Rows of the bank.
    """
    squared = torch.addmm(bank.square().sum(1), queries, bank.T, alpha=-2)
    return squared.topk(1, dim=1, largest=False).indices[:, 0]

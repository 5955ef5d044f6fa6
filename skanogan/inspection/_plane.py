"""Many dimensions in two: t-SNE for any number of rows, alike or not."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

__all__ = ["in_the_plane"]

WIDE = 50
"""t-SNE's authors reduce wider rows to so many principal components first."""


def in_the_plane(
    embedding: np.ndarray, perplexity: float, rng: np.random.RandomState
) -> np.ndarray:
    """t-SNE, or the two first principal components of three rows or fewer.

    Parameters
    ----------
    embedding : ndarray of shape (n, d)
    perplexity : float
        At most a third of the other rows is taken.
    rng : RandomState

    Returns
    -------
    positions : ndarray of shape (n, 2)
    """
    # t-SNE is in float32, and the unit of its rows does not matter to it.
    rows = np.asarray(embedding, dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    unit = np.abs(rows).max()
    if unit == 0:
        return np.zeros((len(rows), 2))
    if len(rows) <= 3:
        return _principal(rows, 2, rng)
    rows = _principal(rows / unit, WIDE, rng)
    start = rows[:, :2] / rows[:, 0].std()
    # scikit-learn's own start from PCA needs two columns, and from rows that are all
    # alike it crashes. From a start on a line, t-SNE would never leave it.
    start = start + rng.normal(scale=0.01, size=start.shape)
    tsne = TSNE(
        perplexity=min(perplexity, (len(rows) - 1) / 3),
        init=(1e-4 * start).astype(np.float32),
        random_state=rng,
    )
    return np.asarray(tsne.fit_transform(rows))


def _principal(rows: np.ndarray, most: int, rng: np.random.RandomState) -> np.ndarray:
    """At most so many principal components, and at least two columns."""
    n_components = min(most, *rows.shape)
    reduced = PCA(n_components, random_state=rng).fit_transform(rows)
    return np.pad(reduced, ((0, 0), (0, max(0, 2 - n_components))))

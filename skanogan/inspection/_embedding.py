"""EmbeddingDisplay: the embedding of rows in two dimensions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from skanogan._runtime.compatibility import _num_samples, _safe_indexing
from skanogan.inspection._drawing import (
    ANOMALY_COLOUR,
    NORMAL_COLOUR,
    check_matplotlib,
    own_axes,
)
from skanogan.inspection._rows import check_count, inner_detector

__all__ = ["EmbeddingDisplay"]

POINT = {"s": 22, "edgecolors": "black", "linewidths": 0.3}

LOOKS = {-1: ("anomaly", ANOMALY_COLOUR, "^"), 1: ("normal", NORMAL_COLOUR, "o")}

MARKERS = "osv^DPX<>*hp"
"""One marker per label. More labels cannot be told apart."""

WIDE = 50
"""Rows with more columns are first reduced to this many principal components, as by
the authors of t-SNE."""


@dataclass(kw_only=True, eq=False, repr=False)
class EmbeddingDisplay:
    """Show `embed(X)` in two dimensions by t-SNE [1]_.

    Rows that are similar for the model are close. Distances between groups, their sizes
    and their densities mean little, and the axes have no meaning. Three rows or fewer
    are drawn with their exact distances.

    `from_estimator` and `from_predictions` create a display. Parameters are attributes.

    Parameters
    ----------
    positions : ndarray of shape (n, 2)
        Positions in the figure.
    y : ndarray of shape (n,), default=None
        Labels of the rows. If all are 1 or -1, they are shown as normal and anomaly.
    indices : ndarray of int of shape (n,), default=None
        Positions of the rows in X.
    n_samples : int, default=None
        The number of rows of X. None is n.
    name : str, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        The points of each label in increasing order.

    References
    ----------
    .. [1] L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", Journal of
       Machine Learning Research 9, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skanogan import AnoGANDetector
    >>> from skanogan.inspection import EmbeddingDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> detector = AnoGANDetector(max_iter=20, random_state=0).fit(X[y == 0])
    >>> y = np.where(y == 0, 1, -1)
    >>> display = EmbeddingDisplay.from_estimator(
    ...     detector, X, y, max_rows=60, random_state=0
    ... )
    >>> display.positions.shape
    (60, 2)
    """

    positions: np.ndarray
    y: np.ndarray | None = None
    indices: np.ndarray | None = None
    n_samples: int | None = None
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        detector: Any,
        X: Any,
        y: Any = None,
        *,
        max_rows: int = 1000,
        perplexity: float = 30.0,
        random_state: Any = None,
        name: str | None = None,
        ax: Any = None,
    ) -> "EmbeddingDisplay":
        """Embed rows with a detector and draw them.

        Parameters
        ----------
        detector : object
            A fitted detector with `embed`, or a pipeline or search that ends in one.
        X : array-like of shape (n_samples, ...)
            Rows in a form that the detector accepts. Only those drawn are embedded.
        y : array-like of shape (n_samples,), default=None
            As in `from_predictions`.
        max_rows : int, default=1000
            As in `from_predictions`.
        perplexity : float, default=30.0
            As in `from_predictions`.
        random_state : int, RandomState instance or None, default=None
            As in `from_predictions`.
        name : str, default=None
            The title. None uses the class of the detector.
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : EmbeddingDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        detector, X, _ = inner_detector(cls.__name__, detector, ["embed"], X)
        drawn = _drawn(detector.embed, X, y, max_rows, perplexity, random_state)
        name = type(detector).__name__ if name is None else name
        return cls(**drawn, name=name).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        embedding: Any,
        y: Any = None,
        *,
        max_rows: int = 1000,
        perplexity: float = 30.0,
        random_state: Any = None,
        name: str | None = None,
        ax: Any = None,
    ) -> "EmbeddingDisplay":
        """Draw rows that were embedded before.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, d)
            The output of `embed`, or any other embedding.
        y : array-like of shape (n_samples,), default=None
            Labels of any kind, at most 12 different ones.
        max_rows : int, default=1000
            The largest number of rows. Of more rows, a random sample is drawn, in which
            all labels have an equal number of rows or all rows that they have.
        perplexity : float, default=30.0
            Roughly the number of neighbours of each row, at most a third of the others.
        random_state : int, RandomState instance or None, default=None
            Seed of the sample and of t-SNE.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : EmbeddingDisplay
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        embedding = check_array(embedding)
        drawn = _drawn(np.asarray, embedding, y, max_rows, perplexity, random_state)
        return cls(**drawn, name=name).plot(ax)

    def plot(self, ax: Any = None) -> "EmbeddingDisplay":
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw in. None creates a figure.

        Returns
        -------
        display : EmbeddingDisplay
            This display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        self.ax_ = ax = own_axes(ax, (5.5, 4.5), self.name)
        self.figure_ = ax.figure
        self.points_ = []
        for label, (name, colour, marker) in self._looks().items():
            at = self.positions if label is None else self.positions[self.y == label]
            look = {"label": name, "color": colour, "marker": marker}
            self.points_.append(ax.scatter(*at.T, **look, **POINT))
        ax.set(xticks=[], yticks=[])
        ax.set_aspect("equal", "datalim")
        n, n_samples = len(self.positions), self.n_samples or 0
        few = f", {n:,} of {n_samples:,} rows" if n < n_samples else ""
        ax.set_xlabel(("t-SNE" if n > 3 else "principal components") + few)
        if self.y is not None:
            ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        return self

    def _looks(self) -> dict[Any, tuple[str | None, Any, str]]:
        """Return the name, colour and marker of each label in increasing order."""
        from matplotlib import colormaps

        if self.y is None:
            return {None: (None, NORMAL_COLOUR, "o")}
        labels = np.unique(self.y).tolist()
        if set(labels) <= set(LOOKS):
            return {label: LOOKS[label] for label in labels}
        colours = colormaps["viridis"](np.linspace(0, 1, len(labels)))
        looks = zip(map(str, labels), colours, MARKERS, strict=False)
        return dict(zip(labels, looks, strict=True))


def _drawn(
    embed: Callable[[Any], Any],
    X: Any,
    y: Any,
    max_rows: int,
    perplexity: float,
    random_state: Any,
) -> dict[str, Any]:
    """Choose rows, embed them, and return the arguments of the display."""
    check_count("max_rows", max_rows)
    rng = check_random_state(random_state)
    n = _num_samples(X)
    groups = np.zeros(n, dtype=int)
    if y is not None:
        y = column_or_1d(y)
        check_consistent_length(X, y)
        labels, groups = np.unique(y, return_inverse=True)
        if len(labels) > len(MARKERS):
            raise ValueError(
                f"y holds {len(labels)} different labels. At most {len(MARKERS)} are "
                "allowed. Merge some of them."
            )
    counts = np.bincount(groups)
    drawn, left = [], max_rows
    # Starting with the rarest label, each gets an equal share of the rows left.
    for k, group in enumerate(np.argsort(counts, kind="stable")):
        part = min(counts[group], left // (len(counts) - k))
        rows = np.flatnonzero(groups == group)
        drawn.append(rng.choice(rows, part, replace=False))
        left -= part
    at = np.sort(np.concatenate(drawn))
    return {
        "positions": _in_the_plane(embed(_safe_indexing(X, at)), perplexity, rng),
        "y": None if y is None else y[at],
        "indices": at,
        "n_samples": n,
    }


def _in_the_plane(
    embedding: np.ndarray, perplexity: float, rng: np.random.RandomState
) -> np.ndarray:
    """Apply t-SNE, or take two principal components of three rows or fewer."""
    # t-SNE computes in float32, and does not depend on the unit of the rows.
    rows = np.asarray(embedding, dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    unit = np.abs(rows).max()
    if unit == 0:
        return np.zeros((len(rows), 2))
    if len(rows) <= 3:
        return _principal(rows, 2, rng)
    rows = _principal(rows / unit, WIDE, rng)
    start = rows[:, :2] / rows[:, 0].std()
    # scikit-learn's start from PCA needs two columns and fails on equal rows. t-SNE
    # never leaves a line that it starts on.
    start = start + rng.normal(scale=0.01, size=start.shape)
    tsne = TSNE(
        perplexity=min(perplexity, (len(rows) - 1) / 3),
        init=(1e-4 * start).astype(np.float32),
        random_state=rng,
    )
    return np.asarray(tsne.fit_transform(rows))


def _principal(rows: np.ndarray, most: int, rng: np.random.RandomState) -> np.ndarray:
    """Compute at most this many principal components, padded to two columns."""
    n_components = min(most, *rows.shape)
    reduced = PCA(n_components, random_state=rng).fit_transform(rows)
    return np.pad(reduced, ((0, 0), (0, max(0, 2 - n_components))))

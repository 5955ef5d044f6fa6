"""EmbeddingDisplay: rows as the model sees them, in the plane."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from skanogan._compat import _num_samples, _safe_indexing
from skanogan.inspection._drawing import (
    ANOMALY_COLOUR,
    NORMAL_COLOUR,
    check_matplotlib,
    own_axes,
)
from skanogan.inspection._plane import in_the_plane
from skanogan.inspection._rows import check_count, check_methods

__all__ = ["EmbeddingDisplay"]

MARKERS = "osv^DPX<>*hp"
"""As many groups as can be told apart."""


class EmbeddingDisplay:
    """`embed(X)` in the plane by t-SNE [1]_: what is alike for the model is near.

    Distances between groups, their sizes and densities mean little in such a picture,
    and the axes mean nothing. Three rows or fewer are drawn with their exact distances.

    `from_estimator` and `from_predictions` make one. All parameters are attributes.

    Parameters
    ----------
    positions : ndarray of shape (n, 2)
        In the plane.
    y : ndarray of shape (n,), default=None
        A label for each row. 1 and -1 alone are called normal and anomaly.
    indices : ndarray of int of shape (n,), default=None
        Positions of the rows in X.
    n_samples : int, default=None
        Rows of X that the n are drawn from; None if n.
    name : str, default=None
        The title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        Of each label in rising order.

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

    def __init__(
        self,
        *,
        positions: np.ndarray,
        y: np.ndarray | None = None,
        indices: np.ndarray | None = None,
        n_samples: int | None = None,
        name: str | None = None,
    ) -> None:
        self.positions = positions
        self.y = y
        self.indices = indices
        self.n_samples = n_samples
        self.name = name

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
        """Embed rows and draw them.

        Parameters
        ----------
        detector : object
            Fitted, with `embed`.
        X : array-like of shape (n_samples, ...)
            Rows as the detector takes them.
        y : array-like of shape (n_samples,), default=None
            Labels of any kind, at most 12 different ones.
        max_rows : int, default=1000
            As in `from_predictions`. Only the rows drawn are embedded.
        perplexity : float, default=30.0
            As in `from_predictions`.
        random_state : int, RandomState instance or None, default=None
            As in `from_predictions`.
        name : str, default=None
            The title; None takes the detector's class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            If the detector has no `embed`.
        ValueError
            For more labels than can be told apart.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_methods(cls.__name__, detector, ["embed"])
        rng = check_random_state(random_state)
        y, at = _drawn_rows(X, y, max_rows, rng)
        embedding = detector.embed(_safe_indexing(X, at))
        name = type(detector).__name__ if name is None else name
        return cls(
            positions=in_the_plane(embedding, perplexity, rng),
            y=None if y is None else y[at],
            indices=at,
            n_samples=_num_samples(X),
            name=name,
        ).plot(ax)

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
        """Draw rows that are embedded already.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, d)
            Of `embed`, or any other.
        y : array-like of shape (n_samples,), default=None
            Labels of any kind, at most 12 different ones.
        max_rows : int, default=1000
            Of more rows, so many are drawn at random. Rows of rare labels are kept:
            labels with more than their equal part of `max_rows` are cut to it.
        perplexity : float, default=30.0
            Roughly the neighbours of each row; at most a third of the other rows.
        random_state : int, RandomState instance or None, default=None
            Of the rows drawn and of t-SNE.
        name : str, default=None
            The title.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            For more labels than can be told apart.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        embedding = check_array(embedding)
        rng = check_random_state(random_state)
        y, at = _drawn_rows(embedding, y, max_rows, rng)
        return cls(
            positions=in_the_plane(embedding[at], perplexity, rng),
            y=None if y is None else y[at],
            indices=at,
            n_samples=len(embedding),
            name=name,
        ).plot(ax)

    def plot(self, ax: Any = None) -> "EmbeddingDisplay":
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : EmbeddingDisplay
            Itself, with what was drawn in its attributes.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        self.ax_ = ax = own_axes(ax, (5.5, 4.5))
        self.figure_ = ax.figure
        self.points_ = [
            ax.scatter(*self.positions[own].T, label=label, **style)
            for label, own, style in self._groups()
        ]
        ax.set(xticks=[], yticks=[])
        ax.set_aspect("equal", "datalim")
        n, n_samples = len(self.positions), self.n_samples or 0
        few = f", {n:,} of {n_samples:,} rows" if n < n_samples else ""
        ax.set_xlabel(("t-SNE" if n > 3 else "principal components") + few)
        if self.name is not None:
            ax.set_title(self.name)
        if self.y is not None:
            ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        return self

    def _groups(self) -> list[tuple[str | None, np.ndarray, dict[str, Any]]]:
        """What each label is called, its rows, and how they look."""
        from matplotlib import colormaps

        point = {"s": 22, "edgecolors": "black", "linewidths": 0.3}
        if self.y is None:
            every = np.full(len(self.positions), True)
            return [(None, every, {**point, "color": NORMAL_COLOUR})]
        labels = np.unique(self.y)
        looks = {
            label: (str(label), colour, marker)
            for label, colour, marker in zip(
                labels.tolist(),
                colormaps["viridis"](np.linspace(0, 1, len(labels))),
                MARKERS,
                strict=False,
            )
        }
        if set(looks) <= {-1, 1}:
            looks = {
                1: ("normal", NORMAL_COLOUR, "o"),
                -1: ("anomaly", ANOMALY_COLOUR, "^"),
            }
        groups: list[tuple[str | None, np.ndarray, dict[str, Any]]] = []
        for label in labels:
            name, colour, marker = looks[label.item()]
            style = {**point, "color": colour, "marker": marker}
            groups.append((name, self.y == label, style))
        return groups


def _drawn_rows(
    X: Any, y: Any, max_rows: int, rng: np.random.RandomState
) -> tuple[np.ndarray | None, np.ndarray]:
    """Labels of all rows, and positions of those to draw, in rising order."""
    check_count("max_rows", max_rows)
    n = _num_samples(X)
    groups = np.zeros(n, dtype=int)
    if y is not None:
        y = column_or_1d(y)
        check_consistent_length(X, y)
        labels, groups = np.unique(y, return_inverse=True)
        if len(labels) > len(MARKERS):
            raise ValueError(
                f"y holds {len(labels)} different labels; at most {len(MARKERS)} can "
                "be told apart in one picture."
            )
    counts = np.bincount(groups)
    drawn, left = [], max_rows
    # From the rarest on, each an equal part of what is left.
    for k, group in enumerate(np.argsort(counts, kind="stable")):
        part = min(counts[group], left // (len(counts) - k))
        rows = np.flatnonzero(groups == group)
        drawn.append(rng.choice(rows, part, replace=False))
        left -= part
    return y, np.sort(np.concatenate(drawn))

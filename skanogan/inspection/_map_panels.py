"""The panels and bars that AnomalyMapDisplay draws."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from skanogan.inspection._drawing import (
    NORMAL_COLOUR,
    as_picture,
    number,
    own_figure,
    pixel_range,
)
from skanogan.inspection._rows import all_names

__all__ = ["draw_bars", "draw_images", "heading", "normal_scale", "row_labels"]

Arrays = Sequence[np.ndarray]

MAP_COLOURS = "inferno"
"""Colours of maps. The lightness increases evenly with the value, starting at black."""

DIMMED = 0.4
"""The brightness of white in the query under a map, where high values are brighter."""


def row_labels(
    scores: np.ndarray, threshold: float | None, indices: np.ndarray | None
) -> list[list[str]]:
    """Describe each row: its position, its score, and its label if there is one."""
    labels = []
    for i, score in enumerate(scores):
        row = i if indices is None else indices[i]
        label = [f"row {row}", f"score {number(score)}"]
        if threshold is not None:
            label.append("anomaly" if score < threshold else "normal")
        labels.append(label)
    return labels


def heading(n_rows: int, n_samples: int | None, threshold: float | None) -> str:
    """Describe which rows are drawn, and the threshold."""
    parts = []
    if n_samples is not None and n_samples > 1:
        which = "" if n_rows == 1 else f"{n_rows} "
        few = f"the {which}most abnormal of {n_samples:,} rows"
        every = f"all {n_rows} rows, the most abnormal first"
        parts.append(few if n_rows < n_samples else every)
    if threshold is not None:
        parts.append(f"anomalies score below {number(threshold)}")
    return "; ".join(parts)


def normal_scale(normal_maps: Iterable[np.ndarray]) -> float | None:
    """Return twice the median peak of the maps of normal images, if it is positive.

    A usual normal image then reaches half of the scale, alone and beside anomalies.
    """
    peaks = [float(found.max()) for found in normal_maps]
    end = 2 * float(np.median(peaks)) if peaks else 0.0
    return end if end > 0 else None


def _end_of_scale(maps: Arrays, vmax: float | None) -> float:
    """Return the given end of the scale, or the largest value of the drawn maps."""
    most = max(float(found.max()) for found in maps) if vmax is None else float(vmax)
    return most if most > 0 else 1.0


def draw_images(
    queries: Arrays,
    reconstructions: Arrays | None,
    maps: Arrays,
    labels: list[list[str]],
    vmax: float | None,
    figure: Any,
) -> tuple[Any, np.ndarray, np.ndarray, Any]:
    """Draw a row of panels per query; return figure, axes, images and colour bar."""
    titles = ["query", "closest normal", "map", "overlay"]
    normals = [] if reconstructions is None else list(reconstructions)
    if not normals:
        del titles[1]
    shape = (len(queries), len(titles))
    aspect = float(np.median([query.shape[1] / query.shape[0] for query in queries]))
    height = 2.2 if len(queries) == 1 else 1.5
    width = height * float(np.clip(aspect, 0.5, 3))
    size = (2.2 + len(titles) * width, 0.8 + len(queries) * height)
    figure = own_figure(figure, size)
    axes = figure.subplots(*shape, squeeze=False)
    images = np.empty(shape, dtype=object)
    low, high = pixel_range([*queries, *normals])
    greys = {"cmap": "gray", "vmin": 0, "vmax": 1}
    end = _end_of_scale(maps, vmax)
    heat = {"cmap": MAP_COLOURS, "vmin": 0, "vmax": end}
    for i, (query, found) in enumerate(zip(queries, maps, strict=True)):
        picture = as_picture(query, low, high)
        panels = axes[i]
        images[i, 0] = panels[0].imshow(picture, **greys)
        if normals:
            images[i, 1] = panels[1].imshow(as_picture(normals[i], low, high), **greys)
        images[i, -2] = panels[-2].imshow(found, **heat)
        # The luma (Rec. 601) of colours.
        luma = picture @ [0.299, 0.587, 0.114] if picture.ndim == 3 else picture
        panels[-1].imshow(DIMMED * luma, **greys)
        opacity = np.clip(found / end, 0, 1)
        images[i, -1] = panels[-1].imshow(found, alpha=opacity, **heat)
        panels[0].set_ylabel(
            "\n".join(labels[i]), rotation=0, ha="right", va="center", ma="left"
        )
        for panel in panels:
            panel.set(xticks=[], yticks=[])
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title)
    beyond = any(float(found.max()) > end for found in maps)
    colorbar = figure.colorbar(
        images[0, -2],
        ax=axes,
        aspect=15 * len(queries),
        fraction=0.04,
        pad=0.01,
        extend="max" if beyond else "neither",
    )
    colorbar.set_label("anomaly map")
    return figure, axes, images, colorbar


def draw_bars(
    queries: Arrays,
    reconstructions: Arrays | None,
    maps: Arrays,
    labels: list[list[str]],
    feature_names: Sequence[str] | None,
    max_features: int,
    vmax: float | None,
    figure: Any,
) -> tuple[Any, np.ndarray, list[Any]]:
    """Draw the largest residuals of each row; return figure, axes and bars."""
    n_features = len(queries[0])
    names = all_names(feature_names, n_features)
    n_bars = min(max_features, n_features)
    n_rows = len(queries)
    figure = own_figure(figure, (7, 0.9 + n_rows * (0.5 + 0.22 * n_bars)))
    axes = figure.subplots(n_rows, 1, squeeze=False, sharex=True)
    drawn = []
    for i, ax in enumerate(axes[:, 0]):
        order = np.argsort(-maps[i], kind="stable")[:n_bars]
        bars = ax.barh(range(n_bars), maps[i][order], color=NORMAL_COLOUR)
        ax.set_yticks(range(n_bars), [names[j] for j in order])
        ax.invert_yaxis()
        ax.set_title(", ".join(labels[i]), loc="left")
        texts = [number(queries[i][j]) for j in order]
        if reconstructions is not None:
            texts = [
                f"{text}, normal {number(reconstructions[i][j])}"
                for text, j in zip(texts, order, strict=True)
            ]
        ax.bar_label(bars, texts, padding=3, fontsize="small")
        drawn.append(bars)
    # Leave room for the text beside the longest bar.
    axes[0, 0].set_xlim(0, 1.4 * _end_of_scale(maps, vmax))
    few = f", the {n_bars} largest of {n_features} features"
    axes[-1, 0].set_xlabel(f"anomaly map{few if n_bars < n_features else ''}")
    return figure, axes, drawn

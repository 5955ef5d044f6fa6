"""Colours, numbers and axes that the displays share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "ANOMALY_COLOUR",
    "MAP_COLOURS",
    "NORMAL_COLOUR",
    "as_grey",
    "as_picture",
    "check_matplotlib",
    "number",
    "own_axes",
    "own_figure",
    "pixel_range",
    "room_above",
]

NORMAL_COLOUR = "#0072B2"
ANOMALY_COLOUR = "#E69F00"
"""Okabe and Ito's blue and orange: apart for every kind of colour vision, and in grey,
where their lightness (L* of CIELAB) is 46 and 71."""

MAP_COLOURS = "inferno"
"""Of maps: lightness grows evenly with the value, from black for none."""


def check_matplotlib(caller: str) -> None:
    """Fail before anything is computed if there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which is not installed: "
            'pip install "skanogan[plot]"'
        ) from error


def own_axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """The caller's axes, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def own_figure(figure: Any, figsize: tuple[float, float]) -> Any:
    """The caller's figure or part of a figure, or a new one."""
    if figure is not None:
        return figure
    import matplotlib.pyplot as plt

    return plt.figure(figsize=figsize, layout="constrained")


def number(value: float) -> str:
    """A number with about four significant digits, as people write it."""
    size = abs(value)
    if value and not 1e-3 <= size < 1e6:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def room_above(ax: Any, room: float) -> None:
    """Raise the upper end of the y axis until this share of it is empty."""
    to_axis = ax.yaxis.get_transform()
    low, high = to_axis.transform(ax.get_ylim())
    ax.set_ylim(
        top=float(to_axis.inverted().transform(low + (high - low) / (1 - room)))
    )


def pixel_range(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """What is drawn black and what white: the range of bytes, or of these images."""
    if images[0].dtype == np.uint8:
        return 0.0, 255.0
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    return low, high if high > low else low + 1.0


def as_picture(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """An image of values in [0, 1], (H, W) or (H, W, 3).

    Three channels are colours; any other number of them is shown by the mean.
    """
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image.mean(-1)
    return np.clip((image - low) / (high - low), 0, 1)


def as_grey(picture: np.ndarray) -> np.ndarray:
    """The luma (Rec. 601) of colours, of shape (H, W)."""
    return picture @ [0.299, 0.587, 0.114] if picture.ndim == 3 else picture

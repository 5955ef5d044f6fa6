"""Colours, numbers and axes shared by the displays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "ANOMALY_COLOUR",
    "LEGEND",
    "NORMAL_COLOUR",
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
"""Blue and orange of Okabe and Ito, which people with any kind of colour vision can
tell apart. In grey their lightness (L* of CIELAB) is 46 and 71."""

LEGEND = dict(loc="upper left", fontsize="small", framealpha=1, edgecolor="none")


def check_matplotlib(caller: str) -> None:
    """Raise an error if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed. Install it with "
            'pip install "skanogan[plot]".'
        ) from error


def own_axes(ax: Any, figsize: tuple[float, float], title: str | None) -> Any:
    """Return the given axes, or those of a new figure, with the title if any."""
    if ax is None:
        ax = own_figure(None, figsize).subplots()
    if title is not None:
        ax.set_title(title)
    return ax


def own_figure(figure: Any, figsize: tuple[float, float]) -> Any:
    """Return the given figure or subfigure, or a new figure."""
    if figure is not None:
        return figure
    import matplotlib.pyplot as plt

    return plt.figure(figsize=figsize, layout="constrained")


def number(value: float) -> str:
    """Format a number with about four significant digits."""
    size = abs(value)
    if value and not 1e-3 <= size < 1e6:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def room_above(ax: Any, room: float) -> None:
    """Raise the upper limit of the y axis so that this share of it is empty."""
    to_axis = ax.yaxis.get_transform()
    low, high = to_axis.transform(ax.get_ylim())
    top = to_axis.inverted().transform(low + (high - low) / (1 - room))
    ax.set_ylim(top=float(top))


def pixel_range(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the values drawn black and white: those of uint8 or of these images."""
    if images[0].dtype == np.uint8:
        return 0.0, 255.0
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    return low, high if high > low else low + 1.0


def as_picture(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale an image to [0, 1]. Any number of channels other than 3 is averaged."""
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image.mean(-1)
    return np.clip((image - low) / (high - low), 0, 1)

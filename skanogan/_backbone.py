"""What all detectors ask of the parameters of their networks, and decide by a row."""

from numbers import Integral, Real
from typing import Any

from skanogan._compat import Interval, StrOptions
from skanogan.models._losses import ADVERSARIAL_LOSSES

__all__ = [
    "NETWORK_CONSTRAINTS",
    "check_hidden_layer_sizes",
    "is_convolutional",
    "whitening_floor",
]

NETWORK_CONSTRAINTS: dict[str, list[Any]] = {
    "backbone": [StrOptions({"auto", "mlp", "convolutional"})],
    "hidden_layer_sizes": [tuple, list],
    "n_filters": [Interval(Integral, 1, None, closed="left")],
    "latent_dim": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "adversarial_loss": [StrOptions(set(ADVERSARIAL_LOSSES))],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "averaging": [Interval(Real, 0, 1, closed="left")],
    "whitening_floor": [
        StrOptions({"auto"}),
        Interval(Real, 0, None, closed="neither"),
    ],
}
"""Of the parameters that every detector here has for its networks and its metric."""

SMALLEST_SIDE = 8
"""Of an image for the convolutional networks: one halving leaves 4 pixels."""


def is_convolutional(
    backbone: str, row_shape: tuple[int, ...], auto_from: int = SMALLEST_SIDE
) -> bool:
    """Whether networks for these rows are convolutional.

    Parameters
    ----------
    backbone : {"auto", "mlp", "convolutional"}
        "auto" is convolutional for images with sides of `auto_from` pixels or more.
    row_shape : tuple of int
        (d,) or (H, W, C).
    auto_from : int, default=8
        At least 8.

    Raises
    ------
    ValueError
        If "convolutional" is asked for and the rows are flat or the images too small.
    """
    large_enough = len(row_shape) == 3 and min(row_shape[:2]) >= SMALLEST_SIDE
    if backbone == "convolutional" and not large_enough:
        got = f"images of shape {row_shape}" if len(row_shape) == 3 else "flat rows"
        raise ValueError(
            f'backbone="convolutional" needs images with sides of {SMALLEST_SIDE} '
            f"pixels or more: got {got}. Pass (n, H, W) arrays, set image_shape, "
            'or use backbone="mlp".'
        )
    if backbone == "auto":
        return large_enough and min(row_shape[:2]) >= auto_from
    return backbone == "convolutional"


def check_hidden_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """The sizes as a tuple.

    Raises
    ------
    ValueError
        If there is none, or one is not a positive integer.
    """
    positive = all(isinstance(size, Integral) and int(size) > 0 for size in sizes)
    if len(sizes) == 0 or not positive:
        raise ValueError(
            f"hidden_layer_sizes={sizes!r}: a tuple of one or more positive integers "
            "was expected, for instance (256, 256)."
        )
    return tuple(sizes)


def whitening_floor(floor: "float | str", row_shape: tuple[int, ...]) -> float:
    """The floor of the whitened metric; "auto" is 0.1 for images, 0.001 for tables."""
    if floor == "auto":
        return 0.1 if len(row_shape) == 3 else 0.001
    return float(floor)

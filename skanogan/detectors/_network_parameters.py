"""Parameters that all detectors have in common, and the rules for their defaults."""

from numbers import Integral, Real
from typing import Any, TypeVar

from skanogan._runtime.compatibility import Interval, StrOptions

__all__ = [
    "NETWORK_CONSTRAINTS",
    "RUNNING",
    "THRESHOLD",
    "check_hidden_layer_sizes",
    "is_convolutional",
    "is_large",
    "resolve",
    "resolve_shrinkage",
]

Value = TypeVar("Value", int, float, str)

NETWORK_CONSTRAINTS: dict[str, list[Any]] = {
    "backbone": [StrOptions({"auto", "mlp", "convolutional"})],
    "hidden_layer_sizes": [tuple, list],
    "n_filters": [Interval(Integral, 1, None, closed="left")],
    "latent_dim": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "ema_decay": [Interval(Real, 0, 1, closed="left")],
    "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
}
"""Constraints of the parameters of networks, training and metric."""

THRESHOLD = ("contamination", "support_fraction", "validation_fraction")
"""The parameters of the threshold and of its rows, in the order of all detectors."""

RUNNING = (
    *("random_state", "device", "verbose", "scoring_dtype"),
    *("warm_start", "memory", "checkpoint"),
)
"""The parameters of running, in the order of all detectors."""

LARGE_IMAGE = 256
"""Images of fewer pixels get the budget of tables. Digits of 8 x 8 pixels are ranked as
well after 100 updates as after 600, in a tenth of the time (docs/defaults.md)."""

SMALLEST_SIDE = 8
"""Smallest side of images for convolutional networks; one halving leaves 4 pixels."""


def is_convolutional(
    backbone: str, row_shape: tuple[int, ...], auto_from: int = SMALLEST_SIDE
) -> bool:
    """Whether the networks for rows of shape (d,) or (H, W, C) are convolutional.

    "auto" is convolutional for images with sides of `auto_from` pixels or more.
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
    """Return the sizes as a tuple, if they are one or more positive integers."""
    positive = all(isinstance(size, Integral) and int(size) > 0 for size in sizes)
    if len(sizes) == 0 or not positive:
        raise ValueError(
            f"hidden_layer_sizes={sizes!r}: a tuple of one or more positive integers "
            "was expected, for instance (256, 256)."
        )
    return tuple(sizes)


def resolve(value: Any, auto: Value) -> Value:
    """Return the value in the type of `auto`, and `auto` for "auto"."""
    return auto if value == "auto" else type(auto)(value)


def resolve_shrinkage(shrinkage: "float | str", row_shape: tuple[int, ...]) -> float:
    """Return the shrinkage as a number; "auto" is 0.1 for images, 0.001 for tables."""
    return resolve(shrinkage, 0.1 if len(row_shape) == 3 else 0.001)


def is_large(row_shape: tuple[int, ...]) -> bool:
    """Whether rows of shape (d,) or (H, W, C) are large images."""
    return len(row_shape) == 3 and row_shape[0] * row_shape[1] >= LARGE_IMAGE

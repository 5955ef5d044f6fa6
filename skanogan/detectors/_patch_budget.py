"""How many patches `PatchDetector` draws, and how long their detector trains."""

import math
from typing import Any

from skanogan.detectors._network_parameters import is_large

__all__ = ["n_patches_of_each", "with_short_training"]

N_PATCHES = 2560
"""Number of patches of all training images together: 64 of each of 40 images."""

SHORT = {"max_iter": 640, "encoder_max_iter": 640, "batch_size": 16, "n_estimators": 1}
"""A training of patches. On magnetic tiles, with one seed, 640 updates of 16 patches
ranked residuals by .770 in 46 s. With another seed, 1,000 updates of 64 patches ranked
them by .772 in 264 s. After 200 or 400 updates of 16, it was .68 to .77 by the seed
(docs/results/images_tables.md)."""

AT_LEAST = 16
"""Smallest number of patches of one training image, however many images there are."""


def n_patches_of_each(given: "int | str", n_images: int) -> int:
    """Return the number of patches to draw from each image. "auto" shares them out."""
    if given != "auto":
        return int(given)
    return max(math.ceil(N_PATCHES / n_images), AT_LEAST)


def with_short_training(estimator: Any, patch_shape: tuple[int, ...]) -> Any:
    """Give a detector of this package a short training if its `max_iter` is "auto".

    What else of `SHORT` is "auto" is set as well. Patches of fewer than 256 pixels have
    a short training in any case. The estimator is changed and returned.
    """
    # Of the class: a frozen detector passes on the attributes of the one it holds.
    auto = getattr(type(estimator), "_auto", {})
    shortens = "max_iter" in auto and estimator.max_iter == "auto"
    if not shortens or not is_large((*patch_shape, 1)):
        return estimator
    given = estimator.get_params(deep=False)
    return estimator.set_params(
        **{name: value for name, value in SHORT.items() if given.get(name) == "auto"}
    )

"""Images and masks as users pass them: arrays, mapped files, and pictures."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skanogan._data.image_files import (
    FileReader,
    UnreadableImageError,
    image_files,
    is_path,
)
from skanogan._data.kinds import refuse_kinds, without_gradients
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import ImageFileWarning

__all__ = [
    "Masks",
    "as_images",
    "as_masks",
    "check_channels",
    "check_like_first",
    "first_names",
    "mask_at",
    "mask_of",
    "n_channels_of",
    "only_readable",
    "read_image",
]

MOST_NAMED = 3
"""The number of files that a warning names."""

Masks = Callable[[np.ndarray], Any] | Sequence[Any] | np.ndarray | None


def as_images(images: Any) -> Sequence[Any]:
    """Return a sequence of images or paths, and refuse one image alone.

    A path is that of a folder. Its image files are returned, sorted by name.
    """
    if is_path(images):
        return image_files(Path(images))
    refuse_kinds(images, "images", takes_files=True)
    images = without_gradients(images)
    n_dim = getattr(images, "ndim", 1)
    if n_dim not in (1, 3, 4):
        raise ValueError(
            f"images has shape {tuple(images.shape)}. It must be (n, H, W), "
            "(n, H, W, C), or a list of images or paths. If it is one image, pass "
            "images[None]."
        )
    if n_dim == 1:
        images = list(images)
    if len(images) == 0:
        raise ValueError("images holds 0 images while a minimum of 1 is required.")
    return images


def read_image(source: Any, name: str, reader: FileReader) -> np.ndarray:
    """Read one image, (H, W) or (H, W, C), in its own dtype. (H, W, 1) becomes (H, W).

    `name` names the image in errors.
    """
    if is_path(source):
        image = reader.read(source, name)
        name = f"{name} ({source})"
    else:
        image = np.asarray(without_gradients(source))
    if image.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has dtype {image.dtype}. Pixels must be real numbers."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3):
        one = "If it is a row of one image, pass that image in a list."
        several = "If it holds several images, use anomaly_maps."
        raise ValueError(
            f"{name} has shape {image.shape}. It must be (H, W) or (H, W, C). "
            f"{one if image.ndim < 2 else several}"
        )
    return image


def only_readable(
    images: Sequence[Any], masks: Masks, which: Iterable[int], reader: FileReader
) -> np.ndarray:
    """Return the positions of images that can be read, and warn of the others.

    Whether a file is damaged shows only when all of it is read. An image is also left
    out if the file of its mask cannot be read.
    """
    readable, left_out = [], []
    for i in which:
        try:
            for source, name in (
                (images[i], f"images[{i}]"),
                (mask_at(masks, i), f"The mask of images[{i}]"),
            ):
                if is_path(source):
                    reader.read(source, name)
        except (UnreadableImageError, OSError):
            left_out.append(f"images[{i}] ({source})")
        else:
            readable.append(i)
    if left_out:
        warn(
            f"fit leaves out {len(left_out)} of {len(left_out) + len(readable)} "
            f"images, because their files cannot be read: {first_names(left_out)}. "
            "Repair these files or leave them out.",
            ImageFileWarning,
        )
    return np.array(readable, int)


def first_names(names: Sequence[str]) -> str:
    """Write the first few names for a warning, and how many more there are."""
    n_more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f", and {n_more} more" * (n_more > 0))


def n_channels_of(image: np.ndarray) -> int | None:
    """Return the number of channels, or None for (H, W)."""
    return image.shape[2] if image.ndim == 3 else None


def check_channels(image: np.ndarray, n_channels: int | None, name: str) -> None:
    """Refuse an image with other channels than the first of `fit`."""
    if n_channels_of(image) == n_channels:
        return
    wanted, remedy = "(H, W)", "If it holds several images, use anomaly_maps."
    if n_channels:
        wanted = f"(H, W, {n_channels})"
        remedy = "If it is a part of one image, pass images[None]."
    raise ValueError(
        f"{name} has shape {image.shape}, but the first image of fit had {wanted}. "
        f"Convert the image. {remedy}"
    )


def check_like_first(
    image: np.ndarray, n_channels: int | None, dtype: np.dtype[Any], name: str
) -> None:
    """Refuse an image with other channels or another dtype than the first of `fit`.

    Floats of any length agree.
    """
    check_channels(image, n_channels, name)
    both_floats = image.dtype.kind == dtype.kind == "f"
    if image.dtype != dtype and not both_floats:
        raise ValueError(
            f"{name} has dtype {image.dtype}, but the first image of fit had {dtype}. "
            "All images must have one dtype and the same units. Convert the images."
        )


def as_masks(masks: Masks, images: Sequence[Any]) -> Masks:
    """Return the masks, if there is one per image, or a function, or None."""
    if masks is None or callable(masks):
        return masks
    if not hasattr(masks, "__len__") or isinstance(masks, str):
        raise ValueError(
            f"masks is {masks!r}. It must be an array (n, H, W), a list, or a function "
            "of an image."
        )
    if len(masks) != len(images):
        raise ValueError(
            f"Found {len(masks)} masks for {len(images)} images. Pass one mask per "
            "image."
        )
    return masks


def mask_at(masks: Masks, i: int) -> Any:
    """Return the mask of the i-th image. None and a function hold for every image."""
    if masks is None or callable(masks):
        return masks
    if i >= len(masks):
        raise ValueError(
            f"Found {len(masks)} masks for {i + 1} images or more. Pass one mask per "
            "image."
        )
    return masks[i]


def mask_of(
    image: np.ndarray, mask: Any, name: str, reader: FileReader
) -> "np.ndarray | None":
    """Read the mask of one image. Pixels that are not 0 are inside.

    In a file in colour, as many programs write masks, black is 0.
    """
    if callable(mask):
        mask = mask(image)
    if mask is None:
        return None
    in_file = is_path(mask)
    mask = read_image(mask, f"The mask of {name}", reader)
    reader.check_mask(mask, f"The mask of {name}")
    if in_file and mask.ndim == 3:
        mask = mask.any(-1)
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"The mask of {name} has shape {mask.shape}, but the image has shape "
            f"{image.shape}. The mask must have shape {image.shape[:2]}."
        )
    inside = np.asarray(mask != 0)
    if not inside.any():
        raise ValueError(
            f"The mask of {name} is 0 everywhere. At least one pixel must be inside. "
            "Leave the image out, or pass None for the whole image."
        )
    return inside

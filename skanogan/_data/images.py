"""Images and masks as users pass them: arrays, mapped files, and pictures."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "Masks",
    "as_images",
    "as_masks",
    "check_like_first",
    "mask_at",
    "mask_of",
    "n_channels_of",
    "read_image",
]

Masks = Callable[[np.ndarray], Any] | Sequence[Any] | np.ndarray | None


def as_images(images: Any) -> Sequence[Any]:
    """Return a sequence of images or paths, and refuse one image or path alone."""
    advice = "put it in a list"
    if isinstance(images, (str, os.PathLike)):
        raise ValueError(f"images is one path, {str(images)!r}: {advice}.")
    n_dim = getattr(images, "ndim", 1)
    if n_dim not in (1, 3, 4):
        raise ValueError(
            f"images has shape {tuple(images.shape)}. It must be (n, H, W), "
            "(n, H, W, C), or a list of images or paths. If it is one image, "
            f"{advice}."
        )
    if n_dim == 1:
        images = list(images)
    if len(images) == 0:
        raise ValueError("images holds 0 images while a minimum of 1 is required.")
    return images


def read_image(source: Any, name: str) -> np.ndarray:
    """Read one image, (H, W) or (H, W, C), in its own dtype. (H, W, 1) becomes (H, W).

    A ``.npy`` file is mapped. Other files are read by Pillow, with the pixel values as
    they are stored. `name` names the image in errors.
    """
    if isinstance(source, (str, os.PathLike)):
        name = f"{name} ({os.fspath(source)})"
        image = _read_file(Path(source))
    else:
        image = np.asarray(source)
    if image.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has dtype {image.dtype}. Pixels must be real numbers."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3):
        raise ValueError(
            f"{name} has shape {image.shape}. It must be (H, W) or (H, W, C)."
        )
    return image


def n_channels_of(image: np.ndarray) -> int | None:
    """Return the number of channels, or None for (H, W)."""
    return image.shape[2] if image.ndim == 3 else None


def check_like_first(
    image: np.ndarray, n_channels: int | None, dtype: np.dtype[Any], name: str
) -> None:
    """Refuse an image with other channels or another dtype than the first of `fit`.

    Floats of any length agree.
    """
    if n_channels_of(image) != n_channels:
        wanted = f"(H, W, {n_channels})" if n_channels else "(H, W)"
        raise ValueError(
            f"{name} has shape {image.shape}, but the first image of fit had {wanted}. "
            "Convert the image."
        )
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


def mask_of(image: np.ndarray, mask: Any, name: str) -> "np.ndarray | None":
    """Read the mask of one image. Pixels that are not 0 are inside."""
    if callable(mask):
        mask = mask(image)
    if mask is None:
        return None
    mask = read_image(mask, f"The mask of {name}")
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


def _read_file(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        stored: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return stored
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f'Reading {path} needs Pillow: pip install "skanogan[image]". Files in '
            "NumPy's .npy format do not need it."
        ) from error
    with Image.open(path) as opened:
        frames = getattr(opened, "n_frames", 1)
        if frames > 1:
            raise ValueError(
                f"{path} holds {frames} images. A file must hold one. Split the file."
            )
        # Indices of a palette are not brightnesses, and neither are single bits.
        mode = {"P": "RGB", "PA": "RGBA", "1": "L"}.get(opened.mode)
        return np.array(opened.convert(mode) if mode else opened)

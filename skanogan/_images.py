"""Images and masks in: arrays, mapped files and files that Pillow reads."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Masks", "as_images", "as_masks", "mask_of", "read_image"]

Masks = Callable[[np.ndarray], Any] | Sequence[Any] | np.ndarray | None


def as_images(images: Any) -> Sequence[Any]:
    """Something with a length whose items are images or paths.

    Parameters
    ----------
    images : array-like
        (n, H, W), (n, H, W, C), or a list of arrays or paths.

    Raises
    ------
    ValueError
        For one image, or one path, in place of several, and for none.
    """
    one = "put it in a list"
    if isinstance(images, (str, os.PathLike)):
        raise ValueError(f"images is one path, {str(images)!r}: {one}.")
    n_dim = getattr(images, "ndim", 1)
    if n_dim not in (1, 3, 4):
        raise ValueError(
            f"images has shape {tuple(images.shape)}; (n, H, W), (n, H, W, C), or a "
            f"list of images or paths was expected. If it is one image, {one}."
        )
    if n_dim == 1:
        images = list(images)
    if len(images) == 0:
        raise ValueError("images holds 0 images while a minimum of 1 is required.")
    return images


def read_image(source: Any, name: str) -> np.ndarray:
    """One image in its own dtype; (H, W, 1) becomes (H, W).

    Parameters
    ----------
    source : array-like or path
        A ``.npy`` file is mapped; others are read by Pillow, pixels as they are stored.
    name : str
        What to call it in errors.

    Returns
    -------
    image : ndarray of shape (H, W) or (H, W, C)

    Raises
    ------
    ImportError
        Where a file needs Pillow, which is not there.
    ValueError
        For other dimensions, for what is not real numbers, and for files of several
        images.
    """
    if isinstance(source, (str, os.PathLike)):
        name = f"{name} ({os.fspath(source)})"
        image = _read_file(Path(source))
    else:
        image = np.asarray(source)
    if image.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {image.dtype}; real numbers were expected.")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3):
        raise ValueError(
            f"{name} has shape {image.shape}; (H, W) or (H, W, C) was expected."
        )
    return image


def as_masks(masks: Masks, images: Sequence[Any]) -> Masks:
    """The masks, if they are as many as the images.

    Parameters
    ----------
    masks : array-like of shape (n, H, W), list, callable or None
    images : sequence

    Raises
    ------
    ValueError
        For another number, and for what can be no masks.
    """
    if masks is None or callable(masks):
        return masks
    if not hasattr(masks, "__len__") or isinstance(masks, str):
        raise ValueError(
            f"masks is {masks!r}; an array (n, H, W), a list, or a function of an "
            "image was expected."
        )
    if len(masks) != len(images):
        raise ValueError(
            f"Found {len(masks)} masks for {len(images)} images: one a image was "
            "expected."
        )
    return masks


def mask_of(image: np.ndarray, mask: Any, name: str) -> "np.ndarray | None":
    """The mask of one image; what is not 0 is inside.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, C)
    mask : array-like of shape (H, W), path, callable or None
    name : str
        What to call the image in errors.

    Returns
    -------
    inside : ndarray of bool of shape (H, W), or None for the whole image

    Raises
    ------
    ValueError
        For another shape, and where nothing is inside.
    """
    if callable(mask):
        mask = mask(image)
    if mask is None:
        return None
    mask = read_image(mask, f"The mask of {name}")
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"The mask of {name} has shape {mask.shape}, and the image {image.shape}: "
            f"{image.shape[:2]} was expected."
        )
    inside = np.asarray(mask != 0)
    if not inside.any():
        raise ValueError(
            f"The mask of {name} is 0 everywhere: at least one pixel inside was "
            "expected. Leave the image out, or give None for the whole of it."
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
            "NumPy's .npy format need nothing."
        ) from error
    with Image.open(path) as opened:
        frames = getattr(opened, "n_frames", 1)
        if frames > 1:
            raise ValueError(
                f"{path} holds {frames} images; one was expected. Split it into files."
            )
        # Neither the numbers of a palette nor bits are brightnesses.
        mode = {"P": "RGB", "PA": "RGBA", "1": "L"}.get(opened.mode)
        return np.array(opened.convert(mode) if mode else opened)

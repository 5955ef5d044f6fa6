"""Files of images: the files of a folder, and the pixels of each kind of file."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import ImageFileWarning, MaskWarning

__all__ = ["FileReader", "UnreadableImageError", "image_files", "is_path"]

CONVERTED = {
    # Indices of a palette are not brightnesses, and neither are single bits.
    "P": "RGB",
    "PA": "RGBA",
    "1": "L",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
    "RGBX": "RGB",
    # Colours that were multiplied by the alpha channel.
    "RGBa": "RGBA",
    "La": "LA",
}
"""The mode of Pillow that a picture is converted to. Other modes stay as they are."""

WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
"""The mode that shows which pixels a file declares transparent without a channel."""

NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow recognizes, but whose pixels it cannot read on its own."""


class UnreadableImageError(ValueError):
    """A file is damaged, empty, or no image."""


MOST_LABELS = 8
"""A mask of integers with more values than these, beside zero, is taken for grey."""


class FileReader:
    """Read files of images, and warn once of alpha channels and once of grey masks.

    Each call of a public method has its own reader.

    Parameters
    ----------
    warns : bool, default=True
    """

    def __init__(self, warns: bool = True) -> None:
        self._warns = self._warns_of_masks = warns

    def read(self, path: "str | os.PathLike[str]", name: str) -> np.ndarray:
        """Read (H, W) or (H, W, C). A ``.npy`` file is mapped and may have any shape.

        `name` names the image in errors, together with the path.
        """
        path = Path(path)
        name = f"{name} ({path})"
        if path.is_dir():
            raise ValueError(f"{name} is a folder. Pass the paths of its files.")
        if not path.exists():
            raise FileNotFoundError(
                f"{name} does not exist. Correct the path, or leave it out."
            )
        if path.suffix.lower() == ".npy":
            try:
                return np.lib.format.open_memmap(path, mode="r")
            except (OSError, ValueError, EOFError) as error:
                raise _unreadable(name, error) from error
        pixels, has_alpha = _pixels(path, name)
        return self._without_alpha(pixels, name) if has_alpha else pixels

    def check_mask(self, mask: np.ndarray, name: str) -> None:
        """Warn once of a mask that has more values than inside and outside."""
        if not self._warns_of_masks or mask.dtype == bool:
            return
        values = np.unique(mask)
        values = values[values != 0]
        soft = mask.dtype.kind == "f" and bool((values % 1).any())
        if len(values) <= (1 if soft else MOST_LABELS):
            return
        self._warns_of_masks = False
        half = values[-1] / 2
        n_low = int(((mask != 0) & (mask < half)).sum())
        warn(
            f"{name} has {len(values)} values beside 0, up to {values[-1]:g}, as of a "
            f"soft mask or JPEG. All that are not 0 are inside; {n_low} of "
            f"{int((mask != 0).sum())} are below {half:g}. To leave them out, pass "
            f"mask > {half:g}, and save masks as PNG.",
            MaskWarning,
        )

    def _without_alpha(self, pixels: np.ndarray, name: str) -> np.ndarray:
        alpha = pixels[:, :, -1]
        if alpha.min() != alpha.max():
            raise ValueError(
                f"{name} has an alpha channel that varies from {alpha.min()} to "
                f"{alpha.max()}. It must be constant. Put the picture on a background "
                "of one colour, and save it without alpha. If only opaque pixels "
                "count, also pass the alpha channel as its mask."
            )
        if self._warns:
            self._warns = False
            warn(
                f"{name} has an alpha channel that is {alpha.min()} everywhere. It is "
                "left out, as are those of other files. Save files without alpha to "
                "avoid this warning.",
                ImageFileWarning,
            )
        return np.ascontiguousarray(pixels[:, :, :-1])


def is_path(source: Any) -> bool:
    """Return whether an image is given by its path."""
    return isinstance(source, (str, os.PathLike))


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder by name, without hidden files."""
    if not folder.exists():
        raise FileNotFoundError(
            f"images is one path, '{folder}', which does not exist. Pass the path of a "
            "folder, or a list of images or paths."
        )
    if not folder.is_dir():
        raise ValueError(
            f"images is one path, '{folder}', which is not a folder. If it is one "
            "image, put it in a list."
        )
    files = [
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.is_file()
    ]
    suffixes = _suffixes()
    found = [path for path in files if path.suffix.lower() in suffixes]
    if not found:
        without_pillow = (
            ' Pictures need Pillow: pip install "skanogan[image]".'
            if suffixes == {".npy"}
            else ""
        )
        raise ValueError(
            f"images is the folder '{folder}', in which none of {len(files)} files is "
            "an image by its suffix, such as .npy, .png, .jpg or .tif. Folders inside "
            "it are not searched. Pass another folder, or a list of paths."
            + without_pillow
        )
    return sorted(found, key=lambda path: path.name)


def _suffixes() -> set[str]:
    try:
        from PIL import Image
    except ImportError:
        return {".npy"}
    return {
        ".npy",
        *(
            suffix
            for suffix, kind in Image.registered_extensions().items()
            if kind in Image.OPEN and kind not in NOT_DECODED
        ),
    }


def _pixels(path: Path, name: str) -> tuple[np.ndarray, bool]:
    """Read a picture with Pillow. Return it, and whether its last channel is alpha."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            f'Reading {path} needs Pillow: pip install "skanogan[image]". Files in '
            "NumPy's .npy format do not need it."
        ) from error
    try:
        # Pillow 13.0 maps a file that is given by its path, and then reads wrong pixels
        # of an uncompressed TIFF file whose orientation exchanges height and width.
        with path.open("rb") as stream, Image.open(stream) as opened:
            # Cameras add previews to the first picture of a JPEG file (MPO).
            is_mpo = opened.format == "MPO"
            n_images = 1 if is_mpo else getattr(opened, "n_frames", 1)
            if n_images == 1:
                opened.load()
                ImageOps.exif_transpose(opened, in_place=True)
    except UnidentifiedImageError as error:
        reason = ValueError("its content is not that of an image")
        raise _unreadable(name, reason) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has more pixels than Pillow reads: {error} If you trust the file, "
            "raise PIL.Image.MAX_IMAGE_PIXELS, or save the image as .npy."
        ) from error
    except Exception as error:
        # Damaged files make Pillow raise errors of many types.
        raise _unreadable(name, error) from error
    if n_images > 1:
        raise ValueError(
            f"{name} holds {n_images} images. A file must hold one. Split the file."
        )
    mode = CONVERTED.get(opened.mode, opened.mode)
    if opened.has_transparency_data:
        mode = WITH_ALPHA.get(mode, mode)
    pixels = np.array(opened if mode == opened.mode else opened.convert(mode))
    if opened.mode == "I" and opened.format in ("PNG", "PPM"):
        # Pillow may hold 16 bits, the most of these formats, in 32.
        pixels = pixels.astype(np.uint16)
    native = pixels.dtype.newbyteorder("=")
    return pixels.astype(native, copy=False), mode in WITH_ALPHA.values()


def _unreadable(name: str, error: Exception) -> UnreadableImageError:
    reason = str(error) or type(error).__name__
    return UnreadableImageError(
        f"{name} cannot be read: {reason.rstrip('.')}. Repair the file or leave it "
        'out. With unreadable="skip", PatchDetector leaves it out of fit.'
    )

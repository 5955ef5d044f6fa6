"""What the command learns from the normal images, and how it checks one file."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from skanogan import OCGANDetector
from skanogan._data.image_files import FileReader, UnreadableImageError
from skanogan._data.images import (
    check_like_first,
    first_names,
    n_channels_of,
    read_image,
)
from skanogan._mark.pictures import Scale, marked_picture, pixel_range
from skanogan._mark.report import Checked
from skanogan._training.progress import with_bar
from skanogan.baselines import MahalanobisDistance
from skanogan.exceptions import ImageFileWarning
from skanogan.image import PatchDetector, PositionDetector

__all__ = [
    "ERRORS",
    "NORMAL_SHARE",
    "Normal",
    "check",
    "make_detector",
    "read_normal",
    "scale_of",
]

PATCH_SIZE = 32
"""Patches of `PatchDetector`, unless a normal image is smaller."""

SMALLEST_SIDE = 8
"""Patches of fewer pixels show too little to learn from."""

MOST_MAPPED = 20
"""Normal images whose maps set the level of the outlines."""

MOST_PIXELS = 100_000
"""Pixels of each of these maps that are used. Photographs have millions."""

NORMAL_SHARE = 0.998
"""Share of the pixels of normal images that is not outlined."""

SMOOTHING = 2.0
"""Standard deviation of the Gaussian that smooths residuals, in pixels."""

ERRORS = (ValueError, ImportError, OSError, RuntimeError)
"""Errors of images, files and networks. Others are faults of the code."""


@dataclass
class Normal:
    """The normal images that can be read."""

    paths: list[Path]
    side: int
    dtype: np.dtype[Any]
    pixels: tuple[float, float]


def read_normal(files: Sequence[Path]) -> Normal:
    """Read all normal images: only then it shows which are damaged, and their sizes."""
    paths, left_out = [], []
    side, smallest = PATCH_SIZE, Path()
    low, high = np.inf, -np.inf
    dtype: np.dtype[Any] | None = None
    # `fit` warns of alpha channels.
    reader = FileReader(warns=False)
    for path in with_bar(files, len(files), "Reading normal images", 1):
        try:
            image = read_image(path, "An image of NORMAL", reader)
        except (UnreadableImageError, OSError):
            left_out.append(path.name)
            continue
        dtype = image.dtype if dtype is None else dtype
        _check_units(image, dtype, f"An image of NORMAL ({path})")
        paths.append(path)
        if min(image.shape[:2]) < side:
            side, smallest = min(image.shape[:2]), path
        ends = pixel_range(image)
        low, high = min(low, ends[0]), max(high, ends[1])
    if left_out:
        warnings.warn(
            f"{len(left_out)} of {len(files)} files of NORMAL cannot be read and are "
            f"left out: {first_names(left_out)}.",
            ImageFileWarning,
            stacklevel=1,
        )
    if side < SMALLEST_SIDE:
        raise ValueError(
            f"An image of NORMAL ({smallest}) has a side of {side} pixels. Sides must "
            f"have {SMALLEST_SIDE} or more. Leave it out."
        )
    if dtype is None:
        raise ValueError("None of the files of NORMAL can be read.")
    return Normal(paths, side, dtype, (low, high))


def _check_units(image: np.ndarray, dtype: np.dtype[Any], name: str) -> None:
    """Refuse another dtype. Features could be computed, but not be compared."""
    check_like_first(image, n_channels_of(image), dtype, name)


def make_detector(
    features: Any, normal: Normal, contamination: "float | str", seed: int
) -> "PatchDetector | PositionDetector":
    shared: dict[str, Any] = {
        "contamination": contamination,
        "random_state": seed,
        "verbose": 1,
    }
    if features is not None:
        return PositionDetector(MahalanobisDistance(), features, **shared)
    if normal.side < PATCH_SIZE:
        warnings.warn(
            f"Patches have {normal.side} x {normal.side} pixels in place of "
            f"{PATCH_SIZE} x {PATCH_SIZE}, because a normal image is that small.",
            stacklevel=1,
        )
    patches = OCGANDetector(random_state=seed, verbose=1)
    return PatchDetector(patches, patch_size=normal.side, **shared)


def scale_of(detector: Any, normal: Normal) -> Scale:
    """Map some normal images, to know which values are usual."""
    some = normal.paths[:: -(-len(normal.paths) // MOST_MAPPED)]
    values = []
    for path in with_bar(some, len(some), "Mapping normal images", 1):
        found = _map(detector, read_image(path, str(path), FileReader(warns=False)))
        values.append(found.ravel()[:: -(-found.size // MOST_PIXELS)])
    median, level = np.quantile(np.concatenate(values), [0.5, NORMAL_SHARE])
    return Scale(float(median), float(level), normal.dtype, normal.pixels)


def _map(detector: Any, image: np.ndarray) -> np.ndarray:
    found = np.asarray(detector.anomaly_map(image))
    if isinstance(detector, PatchDetector):
        # Residuals of single pixels are mostly noise. Maps of positions are smooth.
        found = gaussian_filter(found, SMOOTHING)
    return found


def check(detector: Any, path: Path, scale: Scale, picture: Path) -> Checked:
    """Score and draw one file. An error is noted, and the other files are checked."""
    checked = Checked(path)
    with warnings.catch_warnings(record=True) as caught:
        try:
            image = read_image(path, "The image", FileReader())
            _check_units(image, scale.dtype, "The image")
            score = float(detector.score_samples([image])[0])
            found = _map(detector, image)
            marked_picture(image, found, scale).save(picture)
        except (*ERRORS, MemoryError) as error:
            checked.note = _as_note(error, path)
            return checked
    checked.score, checked.decision = score, score - detector.offset_
    checked.picture = picture
    checked.note = " ".join(_as_note(str(warning.message), path) for warning in caught)
    return checked


def _as_note(problem: "Exception | str", path: Path) -> str:
    """What an error or a warning says of a file that the report names beside it."""
    text = str(problem).replace(f" ({path})", "").replace("images[0]", "The image")
    text = text.replace("first image of fit", "first image of NORMAL")
    if isinstance(problem, UnreadableImageError):
        # The last sentence is about `fit`.
        text = text.partition(" With unreadable=")[0]
    return " ".join(text.split()) or type(problem).__name__

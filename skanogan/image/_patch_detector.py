"""`PatchDetector`: score and map whole images by a detector of their patches."""

import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skanogan._data.blending import blend
from skanogan._data.image_files import FileReader
from skanogan._data.images import (
    Masks,
    check_like_first,
    mask_at,
    mask_of,
    n_channels_of,
    read_image,
)
from skanogan._data.labels import labels_of_normal
from skanogan._data.patches import Patched, draw_patches, sides, steps
from skanogan._persistence.registry import register_detector
from skanogan._persistence.saving import SaveMixin
from skanogan._runtime.compatibility import Interval, StrOptions
from skanogan._training.progress import long_training_warns, with_bar
from skanogan.detectors._one_fit import of_one_fit
from skanogan.detectors._patch_budget import n_patches_of_each, with_short_training
from skanogan.detectors._whole_images import WholeImageDetector
from skanogan.detectors._wrapping import scores_of

__all__ = ["PatchDetector"]

TRAINING_ADVICE = (
    "A smaller patch_size, or a smaller max_iter of its detector, takes less time. "
    "verbose=1 of the detector shows a progress bar."
)
"""What a warning of a long training advises."""


@register_detector
class PatchDetector(WholeImageDetector, SaveMixin):
    """A detector of images of any size, around a detector of their patches.

    `fit` draws random patches of normal images and fits the detector on them. The score
    of an image is pooled from the scores of patches on a grid. The map of an image is
    blended from the maps of patches. Scores and maps depend on the image and its mask
    alone.

    Parameters
    ----------
    estimator : object
        A detector with `score_samples` or `decision_function`, in which lower is more
        anomalous. It is cloned. It gets patches of shape (n, height, width) or
        (n, height, width, C) if its tag ``input_tags.three_d_array`` is True, as for
        all detectors of this package. Other detectors (of scikit-learn, pipelines,
        searches) get flattened patches. A detector that was fitted on patches is passed
        as ``FrozenEstimator(detector)``. With ``max_iter="auto"`` a detector of this
        package has a short training on patches of 256 pixels or more. See Notes.
    patch_size : int or (int, int), default=(32, 32)
        Height and width of patches in pixels. The time of a fit grows with their
        product. See Notes.
    stride : int, (int, int) or "auto", default="auto"
        Pixels from one patch of the grid to the next, down and across, at most
        `patch_size`. "auto" is half of `patch_size`. The last row and column of patches
        end at the border, so that every pixel is in a patch.
    patches_per_image : int or "auto", default="auto"
        Number of random patches that `fit` draws from each image, or all patches of an
        image that has fewer. "auto" shares out 2,560 patches among the images, with at
        least 16 for each.
    min_coverage : float, default=0.5
        With masks, the share of a patch's pixels that must be inside, from 0 (one
        pixel) to 1. If no patch of an image has this share, the patches with the
        largest share are used.
    pooling : {"top", "max", "quantile", "mean"}, default="top"
        How the score of an image is pooled: the mean of its most anomalous patches, the
        most anomalous patch, a quantile, or the mean of all patches.
    pooling_size : int or float, default=0.1
        For "top", the number (int) or the share (float, rounded up) of patches. For
        "quantile", the share of patches that are more anomalous than the score.
    map_kind : str, default="residual"
        The `kind` that is passed to `anomaly_map` of the detector.
    validation_fraction : float or "auto", default="auto"
        Share of the normal images that is held out of training and calibrates the
        threshold. "auto" is a tenth, or up to a quarter if a tenth is fewer than 60.
    contamination : "auto" or float, default="auto"
        "auto" sets the threshold so that 5 % of new normal images fall below it, as
        measured on the held-out images. With a float in (0, 0.5] no image is held out,
        and this share of the training images falls below the threshold.
    unreadable : {"raise", "skip"}, default="raise"
        What `fit` does with files that cannot be read: it raises an error, or leaves
        out these images with one warning. With "skip", `fit` reads each file twice.
        Methods that score always raise.
    random_state : int, RandomState instance or None, default=None
        Seed of the held-out images and of the patches. The estimator has its own. With
        an int, the patches of an image depend on the image and on their number alone.
    verbose : int, default=0
        A value above 0 shows progress bars over images. The bar of the training is a
        parameter of the detector. With any value, a `LongRunWarning` names the expected
        time if the rest of the training, scores or maps will take more than a minute.

    Attributes
    ----------
    estimator_ : object
        The detector, fitted on patches.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    patch_size_ : (int, int)
        Height and width of patches.
    stride_ : (int, int)
        Pixels from one patch to the next, down and across.
    n_channels_ : int or None
        Channels of the images. None for images of shape (H, W).
    dtype_ : numpy.dtype
        The dtype of the first image.
    n_patches_ : int
        Number of patches that the detector was fitted on.
    masks_ : callable or None
        The function that `fit` got as `masks`.

    See Also
    --------
    sklearn.feature_extraction.image.PatchExtractor : Patches of images of one size.

    Notes
    -----
    Images are one array (n, H, W) or (n, H, W, C), which may be mapped from disk, a
    list of arrays or paths, or the path of a folder. They may have any sizes from
    `patch_size` up. Patches keep the dtype of the images: uint8 stays uint8.
    (H, W, 1) is the same as (H, W).

    The images of a folder are its files with a suffix such as ``.png``, sorted by name.
    Hidden files and folders inside it are left out. ``.npy`` files are mapped. Other
    files are read by Pillow, one at a time, turned upright by their EXIF orientation,
    and converted to RGB if they have a palette or CMYK. A constant alpha channel is
    left out with a warning. An alpha channel that varies is refused.

    Masks say which part of each image counts. A mask has shape (H, W). Pixels that are
    not 0 are inside. A mask with more than a few values, such as a soft mask or a JPEG,
    causes a warning. `masks` is an array, a list of arrays, paths and None (the whole
    image), or a function of the image that returns a mask. A function that `fit` got is
    stored and applied to every image that is scored or mapped later, also in a search
    or in cross-validation. To be pickled, it must be defined in a module. After a fit
    with an array or list, scoring needs masks too, because the threshold was calibrated
    inside of masks.

    Nearly all time of a fit is that of the updates of the networks. For patches of 256
    pixels or more, a detector of this package with ``max_iter="auto"`` makes 640
    updates (and f-AnoGAN's encoder 640), and its `batch_size` and `n_estimators` of
    "auto" are 16 and 1. Set `max_iter` for another training. The guide to images has
    measurements and advice on `patch_size`, `stride` and `pooling`.

    Maps are blended with raised cosines as weights. They hold the values of the
    detector's `anomaly_map`. If it has no such method, all pixels of a patch have the
    anomaly score of the patch. Such a map does not show details that are much smaller
    than a patch.

    Examples
    --------
    Normal images have stripes. One image has a spot without stripes.

    >>> import numpy as np
    >>> from skanogan import OCGANDetector
    >>> from skanogan.image import PatchDetector
    >>> rng = np.random.RandomState(0)
    >>> stripes = np.sin(np.arange(48))[:, None] + rng.normal(0, 0.1, (26, 48, 60))
    >>> detector = PatchDetector(
    ...     OCGANDetector(backbone="mlp", max_iter=100, random_state=0),
    ...     patch_size=8, pooling="max", random_state=0,
    ... ).fit(stripes[:20])
    >>> spotted = stripes[20:].copy()
    >>> spotted[0, 20:28, 40:48] = 1
    >>> detector.predict(spotted)
    array([-1,  1,  1,  1,  1,  1])
    >>> found = detector.anomaly_map(spotted[0])
    >>> found.shape, bool(found[20:28, 40:48].mean() > 4 * found.mean())
    ((48, 60), True)
    """

    estimator_: BaseEstimator
    n_patches_: int
    patch_size_: tuple[int, int]
    stride_: tuple[int, int]
    n_channels_: int | None
    dtype_: np.dtype[Any]
    _takes_images: bool

    _advice: ClassVar[str] = (
        "A larger stride takes less time. verbose=1 shows a progress bar."
    )

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **WholeImageDetector._parameter_constraints,
        "patch_size": [tuple, list, Interval(Integral, 1, None, closed="left")],
        "stride": [
            StrOptions({"auto"}),
            tuple,
            list,
            Interval(Integral, 1, None, closed="left"),
        ],
        "patches_per_image": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "map_kind": [str],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        patch_size: "int | tuple[int, int]" = (32, 32),
        stride: "int | tuple[int, int] | str" = "auto",
        patches_per_image: "int | str" = "auto",
        min_coverage: float = 0.5,
        pooling: str = "top",
        pooling_size: "int | float" = 0.1,
        map_kind: str = "residual",
        validation_fraction: "float | str" = "auto",
        contamination: "float | str" = "auto",
        unreadable: str = "raise",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.patch_size = patch_size
        self.stride = stride
        self.patches_per_image = patches_per_image
        self.min_coverage = min_coverage
        self.pooling = pooling
        self.pooling_size = pooling_size
        self.map_kind = map_kind
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.unreadable = unreadable
        self.random_state = random_state
        self.verbose = verbose

    # Fit ----------------------------------------------------------------------

    def _learn(
        self,
        images: Sequence[Any],
        y: Any,
        masks: Masks,
        kept: np.ndarray,
        seed: int,
        reader: FileReader,
    ) -> None:
        self.patch_size_ = sides(self.patch_size, "patch_size")
        self.stride_ = steps(self.stride, self.patch_size_)
        first = read_image(images[kept[0]], f"images[{kept[0]}]", reader)
        self.n_channels_, self.dtype_ = n_channels_of(first), first.dtype
        drawn = with_bar(kept, len(kept), "Drawing patches", self.verbose)
        patches = draw_patches(
            (
                self._patched(images[i], mask_at(masks, i), f"images[{i}]", reader)
                for i in drawn
            ),
            len(kept),
            n_patches_of_each(self.patches_per_image, len(kept)),
            self.min_coverage,
            seed,
        )
        self.n_patches_ = len(patches)
        self._takes_images = get_tags(self.estimator).input_tags.three_d_array
        estimator = with_short_training(clone(self.estimator), self.patch_size_)
        with long_training_warns(TRAINING_ADVICE):
            known = labels_of_normal(y, len(patches))
            self.estimator_ = estimator.fit(self._as_rows(patches), known)

    # Scores and maps ----------------------------------------------------------

    @of_one_fit
    def anomaly_map(
        self, image: Any, mask: Any = None, *, stride: Any = None
    ) -> np.ndarray:
        """Map how anomalous each pixel of one image is.

        Parameters
        ----------
        image : array-like of shape (H, W) or (H, W, C), or path of a file
            Of any size from `patch_size` up.
        mask : array-like of shape (H, W) or callable, default=None
            The part to map. None is the function that `fit` got, or the whole image if
            it got none.
        stride : int, (int, int) or "auto", default=None
            Replaces the stride of the detector. Smaller strides give smoother maps.

        Returns
        -------
        map : ndarray of shape (H, W), float64
            In the units of the detector's `anomaly_map`. For detectors without one,
            the anomaly scores of the patches around a pixel. Outside the mask it is 0,
            or the lowest value inside if that is negative.
        """
        check_is_fitted(self)
        mask = self.masks_ if mask is None else mask
        return self._map(image, mask, "image", FileReader(), stride)

    def anomaly_maps(
        self, images: Iterable[Any], masks: Masks = None, *, stride: Any = None
    ) -> Iterator[np.ndarray]:
        """Map one image after the other.

        Parameters
        ----------
        images : iterable of arrays or paths, or path of a folder
            A generator is allowed.
        masks, stride : object
            As in `score_samples` and in `anomaly_map`.

        Returns
        -------
        maps : iterator of ndarray of shape (H, W)
            Each map is computed when it is asked for.
        """
        return self._maps(images, masks, stride)

    def _place_scores(
        self, images: Sequence[Any], masks: Masks, which: np.ndarray, reader: FileReader
    ) -> Iterator[np.ndarray]:
        for i in which:
            mask = mask_at(masks, i)
            patched = self._patched(images[i], mask, f"images[{i}]", reader)
            grid = patched.on_grid(self.stride_, self.min_coverage)
            yield np.concatenate([self._patch_scores(patches) for _, patches in grid])

    def _map(
        self, source: Any, mask: Any, name: str, reader: FileReader, stride: Any = None
    ) -> np.ndarray:
        stride = self.stride_ if stride is None else steps(stride, self.patch_size_)
        patched = self._patched(source, mask, name, reader)
        parts = (
            part
            # All patches with a pixel inside, so that pixels at the border of the mask
            # are blended from as many maps as other pixels.
            for corners, patches in patched.on_grid(stride, 0)
            for part in zip(corners, self._patch_maps(patches), strict=True)
        )
        blended = blend(parts, patched.image.shape[:2], self.patch_size_)
        if patched.inside is not None:
            blended[~patched.inside] = min(0.0, blended[patched.inside].min())
        return blended

    def _patch_maps(self, patches: np.ndarray) -> np.ndarray:
        if not hasattr(self.estimator_, "anomaly_map"):
            scores = self._patch_scores(patches)
            return np.broadcast_to(-scores[:, None, None], patches.shape[:3])
        kind = {} if self.map_kind == "residual" else {"kind": self.map_kind}
        maps = np.asarray(self.estimator_.anomaly_map(self._as_rows(patches), **kind))
        # Maps of flat rows are flat, with one value per channel.
        return maps.reshape(*patches.shape[:3], -1).mean(-1)

    def _patch_scores(self, patches: np.ndarray) -> np.ndarray:
        return scores_of(self.estimator_, self._as_rows(patches)).astype(float)

    def _as_rows(self, patches: np.ndarray) -> np.ndarray:
        return patches if self._takes_images else patches.reshape(len(patches), -1)

    def _patched(
        self, source: Any, mask: Any, name: str, reader: FileReader
    ) -> Patched:
        image = read_image(source, name, reader)
        check_like_first(image, self.n_channels_, self.dtype_, name)
        inside = mask_of(image, mask, name, reader)
        return Patched(image, inside, self.patch_size_, name)

    def _check_attributes(self) -> None:
        shape = (*sides(self.patch_size_, "patch_size_"), self.n_channels_ or 1)
        steps(self.stride_, self.patch_size_)
        if self.n_patches_ < 1 or self.n_channels_ in (0, 1):
            raise ValueError("n_patches_ or n_channels_ is not a number that fit sets.")
        n_features = getattr(self.estimator_, "n_features_in_", None)
        if n_features not in (None, math.prod(shape)):
            raise ValueError(
                f"estimator_ takes {n_features} features, but patches of shape {shape} "
                f"have {math.prod(shape)}."
            )

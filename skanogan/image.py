"""Whole images: detectors of patches that score images and map them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.utils import Tags, check_random_state, get_tags, metadata_routing
from sklearn.utils.validation import check_is_fitted

from skanogan._calibration import held_out_size, threshold
from skanogan._compat import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    _fit_context,
)
from skanogan._images import Masks, as_images, as_masks, mask_of, read_image
from skanogan._labels import normal_rows
from skanogan._patches import Patched, blend, pool
from skanogan._rollback import as_before_on_failure
from skanogan._wrapping import scores_of

__all__ = ["PatchDetector"]


class PatchDetector(OutlierMixin, MetaEstimatorMixin, BaseEstimator):
    """A detector of whole images of any size, from a detector of their patches.

    `fit` draws patches from normal images and fits the detector on them. An image is
    scored by pooling the scores of patches on a grid, and mapped by blending theirs.
    Scores and maps are functions of the image and its mask alone.

    Parameters
    ----------
    estimator : object
        A detector with `score_samples` or `decision_function`, lower for what is more
        abnormal. It is cloned. It is given patches as (n, height, width) or
        (n, height, width, C) if its tag ``input_tags.three_d_array`` says that it takes
        them, as that of all detectors of this package does, and as flat rows of
        pixels otherwise (scikit-learn's own detectors, pipelines, searches).
        A detector that has learned from patches already goes in as
        ``FrozenEstimator(detector)``.
    patch_size : int or (int, int), default=(64, 64)
        Height and width of patches in pixels.
    stride : int, (int, int) or "auto", default="auto"
        Pixels from one patch of the grid to the next, down and across, at most
        `patch_size`; "auto" is half of it. The last row and column of patches lie
        against the border, so that every pixel is covered.
    patches_per_image : int, default=64
        Random patches that each image gives to `fit`, or all where there are fewer.
    min_coverage : float, default=0.5
        With masks, the share of a patch's pixels that must lie inside for it to be
        learned from or scored, from 0 (one pixel) to 1. Where no patch of an image has
        so much, those that have the most are taken.
    pooling : {"top", "max", "quantile", "mean"}, default="top"
        An image's score: the mean over its most abnormal patches, the most abnormal
        one, a quantile, or the mean over all.
    pooling_size : int or float, default=0.1
        For "top", how many patches (int) or what share of them (float, rounded up);
        for "quantile", the share of patches more abnormal than the score.
    map_kind : str, default="residual"
        The kind of map to ask the detector's `anomaly_map` for.
    validation_fraction : float or "auto", default="auto"
        Share of the normal images held out of training to calibrate the threshold.
        "auto" is a tenth, or up to a fifth where a tenth is fewer than 20.
    contamination : "auto" or float, default="auto"
        "auto" puts the threshold where 5 % of new normal images fall below, as measured
        on the held-out images. With a float in (0, 0.5] no image is held out, and that
        share of the training images falls below.
    random_state : int, RandomState instance or None, default=None
        Of the held-out images and the patches drawn; the estimator has its own. Given
        an int, an image always gives the same patches: other images and their order
        have no part in it.

    Attributes
    ----------
    estimator_ : object
        The detector, fitted on patches.
    offset_ : float
        ``decision_function = score_samples - offset_``.
    patch_size_ : (int, int)
    stride_ : (int, int)
    n_channels_ : int or None
        Channels of the images; None for (H, W).
    dtype_ : numpy.dtype
        Of the first image.
    n_patches_ : int
        Patches learned from.
    masks_ : callable or None
        The function that was given to `fit` as `masks`.

    See Also
    --------
    sklearn.feature_extraction.image.PatchExtractor : Patches alone, of images of one
        size.

    Notes
    -----
    Images are one array (n, H, W) or (n, H, W, C), which may be mapped from disk, or a
    list of arrays or paths, of any sizes from `patch_size` up: ``.npy`` files are
    mapped, others are read by Pillow, one at a time, pixels as they are stored. Patches
    keep the dtype of the images: uint8 is not widened. (H, W, 1) is the same as (H, W).

    Masks say which part of each image counts: the retina, the piece on the belt. They
    are (H, W), inside where not 0: an array or list, one a image (a path, or None for
    the whole image, may stand in it); or a function of the image that returns one.
    A function given to `fit` is kept and also used whenever an image is scored or
    mapped, also within a search or cross-validation; to be pickled it must be defined
    in a module. After a fit with an array or list, scoring asks for masks too, because
    the threshold was calibrated inside of them.

    Maps are blended by a raised cosine, and hold a patch's residual a pixel. For a
    detector without `anomaly_map` a patch's value, minus its score, stands for all its
    pixels: such a map resolves nothing much smaller than a patch.

    Examples
    --------
    Stripes are normal; one image has a spot that breaks them.

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

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's)
        "estimator": [
            HasMethods(["fit", "score_samples"]),
            HasMethods(["fit", "decision_function"]),
        ],
        "patch_size": [tuple, list, Interval(Integral, 1, None, closed="left")],
        "stride": [
            StrOptions({"auto"}),
            tuple,
            list,
            Interval(Integral, 1, None, closed="left"),
        ],
        "patches_per_image": [Interval(Integral, 1, None, closed="left")],
        "min_coverage": [Interval(Real, 0, 1, closed="both")],
        "pooling": [StrOptions({"top", "max", "quantile", "mean"})],
        "pooling_size": [
            Interval(RealNotInt, 0, 1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "map_kind": [str],
        "validation_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "random_state": ["random_state"],
    }

    # Images come first in every method; routing is not to take their name for metadata.
    __metadata_request__fit = {"images": metadata_routing.UNUSED}  # noqa: RUF012
    __metadata_request__predict = {"images": metadata_routing.UNUSED}  # noqa: RUF012
    __metadata_request__decision_function = {  # noqa: RUF012
        "images": metadata_routing.UNUSED
    }

    def __init__(
        self,
        estimator: Any,
        *,
        patch_size: "int | tuple[int, int]" = (64, 64),
        stride: "int | tuple[int, int] | str" = "auto",
        patches_per_image: int = 64,
        min_coverage: float = 0.5,
        pooling: str = "top",
        pooling_size: "int | float" = 0.1,
        map_kind: str = "residual",
        validation_fraction: "float | str" = "auto",
        contamination: "float | str" = "auto",
        random_state: Any = None,
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
        self.random_state = random_state

    # Fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, images: Any, y: Any = None, *, masks: Masks = None
    ) -> "PatchDetector":
        """Learn what patches of normal images look like.

        Parameters
        ----------
        images : array-like of shape (n, H, W) or (n, H, W, C), or list of arrays or \
                paths
            Of one dtype (or all of floats) and number of channels.
        y : array-like of shape (n,), default=None
            1 for normal images, -1 for anomalies, which are then left out of the fit.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            The part of each image that counts; see Notes.

        Returns
        -------
        self : PatchDetector
            The fitted detector. If anything fails, it is as it was before.

        Raises
        ------
        ValueError
            For images smaller than a patch, of different dtypes or channels, with
            pixels that are not finite, for masks that do not fit, and for too few
            normal images.
        """
        with as_before_on_failure(self):
            return self._fit(as_images(images), y, masks)

    def _fit(self, images: Sequence[Any], y: Any, masks: Masks) -> "PatchDetector":
        self.patch_size_ = _sides(self.patch_size, "patch_size")
        self.stride_ = self._stride(self.stride)
        if self.pooling == "quantile" and isinstance(self.pooling_size, Integral):
            raise ValueError(
                f'pooling_size={self.pooling_size} with pooling="quantile": a share '
                "between 0.0 and 1.0 was expected."
            )
        masks = as_masks(masks, images)
        self.masks_ = masks if callable(masks) else None
        self._asks_for_masks = masks is not None and not callable(masks)

        normal = normal_rows(y, len(images))
        calibrates = self.contamination == "auto"
        if len(normal) < 1 + calibrates:
            raise ValueError(
                f"Found {len(normal)} normal image(s) while a minimum of "
                f"{1 + calibrates} is required by PatchDetector: one to learn from"
                + (', one to calibrate contamination="auto".' if calibrates else ".")
            )
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        order = rng.permutation(normal)
        n_held_out = 0
        if calibrates:
            n_held_out = held_out_size(len(normal), self.validation_fraction)
        held_out, kept = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])

        patches = self._training_patches(images, kept, masks, seed)
        self.n_patches_ = len(patches)
        self._takes_images = get_tags(self.estimator).input_tags.three_d_array
        self.estimator_ = clone(self.estimator).fit(self._as_rows(patches), None)
        scores = self._scores(images, masks, held_out if calibrates else kept)
        self.offset_ = threshold(scores, self.contamination)
        return self

    def _training_patches(
        self, images: Sequence[Any], kept: np.ndarray, masks: Masks, seed: int
    ) -> np.ndarray:
        """Random patches of these images, in their dtype, one image after the other."""
        patches: np.ndarray | None = None
        filled = 0
        for i in kept:
            image = read_image(images[i], f"images[{i}]")
            if patches is None:
                self.n_channels_ = image.shape[2] if image.ndim == 3 else None
                self.dtype_ = image.dtype
            patched = self._patched(image, _at(masks, i), f"images[{i}]")
            found = patched.random(self.patches_per_image, self.min_coverage, seed)
            if patches is None:
                # Most images are of one size: as many from each as from the first.
                n_each = min(self.patches_per_image, patched.n_places)
                patches = np.empty((len(kept) * n_each, *found.shape[1:]), self.dtype_)
            if filled + len(found) > len(patches):
                n_more = max(len(found), len(patches) // 2)
                more = np.empty((n_more, *found.shape[1:]), self.dtype_)
                patches = np.concatenate([patches[:filled], more])
            patches[filled : filled + len(found)] = found
            filled += len(found)
        assert patches is not None
        return patches[:filled]

    # Scores -------------------------------------------------------------------

    def score_samples(self, images: Any, masks: Masks = None) -> np.ndarray:
        """How normal each image is: the pooled scores of its patches.

        Parameters
        ----------
        images : array-like of shape (n, H, W) or (n, H, W, C), or list of arrays or \
                paths
            With as many channels as in `fit`, of any sizes from `patch_size` up.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            The part of each image that counts; None for the function that `fit` got,
            if it got one.

        Returns
        -------
        scores : ndarray of shape (n,), float64
            Higher is more normal. A function of each image and its mask alone.

        Raises
        ------
        ValueError
            As in `fit`, and without masks after a fit with an array or list of them.
        """
        check_is_fitted(self)
        images = as_images(images)
        if masks is None:
            masks = self.masks_
        if masks is None and self._asks_for_masks:
            raise ValueError(
                "masks is None, but fit had masks, and calibrated offset_ inside of "
                "them. Pass masks here too ([None] * n for whole images), or give fit "
                "a function of the image, which is then used here."
            )
        return self._scores(images, as_masks(masks, images), range(len(images)))

    def decision_function(self, images: Any, masks: Masks = None) -> np.ndarray:
        """`score_samples` less the threshold `offset_`; negative is an outlier.

        Parameters
        ----------
        images, masks : object
            As in `score_samples`.

        Returns
        -------
        scores : ndarray of shape (n,), float64
            Negative is an outlier.
        """
        return self.score_samples(images, masks) - self.offset_

    def predict(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Label images 1 (normal) or -1 (anomaly).

        Parameters
        ----------
        images, masks : object
            As in `score_samples`.

        Returns
        -------
        labels : ndarray of shape (n,), int
            1 normal, -1 anomaly.
        """
        return np.where(self.decision_function(images, masks) < 0, -1, 1)

    def fit_predict(
        self, images: Any, y: Any = None, *, masks: Masks = None
    ) -> np.ndarray:
        """Fit, and label the same images.

        Parameters
        ----------
        images, y, masks : object
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n,), int
            1 normal, -1 anomaly.
        """
        return self.fit(images, y, masks=masks).predict(images, masks)

    # Maps ---------------------------------------------------------------------

    def anomaly_map(
        self, image: Any, mask: Any = None, *, stride: Any = None
    ) -> np.ndarray:
        """Where one image departs from normal ones, pixel by pixel.

        Holds in memory the map, a few hundred patches, and the weights of one row of
        them.

        Parameters
        ----------
        image : array-like of shape (H, W) or (H, W, C), or path
            Of any size from `patch_size` up.
        mask : array-like of shape (H, W) or callable, default=None
            The part to map; None for the function that `fit` got, if it got one, and
            the whole image otherwise.
        stride : int, (int, int) or "auto", default=None
            In place of the detector's: finer ones are smoother, and cost more.

        Returns
        -------
        map : ndarray of shape (H, W), float64
            In the units of the detector's `anomaly_map`; for detectors without one,
            minus the score of the patches around. Outside the mask 0, or the lowest
            value inside where that is negative.
        """
        check_is_fitted(self)
        return self._map(image, self.masks_ if mask is None else mask, stride, "image")

    def anomaly_maps(
        self, images: Iterable[Any], masks: Masks = None, *, stride: Any = None
    ) -> Iterator[np.ndarray]:
        """Map one image after the other.

        Parameters
        ----------
        images : iterable of arrays or paths
            Also one that makes them as it goes.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            As in `anomaly_map`.
        stride : int, (int, int) or "auto", default=None
            As in `anomaly_map`.

        Returns
        -------
        maps : iterator of ndarray of shape (H, W)
            Each made when it is asked for; ``list(...)`` holds all.
        """
        check_is_fitted(self)
        if hasattr(images, "__len__") or isinstance(images, os.PathLike):
            images = as_images(images)
            masks = as_masks(masks, images)
        masks = self.masks_ if masks is None else masks
        return (
            self._map(image, _at(masks, i), stride, f"images[{i}]")
            for i, image in enumerate(images)
        )

    def _map(self, source: Any, mask: Any, stride: Any, name: str) -> np.ndarray:
        stride = self.stride_ if stride is None else self._stride(stride)
        patched = self._patched(read_image(source, name), mask, name)
        parts = (
            part
            # Every patch with a pixel inside, so that a mask's border is blended as
            # the rest is.
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
        # Flat rows come back flat, with a value for each channel.
        return maps.reshape(*patches.shape[:3], -1).mean(-1)

    # Patches ------------------------------------------------------------------

    def _scores(
        self, images: Sequence[Any], masks: Masks, which: Iterable[int]
    ) -> np.ndarray:
        scores = (self._score(images[i], _at(masks, i), f"images[{i}]") for i in which)
        return np.fromiter(scores, float)

    def _score(self, source: Any, mask: Any, name: str) -> float:
        patched = self._patched(read_image(source, name), mask, name)
        # Patches of one image at a time: what the detector is given together depends on
        # the image alone, and so does the last bit of its score.
        scores = [
            self._patch_scores(patches)
            for _, patches in patched.on_grid(self.stride_, self.min_coverage)
        ]
        return pool(np.concatenate(scores), self.pooling, self.pooling_size)

    def _patch_scores(self, patches: np.ndarray) -> np.ndarray:
        return scores_of(self.estimator_, self._as_rows(patches)).astype(float)

    def _as_rows(self, patches: np.ndarray) -> np.ndarray:
        if self._takes_images:
            return patches
        return patches.reshape(len(patches), -1)

    def _stride(self, stride: Any) -> tuple[int, int]:
        height, width = self.patch_size_
        if isinstance(stride, str) and stride == "auto":
            return max(1, height // 2), max(1, width // 2)
        down, across = _sides(stride, "stride")
        if down > height or across > width:
            raise ValueError(
                f"stride={stride!r} with patch_size={self.patch_size!r}: pixels "
                "between the patches would be left out. Use at most the patch's size."
            )
        return down, across

    def _patched(self, image: np.ndarray, mask: Any, name: str) -> Patched:
        """An image and its mask, if they can be had in patches as in fit."""
        channels = image.shape[2] if image.ndim == 3 else None
        if channels != self.n_channels_:
            wanted = f"(H, W, {self.n_channels_})" if self.n_channels_ else "(H, W)"
            raise ValueError(
                f"{name} has shape {image.shape}, but {wanted} was expected, as in the "
                "first image of fit. Convert the image."
            )
        both_floats = image.dtype.kind == self.dtype_.kind == "f"
        if image.dtype != self.dtype_ and not both_floats:
            raise ValueError(
                f"{name} has dtype {image.dtype}, and the first image of fit "
                f"{self.dtype_}: one dtype, in the same units, was expected. Convert "
                "the images."
            )
        if image.shape[0] < self.patch_size_[0] or image.shape[1] < self.patch_size_[1]:
            raise ValueError(
                f"{name} has shape {image.shape}, smaller than a patch of "
                f"{self.patch_size_}. Lower patch_size, or pad the image."
            )
        return Patched(image, mask_of(image, mask, name), self.patch_size_, name)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(getattr(self, "estimator_", self.estimator))
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.non_deterministic = inner.non_deterministic
        return tags


def _at(masks: Masks, i: int) -> Any:
    """One of the masks; None and a function are for every image."""
    if masks is None or callable(masks):
        return masks
    if i >= len(masks):
        raise ValueError(
            f"Found {len(masks)} masks for {i + 1} images or more: one a image was "
            "expected."
        )
    return masks[i]


def _sides(value: Any, name: str) -> tuple[int, int]:
    """(height, width) from a pair, or from one number for both."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(side, Integral) and int(side) > 0 for side in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(
            f"{name}={value!r}: a positive integer, or (height, width) in two of "
            "them, was expected."
        )
    return int(pair[0]), int(pair[1])

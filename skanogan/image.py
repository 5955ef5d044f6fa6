"""`PatchDetector`: score and map whole images by a detector of their patches."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import Tags, check_random_state, get_tags, metadata_routing

from skanogan._data.images import (
    Masks,
    as_images,
    as_masks,
    mask_at,
    n_channels_of,
    read_image,
)
from skanogan._data.labels import normal_rows
from skanogan._data.patches import draw_patches, sides, steps
from skanogan._data.split import held_out_size, hold_out
from skanogan._persistence.registry import register_detector
from skanogan._persistence.saving import SaveMixin
from skanogan._runtime.compatibility import (
    Interval,
    RealNotInt,
    StrOptions,
    _fit_context,
)
from skanogan._training.progress import long_training_warns, with_bar
from skanogan.detectors._image_methods import ImageMethodsMixin
from skanogan.detectors._patch_budget import n_patches_of_each, with_short_training
from skanogan.detectors._rollback import as_before_on_failure
from skanogan.detectors._thresholds import threshold, warn_of_few_scores
from skanogan.detectors._wrapping import ANY_DETECTOR

__all__ = ["PatchDetector"]

ADVICE = (
    "A smaller patch_size, or a smaller max_iter of its detector, takes less time. "
    "verbose=1 of the detector shows a progress bar."
)
"""What a warning of a long training advises."""


@register_detector
class PatchDetector(ImageMethodsMixin, SaveMixin, MetaEstimatorMixin, BaseEstimator):
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
        searches) get flat rows of pixels. A detector that was fitted on patches is
        passed as ``FrozenEstimator(detector)``. With ``max_iter="auto"`` a detector of
        this package has a short training on patches of 256 pixels or more. See Notes.
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
    random_state : int, RandomState instance or None, default=None
        Seed of the held-out images and of the patches. The estimator has its own. With
        an int, the patches of an image depend on the image and on their number alone.
    verbose : int, default=0
        A value above 0 shows progress bars over images. The bar of the training is a
        parameter of the detector. With any value a `LongRunWarning` names the expected
        time once the training, scores or maps are expected to take more than a minute
        more.

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
    Images are one array (n, H, W) or (n, H, W, C), which may be mapped from disk, or a
    list of arrays or paths. They may have any sizes from `patch_size` up. ``.npy``
    files are mapped. Other files are read by Pillow, one at a time, with the pixel
    values as they are stored. Patches keep the dtype of the images: uint8 stays uint8.
    (H, W, 1) is the same as (H, W).

    Masks say which part of each image counts. A mask has shape (H, W). Pixels that are
    not 0 are inside. `masks` is an array, or a list of arrays, paths and None (the
    whole image), or a function of the image that returns a mask. A function that `fit`
    got is stored and applied to every image that is scored or mapped later, also in a
    search or in cross-validation. To be pickled, it must be defined in a module. After
    a fit with an array or list, scoring needs masks too, because the threshold was
    calibrated inside of masks.

    Nearly all time of a fit is that of the updates of the networks. For patches of 256
    pixels or more, a detector of this package with ``max_iter="auto"`` makes 640
    updates (and f-AnoGAN's encoder 640), and its `batch_size` and `n_estimators` of
    "auto" are 16 and 1. Set `max_iter` for another training. The guide to images has
    measurements and advice on `patch_size`, `stride` and `pooling`.

    Maps are blended with raised cosines as weights. They hold the residual of each
    pixel. If the detector has no `anomaly_map`, all pixels of a patch have its anomaly
    score. Such a map shows nothing much smaller than a patch.

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

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's)
        "estimator": [*ANY_DETECTOR],
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
        "verbose": ["verbose"],
    }

    # The first argument of each method is not metadata that could be routed.
    __metadata_request__fit = {"images": metadata_routing.UNUSED}  # noqa: RUF012
    __metadata_request__predict = {"images": metadata_routing.UNUSED}  # noqa: RUF012
    __metadata_request__decision_function = {  # noqa: RUF012
        "images": metadata_routing.UNUSED
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
        self.random_state = random_state
        self.verbose = verbose

    # Fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, images: Any, y: Any = None, *, masks: Masks = None
    ) -> "PatchDetector":
        """Fit the detector on patches of normal images.

        Parameters
        ----------
        images : array-like of shape (n, H, W) or (n, H, W, C), or list of arrays or \
                paths
            Images of one dtype (or floats of any length) and one number of channels.
        y : array-like of shape (n,), default=None
            1 for normal images, -1 for anomalies, which are left out of the fit.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            The part of each image that counts. See Notes.

        Returns
        -------
        self : PatchDetector
            The fitted detector. If `fit` fails, the detector is as it was before.

        Raises
        ------
        ValueError
            If images are smaller than a patch, differ in dtype or channels, or have
            pixels that are not finite, if masks do not fit the images, or if there are
            too few normal images.
        """
        with as_before_on_failure(self):
            return self._fit(as_images(images), y, masks)

    def _fit(self, images: Sequence[Any], y: Any, masks: Masks) -> "PatchDetector":
        self.patch_size_ = sides(self.patch_size, "patch_size")
        self.stride_ = steps(self.stride, self.patch_size_)
        if self.pooling == "quantile" and isinstance(self.pooling_size, Integral):
            raise ValueError(
                f"pooling_size={self.pooling_size} is an integer, but "
                'pooling="quantile" needs a share between 0.0 and 1.0.'
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
                + (
                    ', and one to calibrate contamination="auto".'
                    if calibrates
                    else "."
                )
            )
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        size = held_out_size(len(normal), self.validation_fraction) if calibrates else 0
        kept, held_out = map(np.sort, hold_out(normal, size, rng))
        if calibrates:
            warn_of_few_scores(size, "images")

        first = read_image(images[kept[0]], f"images[{kept[0]}]")
        self.n_channels_, self.dtype_ = n_channels_of(first), first.dtype
        drawn = with_bar(kept, len(kept), "Drawing patches", self.verbose)
        patches = draw_patches(
            (
                self._patched(images[i], mask_at(masks, i), f"images[{i}]")
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
        with long_training_warns(ADVICE):
            self.estimator_ = estimator.fit(self._as_rows(patches), None)
        scored = held_out if calibrates else kept
        scores = self._scores(images, masks, scored, "Calibrating the threshold")
        self.offset_ = threshold(scores, self.contamination)
        return self

    def fit_predict(
        self, images: Any, y: Any = None, *, masks: Masks = None
    ) -> np.ndarray:
        """Fit the detector and label the same images.

        Parameters
        ----------
        images, y, masks : object
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n,), int
            1 or -1.
        """
        return self.fit(images, y, masks=masks).predict(images, masks)

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

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(getattr(self, "estimator_", self.estimator))
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.non_deterministic = inner.non_deterministic
        return tags

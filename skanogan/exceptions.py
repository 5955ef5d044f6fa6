"""Warnings and errors of this package. Each message says what to do.

Each class names causes, cures, and the page of the guide that tells more.
"""

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "BatchSizeWarning",
    "CalibrationWarning",
    "CheckpointError",
    "CollapseWarning",
    "DeviceFallbackWarning",
    "DiscriminatorWinsWarning",
    "DivergenceError",
    "DivergenceWarning",
    "ImageFileWarning",
    "ImageShapeWarning",
    "LabelWarning",
    "LongRunWarning",
    "MaskWarning",
    "ModelFileError",
    "ModelVersionWarning",
    "ParameterWarning",
    "RangeWarning",
    "SupportWarning",
]


class CollapseWarning(ConvergenceWarning):
    """The model generates nearly the same row for every latent.

    Cause: the training collapsed or was too short. Cure: train longer (`max_iter`),
    lower `learning_rate`, or try another `random_state`. Guide: :doc:`/questions`.
    """


class DiscriminatorWinsWarning(ConvergenceWarning):
    """The discriminator separates generated rows from real rows without error.

    Cause: few rows, or a learning rate that is too high. The generator then learns
    little. Cure: set ``gradient_penalty=1``, lower `learning_rate`, or add rows. Guide:
    :doc:`/questions`.
    """


class ImageFileWarning(UserWarning):
    """Files of images have an alpha channel, or cannot be read and are left out.

    Cause: pictures were saved with a constant alpha channel, which is left out, or
    files are damaged and ``unreadable="skip"``. Cure: save them again, without alpha.
    Guide: :doc:`/images`.
    """


class ImageShapeWarning(UserWarning):
    """Images seem to have their channels first, such as (3, 32, 32).

    Cause: the axes are in the order of torch. Cure: ``np.moveaxis(X, 1, -1)``. Guide:
    :doc:`/inputs`.
    """


class RangeWarning(UserWarning):
    """The rows to score are in another range than the rows of `fit`.

    Cause: images of 0 to 255 in `fit` and of 0 to 1 later, or the reverse, or a table
    that was scaled in one place only. Cure: convert all rows alike, for instance in a
    pipeline. The warning changes no score. Guide: :doc:`/inputs`.
    """


class LabelWarning(UserWarning):
    """`y` is ignored, or marks most rows as anomalies.

    Cause: labels of another kind, such as 0 and 1, or normal rows marked -1. Cure: 1 is
    normal and -1 an anomaly: ``np.where(is_anomaly, -1, 1)``. Guide: :doc:`/inputs`.
    """


class MaskWarning(UserWarning):
    """A mask has many values, but only zero and non-zero are distinguished.

    Cause: a soft mask, or a mask that was saved as JPEG, whose zeros become small
    numbers. Cure: compare it with a threshold, such as ``mask > 127``, and save it as
    PNG. Guide: :doc:`/images`.
    """


class ParameterWarning(UserWarning):
    """Parameters are allowed, but do not have the effect that they are meant for.

    Cause: a discriminator of your own that ends in a sigmoid although logits are
    expected, or a search with one candidate and no steps. Cure: leave out the sigmoid,
    or raise `n_candidates` or `n_steps`. Guide: :doc:`/methods`.
    """


class LongRunWarning(UserWarning):
    """The fit of a `PatchDetector`, or scores or maps of images, may take long.

    Cause: many or large patches, many positions, or many updates. Cure: set a smaller
    `patch_size`, a larger `stride`, a smaller `image_size` of the features, or a
    smaller `max_iter` of the detector. ``verbose=1`` shows progress bars. Guide:
    :doc:`/images`.
    """


class BatchSizeWarning(UserWarning):
    """`batch_size` is larger than the number of training rows.

    Cause: few rows, some of which are held out. Every batch then holds all rows.
    Cure: set ``batch_size="auto"`` or a smaller value. Guide: :doc:`/defaults`.
    """


class CalibrationWarning(UserWarning):
    """Too few normal rows or images to calibrate the threshold.

    Cause: fewer than 19 held-out rows for ``contamination="auto"``, whose rate of false
    alarms may then be far from 5 %, or less than one row for a float. Cure: pass more
    normal rows, or set `contamination` to another value. Guide: :doc:`/thresholds`.
    """


class SupportWarning(UserWarning):
    """More than 1 % of the training rows lie far from nearly all others.

    Cause: the rows are unlabelled and hold anomalies, or they hold normal rows of a
    rare kind. Rows that are far are left out, unless they are more than 7.5 %. Cure: if
    all rows are normal, set ``support_fraction=1`` or pass a `y` of ones. If not, set
    `support_fraction` or `contamination`. Guide: :doc:`/unlabelled`.
    """


class DivergenceWarning(ConvergenceWarning):
    """Training became non-finite. The detector keeps the last finite state.

    Cause: mostly a learning rate that is too high. Cure: lower it. Guide:
    :doc:`/questions`.
    """


class DivergenceError(RuntimeError):
    """Training became non-finite before a state was kept, so the fit failed.

    Cause: mostly a learning rate that is far too high. Cure: lower it. Guide:
    :doc:`/questions`.
    """


class DeviceFallbackWarning(UserWarning):
    """A detector was loaded on the CPU, because its device is not on this machine.

    Cause: a `device` such as "cuda" was set before saving. Cure: set
    ``device="auto"`` before saving, or pass `device` to `skanogan.load`. Guide:
    :doc:`/saving`.
    """


class CheckpointError(ValueError):
    """A checkpoint belongs to another training, is damaged, or cannot be written.

    Cause: other data or parameters than in the first fit, or a problem of the disk.
    Cure: pass the same data and parameters, delete the file, or use another path. For
    several trainings, as in a search, use a folder.
    Guide: :doc:`/scale`.
    """


class ModelFileError(ValueError):
    """A file is not a detector that can be loaded.

    Cause: the file is damaged or altered, or holds something else or an unknown class.
    Cure: save the detector again. For a class of another package, register it or pass
    `detector_class`. Guide: :doc:`/saving`.
    """


class ModelVersionWarning(UserWarning):
    """A file was written with other versions of skanogan, scikit-learn or torch.

    Cause: a package was updated after the file was written, so scores may differ,
    usually in the last digits. Cure: compare some scores, then save the detector again.
    Guide: :doc:`/saving`.
    """

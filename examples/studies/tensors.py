"""Rows of X as the tensors that the models of detectors take."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_tensor", "scaled"]


def as_tensor(detector: Any, X: np.ndarray) -> Tensor:
    """Convert rows to the tensors that a model takes.

    Parameters
    ----------
    detector : object
        A fitted detector.
    X : ndarray of shape (n, d), (n, H, W) or (n, H, W, C)
        Rows in the units of the detector.

    Returns
    -------
    rows : Tensor of shape (n, d) or (n, C, H, W)
        On the device of the detector, in the units of X.
    """
    rows = torch.tensor(np.asarray(X), device=detector.device_)
    if detector.image_shape_ is None:
        return rows.reshape(len(rows), -1)
    images = rows.reshape(len(rows), *detector.image_shape_)
    return images.permute(0, 3, 1, 2).contiguous()


def scaled(detector: Any, X: np.ndarray) -> Tensor:
    """Convert rows to the scale and the precision of the networks.

    Parameters
    ----------
    detector, X
        As in `as_tensor`.

    Returns
    -------
    rows : Tensor of shape (n, d) or (n, C, H, W)
    """
    model = detector.model_.members[0]
    return model.scaling(as_tensor(detector, X), next(model.parameters()).dtype)

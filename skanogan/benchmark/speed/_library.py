"""All that this package knows of the inside of `AnoGANDetector`."""

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skanogan import AnoGANDetector
from skanogan._base import REFERENCE_ROWS
from skanogan._inputs import Rows

__all__ = ["PUBLISHED", "model_of", "rows_of", "scaled_rows", "searching"]

PUBLISHED: dict[str, Any] = {"score": "anogan", "start": "random"}
"""The search of the paper, less its number of steps."""


def model_of(detector: AnoGANDetector) -> Any:
    """The fitted model: generator, discriminator, and the search between them."""
    return detector.model_


def searching(
    detector: AnoGANDetector, X_train: np.ndarray, **changes: Any
) -> AnoGANDetector:
    """A copy with the same networks and another search.

    Its threshold is still that of the old search; scores are all that is asked of it.

    Parameters
    ----------
    detector : AnoGANDetector
        Fitted; left as it is.
    X_train : ndarray
        What it was fitted on, for the metric of the new search.
    **changes
        Fields of the search, and their values.
    """
    other = copy.deepcopy(detector)
    model: Any = other.model_
    model.search = dataclasses.replace(model.search, **changes)
    reference = _rows(other, X_train).some(REFERENCE_ROWS, np.random.RandomState(0))
    with torch.no_grad():
        model.prepare_scoring(reference, torch.Generator().manual_seed(0))
    return other


def rows_of(detector: AnoGANDetector, X: np.ndarray) -> Tensor:
    """Rows on the detector's device, as its model takes them."""
    return _rows(detector, X).all()


def scaled_rows(detector: AnoGANDetector, X: np.ndarray) -> Tensor:
    """The same on the scale and in the precision of the networks."""
    model = model_of(detector)
    scaled: Tensor = model.scaling(rows_of(detector, X), _dtype(detector))
    return scaled


def _rows(detector: AnoGANDetector, X: np.ndarray) -> Rows:
    flat = np.asarray(X).reshape(len(X), -1)
    return Rows(flat, detector.image_shape_, detector.device_)


def _dtype(detector: AnoGANDetector) -> torch.dtype:
    weight: Tensor = next(model_of(detector).generator.parameters())
    return weight.dtype

"""The plan that a fit makes before it trains, and the choice of its rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skanogan._data.row_weights import weighted
from skanogan._data.rows import Rows
from skanogan._data.split import Split, split
from skanogan._data.support import SHARE, supported
from skanogan._training.run import TrainingPlan
from skanogan.detectors._network_parameters import resolve_shrinkage

__all__ = ["FitPlan", "rows_of_fit"]


@dataclass(frozen=True)
class FitPlan:
    """Everything that a fit decides before it trains.

    Parameters
    ----------
    values : ndarray of shape (n, d)
        Validated rows.
    calibration_rows : ndarray of int
        Positions of the rows whose scores set the threshold.
    support : array of bool of shape (n,)
        Rows that are trained on or held out, in the library of X.
    reference : Tensor
        Training rows that the scoring is prepared on.
    stored : Tensor or None
        Training rows for the nearest rows of the model, if it has any.
    scoring_seed : int
        Seed of what the scoring draws.
    earlier_records : list of dict
        Records of the fits that a warm start continues.
    training : TrainingPlan
        The training.
    """

    values: np.ndarray
    calibration_rows: np.ndarray
    support: Any
    reference: Tensor
    stored: Tensor | None
    scoring_seed: int
    earlier_records: list[dict[str, float]]
    training: TrainingPlan


def _share_of_support(detector: Any, has_labels: bool) -> float | str:
    """The share of the rows to learn from, or "auto" for all but far ones."""
    if detector.support_fraction != "auto":
        return float(detector.support_fraction)
    if has_labels:
        return 1.0
    if detector.contamination != "auto":
        return min(SHARE, 1 - float(detector.contamination))
    return "auto" if detector.image_shape_ is None else 1.0


def rows_of_fit(
    detector: Any,
    values: np.ndarray,
    normal: np.ndarray,
    weights: np.ndarray | None,
    has_labels: bool,
    device: torch.device,
) -> tuple[Split, Rows]:
    """Split the normal rows, repeat them by their weights, and leave out far ones.

    Returns the parts, and the rows to train on.
    """
    image_shape, row_shape = detector.image_shape_, detector._row_shape()
    fraction, random_state = detector.validation_fraction, detector.random_state
    parts = weighted(split(normal, row_shape, fraction, random_state, device), weights)
    rows = Rows(values, image_shape, device, parts.kept)
    share = _share_of_support(detector, has_labels)
    if share == 1:
        return parts, rows
    shrinkage = resolve_shrinkage("auto", row_shape)
    parts = supported(parts, rows, rows.others(parts.held_out), share, shrinkage)
    return parts, Rows(values, image_shape, device, parts.kept)

"""What a fit decides before it trains."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from skanogan._data.support import SHARE
from skanogan._training.run import TrainingPlan

__all__ = ["FitPlan", "share_of_support"]


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


def share_of_support(detector: Any, has_labels: bool) -> float | str:
    """The share of the rows to learn from, or "auto" for all but far ones."""
    if detector.support_fraction != "auto":
        return float(detector.support_fraction)
    if has_labels:
        return 1.0
    if detector.contamination != "auto":
        return min(SHARE, 1 - float(detector.contamination))
    return "auto" if detector.image_shape_ is None else 1.0

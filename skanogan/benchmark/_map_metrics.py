"""How well maps find marked pixels: two areas under curves, each from 0 to 1."""

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score, roc_curve

__all__ = ["pixel_auroc", "region_overlap"]


def pixel_auroc(masks: np.ndarray, maps: np.ndarray) -> float:
    """AUROC of single pixels, those of all images together.

    Parameters
    ----------
    masks : ndarray of bool of shape (n, H, W)
        True where an anomaly is marked.
    maps : ndarray of shape (n, H, W)
        Higher is more anomalous.

    Returns
    -------
    auroc : float
    """
    return float(roc_auc_score(masks.ravel(), maps.ravel()))


def region_overlap(
    masks: np.ndarray, maps: np.ndarray, max_false_positive_rate: float = 0.3
) -> float:
    """Per-region overlap (PRO): a small defect counts as much as a large one.

    For a threshold, the mean over all marked regions (connected also across corners) of
    the share of their pixels above it, against the share of unmarked pixels above it;
    the area under that curve up to `max_false_positive_rate`, over the width (Bergmann
    et al. 2020, "Uninformed Students", section 4.2).

    Parameters
    ----------
    masks : ndarray of bool of shape (n, H, W)
        At least one pixel is True.
    maps : ndarray of shape (n, H, W)
        Higher is more anomalous.
    max_false_positive_rate : float, default=0.3
        Where the curve ends.

    Returns
    -------
    area : float
        1 if every pixel of every region lies above all unmarked ones; chance is half of
        `max_false_positive_rate`.
    """
    # A pixel weighs one over the size of its region: the mean overlap is then the
    # weighted share of marked pixels, and the curve a ROC curve.
    weights = np.ones(masks.shape)
    for mask, weight in zip(masks, weights, strict=True):
        regions, _ = label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())
        weight[mask] = 1 / sizes[regions[mask]]
    rates, overlaps, _ = roc_curve(
        masks.ravel(), maps.ravel(), sample_weight=weights.ravel()
    )
    inside = rates < max_false_positive_rate
    # Where the curve rises at the end itself, from below.
    first = np.searchsorted(rates, max_false_positive_rate)
    up_to = slice(None, first + 1)
    at_end = np.interp(max_false_positive_rate, rates[up_to], overlaps[up_to])
    x = np.append(rates[inside], max_false_positive_rate)
    y = np.append(overlaps[inside], at_end)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / max_false_positive_rate)

"""Two areas under curves that say how well maps find marked pixels."""

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score, roc_curve

__all__ = ["pixel_auroc", "region_overlap"]


def pixel_auroc(masks: np.ndarray, maps: np.ndarray) -> float:
    """Compute the AUROC of the pixels of all images.

    Parameters
    ----------
    masks : ndarray of bool of shape (n, H, W)
        True for the pixels of an anomaly.
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
    """Compute the per-region overlap (PRO): small and large defects count equally.

    The overlap of a threshold is the share of the pixels of a marked region above it,
    averaged over all regions (connected also across corners). Its false positive rate
    is the share of unmarked pixels above it. The result is the area under the curve of
    the two, up to `max_false_positive_rate` and divided by it (Bergmann et al. 2020,
    "Uninformed Students", section 4.2).

    Parameters
    ----------
    masks : ndarray of bool of shape (n, H, W)
        At least one pixel is True.
    maps : ndarray of shape (n, H, W)
        Higher is more anomalous.
    max_false_positive_rate : float, default=0.3
        End of the curve.

    Returns
    -------
    area : float
        1 if every pixel of every region is above all unmarked pixels. Half of
        `max_false_positive_rate` by chance.
    """
    # With the weight 1 / size of its region for each pixel, the mean overlap is the
    # weighted share of marked pixels, and the curve is a ROC curve.
    weights = np.ones(masks.shape)
    for mask, weight in zip(masks, weights, strict=True):
        regions, _ = label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())
        weight[mask] = 1 / sizes[regions[mask]]
    rates, overlaps, _ = roc_curve(
        masks.ravel(), maps.ravel(), sample_weight=weights.ravel()
    )
    inside = rates < max_false_positive_rate
    # If the curve rises at its end, the lower value counts.
    first = np.searchsorted(rates, max_false_positive_rate)
    up_to = slice(None, first + 1)
    at_end = np.interp(max_false_positive_rate, rates[up_to], overlaps[up_to])
    x = np.append(rates[inside], max_false_positive_rate)
    y = np.append(overlaps[inside], at_end)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / max_false_positive_rate)

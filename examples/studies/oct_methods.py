"""The methods that the study of OCT scans compares, by their input."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.baselines import KNNDistance, MeanDistance, PCAReconstruction

__all__ = ["METHODS", "WHOLE_SCANS", "detectors"]

COARSE, FINEST = 80, 160
"""First and last principal component of a patch that is used. The components before
are the general look of the retina, in which normal eyes differ most. Those after are
speckle."""

WHOLE_SCANS = ("scans as they are", "aligned scans")
"""Kinds of input that are whole scans. The others are patches of aligned scans."""


def without_coarse(components: np.ndarray) -> np.ndarray:
    """Drop the coarse components, (n, FINEST) to (n, FINEST - COARSE)."""
    return components[:, COARSE:]


def whitened(detector: BaseEstimator) -> BaseEstimator:
    """Put the detector behind whitened principal components of patches."""
    return make_pipeline(
        PCA(FINEST, whiten=True, svd_solver="covariance_eigh"),
        FunctionTransformer(without_coarse),
        detector,
    )


def detectors(seed: int, memory: str) -> dict[tuple[str, str], Any]:
    """Make the detectors that are compared.

    Parameters
    ----------
    seed : int
    memory : str
        Folder of the cache of trainings: all scores of a method use one training.

    Returns
    -------
    detectors : dict
        From kind of input and name of the method to a detector of such input.
    """
    trees = IsolationForest(random_state=seed)
    shared: dict[str, Any] = {"random_state": seed, "memory": memory}
    anogan = {**shared, "max_iter": 1000}
    f_anogan = {**anogan, "encoder_max_iter": 1000}
    ocgan = {**shared, "max_iter": 1000}
    found: dict[tuple[str, str], Any] = {}
    for kind in (*WHOLE_SCANS, "patches"):
        found[kind, "PCA reconstruction"] = PCAReconstruction()
        found[kind, "5-NN"] = KNNDistance()
        found[kind, "IsolationForest"] = trees
    for score in ("whitened", "anogan"):
        found[kind, f"AnoGAN, {score}"] = AnoGANDetector(anomaly_score=score, **anogan)
    for score in ("whitened", "f_anogan"):
        detector = FAnoGANDetector(anomaly_score=score, **f_anogan)
        found[kind, f"f-AnoGAN, {score}"] = detector
    for score in ("whitened", "reconstruction"):
        found[kind, f"OCGAN, {score}"] = OCGANDetector(anomaly_score=score, **ocgan)
    kind = "whitened patches"
    found[kind, "distance to the mean"] = MeanDistance(2)
    found[kind, "5-NN"] = KNNDistance()
    found[kind, "IsolationForest"] = trees
    found[kind, "AnoGAN"] = AnoGANDetector(**anogan)
    found[kind, "f-AnoGAN"] = FAnoGANDetector(**f_anogan)
    for score in ("whitened", "features", "reconstruction"):
        found[kind, f"OCGAN, {score}"] = OCGANDetector(anomaly_score=score, **ocgan)
    return {
        (kind, name): whitened(detector) if kind == "whitened patches" else detector
        for (kind, name), detector in found.items()
    }


METHODS = tuple(detectors(0, ""))
"""Kind of input and name of each method."""

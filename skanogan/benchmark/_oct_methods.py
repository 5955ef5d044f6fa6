"""What `oct_study` compares: methods by the input that they are given."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.benchmark._baselines import KNNDistance, MeanDistance, PCAReconstruction

__all__ = ["METHODS", "SEE_SCANS", "detectors"]

COARSE, FINEST = 80, 160
"""Principal components of a patch that count: those before are the retina's general
look, in which normal eyes differ most, those after are speckle."""

SEE_SCANS = ("scans as they are", "aligned scans")
"""Kinds of input that are whole scans; the others are patches of aligned ones."""


def finer(components: np.ndarray) -> np.ndarray:
    """Whitened principal components without the coarse ones."""
    return components[:, COARSE:]


def whitened(detector: BaseEstimator) -> BaseEstimator:
    """The detector behind whitened principal components of patches."""
    return make_pipeline(
        PCA(FINEST, whiten=True, svd_solver="covariance_eigh"),
        FunctionTransformer(finer),
        detector,
    )


def detectors(seed: int, memory: str) -> dict[tuple[str, str], Any]:
    """What is compared.

    Parameters
    ----------
    seed : int
    memory : str
        A folder to keep trainings in: one serves all scores.

    Returns
    -------
    detectors : dict
        From kind of input and name of the method to a detector of such input.
    """
    trees = IsolationForest(random_state=seed)
    shared: dict[str, Any] = {"random_state": seed, "memory": memory}
    anogan = {**shared, "max_iter": 1000}
    f_anogan = {**anogan, "encoder_max_iter": 1000}
    ocgan = {**shared, "mining": False}  # half of the time
    found: dict[tuple[str, str], Any] = {}
    for kind in (*SEE_SCANS, "patches"):
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

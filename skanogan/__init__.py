"""GAN-based anomaly detection with the scikit-learn interface."""

# `load` finds the classes of these two modules only if the modules are imported.
from skanogan import conformal, image
from skanogan._persistence.loading import load
from skanogan._runtime.versions import show_versions
from skanogan._version import __version__
from skanogan.detectors._anogan import AnoGANDetector
from skanogan.detectors._fanogan import FAnoGANDetector
from skanogan.detectors._ocgan import OCGANDetector

__all__ = [
    "AnoGANDetector",
    "FAnoGANDetector",
    "OCGANDetector",
    "__version__",
    "conformal",
    "image",
    "load",
    "show_versions",
]

"""GAN-based anomaly detection with the manners of scikit-learn."""

from skanogan._anogan import AnoGANDetector
from skanogan._fanogan import FAnoGANDetector
from skanogan._ocgan import OCGANDetector
from skanogan._persistence.detectors import load
from skanogan._show_versions import show_versions

__version__ = "0.1.0.dev0"

__all__ = [
    "AnoGANDetector",
    "FAnoGANDetector",
    "OCGANDetector",
    "__version__",
    "load",
    "show_versions",
]

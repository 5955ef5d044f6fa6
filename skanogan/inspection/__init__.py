"""Pictures of detectors, in the manner of scikit-learn's Displays.

They need matplotlib: ``pip install "skanogan[plot]"``. Colours differ in lightness as
well as in hue, and groups in hatching or marker, so that every picture can be read in
grey.
"""

from skanogan.inspection._anomaly_map import AnomalyMapDisplay
from skanogan.inspection._embedding import EmbeddingDisplay
from skanogan.inspection._sample import SampleDisplay
from skanogan.inspection._score_distribution import ScoreDistributionDisplay
from skanogan.inspection._training_curve import TrainingCurveDisplay

__all__ = [
    "AnomalyMapDisplay",
    "EmbeddingDisplay",
    "SampleDisplay",
    "ScoreDistributionDisplay",
    "TrainingCurveDisplay",
]

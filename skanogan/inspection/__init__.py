"""Reasons for scores, and displays with the interface of scikit-learn's Displays.

Displays require matplotlib: ``pip install "skanogan[plot]"``. Colours also differ in
lightness, and groups also differ in hatching or marker, so that every figure can be
read in grey.
"""

from skanogan.inspection._anomaly_map import AnomalyMapDisplay
from skanogan.inspection._embedding import EmbeddingDisplay
from skanogan.inspection._reasons import Reasons, explain
from skanogan.inspection._sample import SampleDisplay
from skanogan.inspection._score_distribution import ScoreDistributionDisplay
from skanogan.inspection._training_curve import TrainingCurveDisplay

__all__ = [
    "AnomalyMapDisplay",
    "EmbeddingDisplay",
    "Reasons",
    "SampleDisplay",
    "ScoreDistributionDisplay",
    "TrainingCurveDisplay",
    "explain",
]

"""Base classes for a method of another package.

A method is a `Model`, which is written on tensors, and a `BaseDetector`, which names
its parameters and makes the model. `register_detector` makes the detector known to
`skanogan.utils.discovery.all_detectors`, to `skanogan.load` and to the benchmark.
`Interval`, `StrOptions` and `HasMethods` are scikit-learn's, and declare the ranges of
parameters. `skanogan.nn` has the building blocks of models, and
`skanogan.utils.estimator_checks` the tests. docs/adding_a_method.md shows a method.
"""

from skanogan._persistence.registry import register_detector
from skanogan._runtime.compatibility import HasMethods, Interval, StrOptions
from skanogan.detectors._base import BaseDetector
from skanogan.models import Model

__all__ = [
    "BaseDetector",
    "HasMethods",
    "Interval",
    "Model",
    "StrOptions",
    "register_detector",
]

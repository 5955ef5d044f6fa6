"""Detectors of whole images, around detectors of their patches or positions."""

from skanogan.image._patch_detector import PatchDetector
from skanogan.image._position_detector import PositionDetector

__all__ = ["PatchDetector", "PositionDetector"]

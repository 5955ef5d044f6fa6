"""The methods on tensors, torch only: for those who want a model without a detector."""

from skanogan.models._anogan import AnoGAN
from skanogan.models._model import Model

__all__ = ["AnoGAN", "Model"]

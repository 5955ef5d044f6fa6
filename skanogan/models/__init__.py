"""The methods on tensors, torch only: for those who want a model without a detector."""

from skanogan.models._anogan import AnoGAN
from skanogan.models._fanogan import FAnoGAN
from skanogan.models._model import Model
from skanogan.models._ocgan import OCGAN

__all__ = ["OCGAN", "AnoGAN", "FAnoGAN", "Model"]

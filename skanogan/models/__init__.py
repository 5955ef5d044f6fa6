"""The methods on tensors, torch only, for use without a detector."""

from skanogan.models._anogan import AnoGAN, Search
from skanogan.models._ensemble import Ensemble
from skanogan.models._fanogan import EncoderTraining, FAnoGAN
from skanogan.models._gan import GANParts, GANTraining
from skanogan.models._model import Model
from skanogan.models._ocgan import OCGAN, Game

__all__ = [
    "OCGAN",
    "AnoGAN",
    "EncoderTraining",
    "Ensemble",
    "FAnoGAN",
    "GANParts",
    "GANTraining",
    "Game",
    "Model",
    "Search",
]

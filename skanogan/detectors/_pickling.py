"""How a fitted detector is pickled: from any device, to any machine."""

import copy
from typing import Any

import torch

from skanogan._runtime.device import resolve_device
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import DeviceFallbackWarning
from skanogan.models import Ensemble

__all__ = ["PicklingMixin"]


class PicklingMixin:
    """A pickle holds the model on the CPU. It is opened on `device`, if that is there.

    Stands before scikit-learn's `BaseEstimator`, which adds the version.
    """

    model_: Ensemble
    device: str | torch.device
    device_: torch.device

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        if "model_" in state and self.device_.type != "cpu":
            state = {**state, "model_": copy.deepcopy(self.model_).cpu()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if not hasattr(self, "model_"):
            return
        try:
            device = resolve_device(self.device)
        except ValueError as error:
            device = torch.device("cpu")
            warn(
                f'The detector was opened on the CPU: {error} Set device="auto" before '
                "saving to avoid this warning.",
                DeviceFallbackWarning,
            )
        if device.type == "mps":
            self.model_.float()
        self.model_.to(device)
        self.device_ = device

"""How a fitted estimator is pickled: from any device, to any machine."""

import copy
from typing import Any, ClassVar

import torch

from skanogan._data.array_api import in_numpy
from skanogan._runtime.device import resolve_device
from skanogan._runtime.user_warnings import warn
from skanogan.exceptions import DeviceFallbackWarning

__all__ = ["PicklingMixin"]


class PicklingMixin:
    """A pickle holds the networks on the CPU, and opens them on `device`, if it can.

    Stands before scikit-learn's `BaseEstimator`, which adds the version. `_on_device`
    is the name of the attribute with the networks.
    """

    _on_device: ClassVar[str] = "model_"
    device: str | torch.device
    device_: torch.device

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        name = self._on_device
        if name in state and self.device_.type != "cpu":
            state = {**state, name: copy.deepcopy(state[name]).cpu()}
        if "support_" in state:  # of the library of X, and on its device
            state = {**state, "support_": in_numpy(state["support_"])}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        networks = getattr(self, self._on_device, None)
        if networks is None:
            return
        try:
            device = resolve_device(self.device)
        except ValueError as error:
            device = torch.device("cpu")
            warn(
                f"{type(self).__name__} was opened on the CPU: {error} Set "
                'device="auto" before saving to avoid this warning.',
                DeviceFallbackWarning,
            )
        if device.type == "mps":
            networks.float()
        networks.to(device)
        self.device_ = device

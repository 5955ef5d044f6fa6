"""The state of a training as named tensors, for checkpoints."""

import torch
from torch import Tensor

from skanogan.models._model import Model

__all__ = ["restore_training", "training_state"]

MODEL = "model/"
"""Prefix of the names of the networks. No training part may have this name."""


def training_state(model: Model) -> dict[str, Tensor]:
    """Collect what the next update depends on, except the random stream and the rows.

    Networks have names ``model/...``. The rest has the names of `training_parts`. The
    tensors are those of the model, not copies.
    """
    state = {f"{MODEL}{name}": value for name, value in model.state_dict().items()}
    for name, part in model.training_parts().items():
        if isinstance(part, Tensor):
            state[name] = part
            continue
        for at, moments in part.state_dict()["state"].items():
            for moment, value in moments.items():
                state[f"{name}/{at}/{moment}"] = value
    return state


@torch.no_grad()
def restore_training(model: Model, state: dict[str, Tensor]) -> None:
    """Bring a model after `start_training` to the result of `training_state`."""
    model.load_state_dict(
        {k.removeprefix(MODEL): v for k, v in state.items() if k.startswith(MODEL)}
    )
    for name, part in model.training_parts().items():
        if isinstance(part, Tensor):
            part.copy_(state[name])
            continue
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith(f"{name}/"):
                _, at, moment = key.split("/")
                moments.setdefault(int(at), {})[moment] = value
        groups = part.state_dict()["param_groups"]
        part.load_state_dict({"state": moments, "param_groups": groups})
    model.resume_training()

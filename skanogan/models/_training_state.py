"""What a training holds beside the networks, as named tensors: for checkpoints."""

import torch
from torch import Tensor

from skanogan.models._model import Model

__all__ = ["restore_training", "training_state"]

MODEL = "model/"
"""Prefix of the networks' names; no part may be called so."""


def training_state(model: Model) -> dict[str, Tensor]:
    """All that the next update depends on, less the random stream and the rows.

    Parameters
    ----------
    model : Model
        In training.

    Returns
    -------
    state : dict of str to Tensor
        Networks under ``model/...``, the rest under the names of `training_parts`. The
        tensors are the model's own, not copies.
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
    """Put a model whose training has just started where another stood.

    Parameters
    ----------
    model : Model
        With networks of the same sizes, after `start_training`.
    state : dict of str to Tensor
        Of `training_state`, on any device.
    """
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

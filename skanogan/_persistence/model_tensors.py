"""The model of a detector as tensors and a description, and back."""

import copy
from typing import Any

import torch
from torch import Tensor

from skanogan._persistence import parts as model_parts
from skanogan._persistence.description import MODEL, check_entries, shortened
from skanogan.exceptions import ModelFileError
from skanogan.models import Ensemble
from skanogan.nn import Scaling

__all__ = ["model_from", "model_to"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""The dtypes that a model scores in."""


def model_to(detector: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Describe the model of a fitted detector (`MODEL`), and return its tensors.

    TypeError is raised if `model_from` cannot make the model again, and ValueError if
    parameters were changed since `fit` and no longer describe the model.
    """
    name = type(detector).__name__
    model = detector.model_
    if detector.device_.type != "cpu":
        model = copy.deepcopy(model).cpu()
    new = _new_model(detector, None)
    if changes := model_parts.changes(model, new):
        raise ValueError(
            f"Parameters of {name} were changed after fit and no longer describe its "
            f"model ({'; '.join(changes)}). Set them back or fit again before save."
        )
    parts, numbers = model_parts.added(model, new)
    tensors = model.state_dict()
    dtype = next(model.parameters()).dtype
    if wrong := _differences(new.to(dtype).state_dict(), tensors):
        raise TypeError(f"{name} cannot be made again from its tensors: {wrong}.")
    dtype_name = str(dtype).removeprefix("torch.")
    return {"dtype": dtype_name, "parts": parts, "numbers": numbers}, tensors


def model_from(
    detector: Any, description: dict[str, Any], tensors: dict[str, Tensor]
) -> Ensemble:
    """Make the model that a file describes, on the CPU.

    The detector has its parameters and fitted attributes. ModelFileError is raised if
    the tensors are not those of the parameters.
    """
    check_entries(description, MODEL)
    try:
        dtype = DTYPES[description["dtype"]]
        # A number of members can claim any size, even without storage.
        names = {name.split(".")[1] for name in tensors if name.startswith("members.")}
        if len(names) != (n_members := detector._resolved("n_estimators")):
            raise ValueError(f"{len(names)} members, not {n_members}")
        # The file claims sizes. They are compared with the tensors before any storage
        # is allocated.
        expected = _new_model(detector, None).to(dtype).state_dict()
        weights = {key: tensors[key] for key in expected if key in tensors}
        if wrong := _differences(expected, weights):
            raise ValueError(wrong)
        model = _new_model(detector, torch.Generator()).to(dtype)
        model.load_state_dict(weights)
        others = {key: value for key, value in tensors.items() if key not in expected}
        floats = [t for t in others.values() if t.is_floating_point()]
        if any(t.dtype != dtype for t in floats):
            raise ValueError(f"not all floating-point tensors are of {dtype}")
        # A clone has the alignment of torch. Rounding may depend on it.
        copies = {key: tensor.clone() for key, tensor in others.items()}
        model_parts.add(model, description["parts"], description["numbers"], copies)
        model.eval().requires_grad_(False)
        model.try_scoring(model.sample(2, torch.Generator()))
        for each in (model, *model.members):
            held = each.floats_per_row
            if not isinstance(held, int) or held < 1:
                raise ValueError(f"floats_per_row is {held}")
    except Exception as error:
        raise ModelFileError(
            "Its tensors are not those of its parameters, or of the networks that were "
            f"given: {shortened(error)}. Give the networks that the detector had, or "
            "use an undamaged copy."
        ) from error
    return model


def _new_model(detector: Any, rng: torch.Generator | None) -> Ensemble:
    """Make a model as `fit` makes it. Without `rng` it has sizes and no weights."""
    shape = () if detector.image_shape_ else (detector.n_features_in_,)
    device = "meta" if rng is None else "cpu"
    ones = torch.ones(shape, dtype=torch.float64, device=device)
    scaling = Scaling(ones, ones.clone())
    model: Ensemble = detector._make_ensemble(scaling, detector._row_shape(), rng)
    return model


def _differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """List tensors of other names, shapes or dtypes than expected; "" if none."""
    wrong = []
    for name, tensor in expected.items():
        if not isinstance(found.get(name), Tensor) or not isinstance(tensor, Tensor):
            wrong.append(f"{name} is missing or not a tensor")
        elif found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            wrong.append(f"{name} is {_kind(found[name])}, not {_kind(tensor)}")
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"

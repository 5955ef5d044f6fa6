"""Detectors to files and back, without pickle: `BaseDetector.save` and `skanogan.load`.

A file holds parameters and fitted attributes in JSON and every tensor of the model
(`model_file.py`). It holds no code and names none, but for the class of the detector,
which is looked up among those of the package. `load` makes the model as `fit` makes it,
by the parameters, and gives it the tensors; sizes are compared before anything is
allocated.
"""

import copy
import os
import warnings
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skanogan._base import BaseDetector
from skanogan._device import precision, resolve_device
from skanogan._inputs import Rows
from skanogan._persistence import model_file
from skanogan._persistence.description import (
    NetworkOrFactory,
    check_entries,
    described,
    detector_from,
    other_versions,
    short,
)
from skanogan._persistence.files import write_atomically
from skanogan.exceptions import ModelFileError, ModelVersionWarning
from skanogan.models import Model, _fixed
from skanogan.models._scaling import Scaling
from skanogan.utils.discovery import all_detectors

__all__ = ["load", "save"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Those that a model scores in."""


def save(detector: BaseDetector, path: "str | os.PathLike[str]") -> None:
    """Write a fitted detector to a file; see `BaseDetector.save`."""
    check_is_fitted(detector)
    name = type(detector).__name__
    if dict(all_detectors()).get(name) is not type(detector):
        raise TypeError(
            f"{name} is not a detector of skanogan, and load would not know it. Use "
            "joblib.dump."
        )
    model = detector.model_
    if detector.device_.type != "cpu":
        model = copy.deepcopy(model).cpu()
    made = _made(detector, None)
    if changes := _fixed.changes(model, made):
        raise ValueError(
            f"Parameters of {name} were changed since fit, so that they no longer "
            f"describe its model ({'; '.join(changes)}). Set them back, or fit again, "
            "and save then."
        )
    parts, numbers = _fixed.added(model, made)
    tensors = model.state_dict()
    dtype = next(model.parameters()).dtype
    if wrong := _differences(made.to(dtype).state_dict(), tensors):
        raise TypeError(f"{name} cannot be made again from its tensors: {wrong}.")
    description = {
        **described(detector),
        "dtype": str(dtype).removeprefix("torch."),
        "parts": parts,
        "numbers": numbers,
    }
    write_atomically(path, model_file.pack(description, tensors))


def load(
    path: "str | os.PathLike[str]",
    *,
    device: "str | torch.device | None" = None,
    generator: NetworkOrFactory | None = None,
    discriminator: NetworkOrFactory | None = None,
) -> BaseDetector:
    """Open a detector that `save` wrote.

    Nothing in a file is executed, so that a file from a stranger can be looked at; but
    its scores are whatever the stranger chose. What is damaged, altered or makes no
    sense is refused. See docs/saving.md.

    Parameters
    ----------
    path : str or path
        The file.
    device : str or torch.device, default=None
        Takes the place of the detector's parameter `device`. By default that parameter
        holds here, too, and falls back to the CPU where the device is missing.
    generator, discriminator : torch.nn.Module or callable, default=None
        Networks of your own, for a detector that was given some: the module, or what
        makes it. The file has their weights and not their code. The module is left as
        it is and becomes the parameter.

    Returns
    -------
    detector : BaseDetector
        With the scores of the one that was saved, to the bit on the same machine and
        with the same versions.

    Raises
    ------
    ModelFileError
        If the file is not what `save` writes, or the networks do not fit it.
    ValueError
        If `device` is not on this machine.
    OSError
        If the file cannot be read.

    Warns
    -----
    ModelVersionWarning
        If the file was written with other versions of skanogan, scikit-learn or torch.
    DeviceFallbackWarning
        If the device of the detector is not on this machine.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skanogan
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data[:50]
    >>> detector = skanogan.AnoGANDetector(max_iter=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "detector.safetensors"
    ...     detector.save(path)
    ...     same = skanogan.load(path)
    >>> bool((same.score_samples(X) == detector.score_samples(X)).all())
    True
    """
    if device is not None:
        resolve_device(device)
    given = {"generator": generator, "discriminator": discriminator}
    networks = {key: value for key, value in given.items() if value is not None}
    versions = ""
    try:
        description, tensors = model_file.unpack(model_file.read(path))
        check_entries(description)
        versions = other_versions(description["versions"])
        detector = detector_from(description, networks)
        with torch.inference_mode(False), torch.no_grad():
            model = _model(detector, description, tensors)
    except ModelFileError as error:
        raise ModelFileError(
            f"{os.fspath(path)!r} cannot be loaded. {error} {versions}".rstrip()
        ) from error
    if versions:
        warnings.warn(
            f"{versions} Scores may differ from those at the time, usually in the last "
            "digits. Save the detector again with these versions once you have "
            "compared some.",
            ModelVersionWarning,
            stacklevel=2,
        )
    if device is not None:
        detector.device = device
    # As unpickling does: to the device, if it is there.
    detector.__setstate__({**vars(detector), "model_": model})
    return detector


# Reading -------------------------------------------------------------------------


def _model(
    detector: BaseDetector, description: dict[str, Any], tensors: dict[str, Tensor]
) -> Model:
    """The model, made by the parameters and given the tensors, on the CPU."""
    try:
        dtype = DTYPES[description["dtype"]]
        # Without storage first: the file says how large the networks are to be, and
        # they are made once it has the tensors for them.
        expected = _made(detector, None).to(dtype).state_dict()
        weights = {key: tensors[key] for key in expected if key in tensors}
        if wrong := _differences(expected, weights):
            raise ValueError(wrong)
        model = _made(detector, torch.Generator()).to(dtype)
        model.load_state_dict(weights)
        others = {key: value for key, value in tensors.items() if key not in expected}
        lowered = detector.scoring_dtype == "bfloat16"
        allowed = (dtype, torch.bfloat16) if lowered else (dtype,)
        floats = [t for t in others.values() if t.is_floating_point()]
        if any(t.dtype not in allowed for t in floats):
            raise ValueError(f"not all floating-point tensors are of {dtype}")
        # Cloned to where torch aligns its memory, as rounding may depend on that.
        copies = {key: tensor.clone() for key, tensor in others.items()}
        _fixed.add(model, description["parts"], description["numbers"], copies)
        model.eval().requires_grad_(False)
        with precision(detector.scoring_dtype, torch.device("cpu")):
            model.try_scoring(model.sample(2, torch.Generator()))
        held = model.floats_per_row
        if not isinstance(held, int) or held < 1:
            raise ValueError(f"{held} numbers a row cannot be")
    except Exception as error:
        raise ModelFileError(
            "Its tensors are not those of its parameters, or of the networks that were "
            f"given: {short(error)}. Give the networks that the detector had, or take "
            "an undamaged copy."
        ) from error
    return model


# Both ways -----------------------------------------------------------------------


def _made(detector: BaseDetector, rng: torch.Generator | None) -> Model:
    """A model as `fit` makes it; without `rng`, without weights."""
    rows = _NoRows(detector, "meta" if rng is None else "cpu")
    return detector._make_model(rows, detector._row_shape(), rng)


class _NoRows(Rows):
    """Rows of which only the shape is known."""

    def __init__(self, detector: BaseDetector, device: str) -> None:
        self._row_shape = () if detector.image_shape_ else (detector.n_features_in_,)
        self._device = device

    def scaling(self) -> Scaling:
        """With numbers that mean nothing, in the shapes of the real one."""
        ones = torch.ones(self._row_shape, dtype=torch.float64, device=self._device)
        return Scaling(ones, ones.clone())


def _differences(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Where tensors are not of the names, shapes and dtypes expected; "" if nowhere."""
    wrong = []
    for name, tensor in expected.items():
        if not isinstance(found.get(name), Tensor) or not isinstance(tensor, Tensor):
            wrong.append(f"{name} is missing or no tensor")
        elif found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            wrong.append(f"{name} is {_kind(found[name])}, not {_kind(tensor)}")
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"

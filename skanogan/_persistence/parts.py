"""Collect what `prepare_scoring` adds to a model, and add it to a new model.

`Model.prepare_scoring` may register any buffers, numbers and `Fixed` parts. They are
found by comparison: a fitted model has them, and a newly made model does not.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from skanogan.models import Model
from skanogan.nn._fixed import Fixed

__all__ = ["Number", "add", "added", "changes"]

Number = int | float


def added(
    model: nn.Module, made: nn.Module
) -> tuple[dict[str, str], dict[str, Number]]:
    """Collect the parts and numbers that a fitted model has beside its networks.

    `made` is a new model of the same parameters. Parts are given as path and class,
    outer ones first, and numbers by path. TypeError is raised if the model has
    something that `add` cannot make again.
    """
    before = dict(made.named_modules())
    state = model.state_dict()
    parts: dict[str, str] = {}
    numbers: dict[str, Number] = {}
    for path, module in model.named_modules():
        if path in before and not isinstance(module, Model):
            continue
        if path not in before:
            parts[path] = type(module).__name__
            if _classes().get(parts[path]) is not type(module):
                raise TypeError(
                    f"{path}, which prepare_scoring added, is a {parts[path]}. Parts "
                    "must derive from skanogan.nn.Fixed."
                )
        known = vars(before.get(path, nn.Module()))
        for name, value in vars(module).items():
            if name in known:
                continue
            if type(value) not in (int, float):
                raise TypeError(
                    f"{_join(path, name)}, which prepare_scoring added, is a "
                    f"{type(value).__name__}. It must be a number, a buffer or a "
                    "skanogan.nn.Fixed."
                )
            numbers[_join(path, name)] = value
        for name, _ in module.named_buffers(recurse=False):
            if _join(path, name) not in state:
                raise TypeError(
                    f"The buffer {_join(path, name)} is not persistent. Register it "
                    "with persistent=True."
                )
    return parts, numbers


def add(
    model: nn.Module,
    parts: dict[str, str],
    numbers: dict[str, Number],
    tensors: dict[str, Tensor],
) -> None:
    """Add to a new model with its weights what scoring needs beside its networks.

    `parts` and `numbers` come from `added`. `tensors` are those of the state dict that
    the model does not have yet. ValueError is raised if a class is not that of a part,
    or a name is taken or has no owner, and TypeError if a part cannot be made from its
    contents.
    """
    classes = _classes()
    models = {k: m for k, m in model.named_modules() if isinstance(m, Model)}
    contents: dict[str, dict[str, Any]] = {path: {} for path in [*models, *parts]}
    for path, value in [*tensors.items(), *numbers.items()]:
        owner, _, name = path.rpartition(".")
        if owner not in contents:
            raise ValueError(f"{path} belongs to no part of the model")
        contents[owner][name] = value
    for path, holder in models.items():
        for name, value in contents[path].items():
            _check_free(holder, name)
            if isinstance(value, Tensor):
                holder.register_buffer(name, value)
            else:
                setattr(holder, name, value)
    for path, kind in parts.items():
        owner, _, name = path.rpartition(".")
        if owner not in contents or kind not in classes:
            raise ValueError(f"{path} cannot be a {kind} in the model")
        above = model.get_submodule(owner)
        _check_free(above, name)
        above.add_module(name, classes[kind](**contents[path]))


def changes(model: nn.Module, made: nn.Module) -> list[str]:
    """List the settings in which a fitted model differs from a new one.

    `made` is a new model of the detector's present parameters. An entry is, for
    instance, ``"search.n_steps: 0, now 10"``. Sizes of layers are included.
    """
    fitted, now = dict(model.named_modules()), dict(made.named_modules())
    gone = [path for path in fitted if path not in now and _is_network(path, now)]
    found = []
    for path in [*now, *gone]:
        before, after = fitted.get(path), now.get(path)
        if before is None or after is None or type(before) is not type(after):
            found.append(f"{path}: {_type_name(before)}, now {_type_name(after)}")
            continue
        for name, value in vars(after).items():
            if name != "training" and _is_plain(value):
                found += _differences(_join(path, name), vars(before).get(name), value)
    return found


def _is_network(path: str, made: dict[str, nn.Module]) -> bool:
    """Whether a module that a new model lacks is one of its networks or members.

    `made` has the modules of the new model by path. A network that the parameters
    switch off is None in `_modules`, under its name.
    """
    owner = path
    if path.rpartition(".")[0] not in made:
        return False  # its owner is gone, and is listed
    while owner:
        owner = owner.rpartition(".")[0]
        if isinstance(holder := made.get(owner), Model):
            name = path[len(owner) :].lstrip(".").partition(".")[0]
            return name in holder._modules
    return False


def _check_free(holder: nn.Module, name: str) -> None:
    if name.startswith("__") or hasattr(holder, name):
        raise ValueError(f"{type(holder).__name__} already has {name!r}")


def _classes() -> dict[str, type[nn.Module]]:
    """Return the classes of parts by name, and the two containers of parts."""
    found: dict[str, type[nn.Module]] = {
        "ModuleDict": nn.ModuleDict,
        "ModuleList": nn.ModuleList,
    }
    waiting = Fixed.__subclasses__()
    while waiting:
        part = waiting.pop()
        found[part.__name__] = part
        waiting += part.__subclasses__()
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_name(module: nn.Module | None) -> str:
    return "None" if module is None else type(module).__name__


def _is_plain(value: Any) -> bool:
    """Whether the value is a setting, which can be compared."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    if is_dataclass(value) and not isinstance(value, type):
        return all(_is_plain(getattr(value, field.name)) for field in fields(value))
    return value is None or isinstance(value, (bool, int, float, str))


def _differences(name: str, before: Any, now: Any) -> list[str]:
    if is_dataclass(now) and type(before) is type(now):
        names = [field.name for field in fields(now)]
        return [
            difference
            for field in names
            for difference in _differences(
                f"{name}.{field}", getattr(before, field), getattr(now, field)
            )
        ]
    return [] if before == now else [f"{name}: {before!r}, now {now!r}"]

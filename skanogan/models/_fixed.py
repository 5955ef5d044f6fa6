"""What scoring adds to a model: taken from a fitted one, given to one made anew.

`Model.prepare_scoring` registers buffers, parts and numbers as it likes. Nothing here
knows their names: they are what a fitted model has and one as made has not.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Fixed", "Number", "add", "added", "changes"]

Number = int | float


class Fixed(nn.Module):
    """A part that is nothing but tensors and numbers.

    Its constructor takes all of them, by the names that they are kept under, so that
    it can be made again from a file.
    """


def added(
    model: nn.Module, made: nn.Module
) -> tuple[dict[str, str], dict[str, Number]]:
    """What a fitted model has beside the networks, less its tensors.

    Parameters
    ----------
    model : nn.Module
        After `prepare_scoring`.
    made : nn.Module
        One of the same parameters as it was made, on any device.

    Returns
    -------
    parts : dict of str to str
        Path and class of each part, outer ones first.
    numbers : dict of str to number
        By path.

    Raises
    ------
    TypeError
        If there is something that `add` could not make again.
    """
    before = dict(made.named_modules())
    state = model.state_dict()
    parts: dict[str, str] = {}
    numbers: dict[str, Number] = {}
    for path, module in model.named_modules():
        if path and path in before:
            continue
        if path:
            parts[path] = type(module).__name__
            if _classes().get(parts[path]) is not type(module):
                raise TypeError(
                    f"{path}, which scoring added, is a {parts[path]}: a subclass of "
                    "skanogan.models._fixed.Fixed was expected."
                )
        known = vars(nn.Module() if path else made)
        for name, value in vars(module).items():
            if name in known:
                continue
            if type(value) not in (int, float):
                raise TypeError(
                    f"{_join(path, name)}, which scoring added, is a "
                    f"{type(value).__name__}: a number, a buffer or a Fixed part was "
                    "expected."
                )
            numbers[_join(path, name)] = value
        for name, _ in module.named_buffers(recurse=False):
            if _join(path, name) not in state:
                raise TypeError(f"The buffer {_join(path, name)} is not persistent.")
    return parts, numbers


def add(
    model: nn.Module,
    parts: dict[str, str],
    numbers: dict[str, Number],
    tensors: dict[str, Tensor],
) -> None:
    """Give a model what scoring needs beside the networks.

    Parameters
    ----------
    model : nn.Module
        As made, with its weights.
    parts, numbers : dict
        As from `added`.
    tensors : dict of str to Tensor
        Those of the state dict that the model has not yet.

    Raises
    ------
    ValueError
        If a class is none of a part, or a name is taken or has no place.
    TypeError
        If a part is not made of what it is given.
    """
    classes = _classes()
    contents: dict[str, dict[str, Any]] = {"": {}, **{path: {} for path in parts}}
    for path, value in [*tensors.items(), *numbers.items()]:
        owner, _, name = path.rpartition(".")
        if owner not in contents:
            raise ValueError(f"{path} has no place in the model")
        contents[owner][name] = value
    for name, value in contents[""].items():
        _check_free(model, name)
        if isinstance(value, Tensor):
            model.register_buffer(name, value)
        else:
            setattr(model, name, value)
    for path, kind in parts.items():
        owner, _, name = path.rpartition(".")
        if owner not in contents or kind not in classes:
            raise ValueError(f"{path}, a {kind}, has no place in the model")
        holder = model.get_submodule(owner)
        _check_free(holder, name)
        holder.add_module(name, classes[kind](**contents[path]))


def changes(model: nn.Module, made: nn.Module) -> list[str]:
    """Settings of a fitted model that are other ones in a model made now.

    Parameters
    ----------
    model : nn.Module
        Fitted.
    made : nn.Module
        By the parameters as they are now, on any device.

    Returns
    -------
    changes : list of str
        For instance ``"search.n_steps: 0, now 10"``. Sizes of layers are among them.
    """
    fitted, now = dict(model.named_modules()), dict(made.named_modules())
    # A network that a method can do without is None there, and still has its name.
    networks = set(made._modules)
    paths = [p for p in fitted if p not in now and p.partition(".")[0] in networks]
    found = []
    for path in [*now, *paths]:
        before, after = fitted.get(path), now.get(path)
        if before is None or after is None or type(before) is not type(after):
            found.append(f"{path}: {_type_name(before)}, now {_type_name(after)}")
            continue
        for name, value in vars(after).items():
            if name != "training" and _is_plain(value):
                found += _differences(_join(path, name), vars(before).get(name), value)
    return found


def _check_free(holder: nn.Module, name: str) -> None:
    if name.startswith("__") or hasattr(holder, name):
        raise ValueError(f"{type(holder).__name__} has its own {name!r}")


def _classes() -> dict[str, type[nn.Module]]:
    """Parts by name: those of this package, and what holds several of them."""
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
    """Whether it is a setting, which two models share if it is equal."""
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

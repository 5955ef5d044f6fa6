"""Every public name has a docstring in the format of numpydoc."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import skanogan
from skanogan.utils.discovery import all_detectors

NOT_REQUIRED = {
    # Extended summaries, See Also and Examples are only where they help.
    "ES01",
    "SA01",
    "EX01",
    # Returned values have names, as in scikit-learn.
    "RT02",
    # Takes every summary whose first word ends in s for a verb, such as "Less ...".
    "SS05",
}

DESCRIBED_IN_THE_BASE = {"PR01", "RT01"}
"""Sections that the docstring of an overriding method can leave out."""

WITHOUT_EXPORTS = {"skanogan.detectors", "skanogan.utils"}

EXTRAS = ("skanogan[", "pip install")
"""What the error of a module says if the packages that it needs are not installed."""


def public_modules():
    modules = [skanogan]
    for found in pkgutil.walk_packages(skanogan.__path__, "skanogan."):
        if any(part.startswith("_") for part in found.name.split(".")):
            continue
        try:
            modules.append(importlib.import_module(found.name))
        except ImportError as error:
            if not all(part in str(error) for part in EXTRAS):
                raise
    return modules


def public_objects():
    """Yield path and object of all classes, their methods, and functions."""
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            exported = getattr(module, name)
            path = f"{module.__name__}.{name}"
            if not is_ours(exported):  # scikit-learn documents its own names
                continue
            if inspect.isclass(exported) or inspect.isfunction(exported):
                yield path, exported
            if inspect.isclass(exported):
                yield from ((f"{path}.{n}", f) for n, f in own_members(exported))


def is_ours(defined):
    return str(getattr(defined, "__module__", "")).partition(".")[0] == "skanogan"


def own_members(cls):
    """Yield the public methods and properties that this package defines."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isroutine(function):
            if is_ours(function):
                yield name, member


def overridden(path):
    """Yield the paths of the methods that a method overrides."""
    owner, _, name = path.rpartition(".")
    module, _, cls = owner.rpartition(".")
    found = getattr(importlib.import_module(module), cls, None) if module else None
    for base in found.__mro__[1:] if inspect.isclass(found) else ():
        if base.__module__.startswith("skanogan") and name in vars(base):
            yield f"{base.__module__}.{base.__qualname__}.{name}"


DESCRIBED_BY_EACH_METHOD = {
    *("backbone", "hidden_layer_sizes", "n_filters", "latent_dim", "ema_decay"),
    *("learning_rate", "max_iter", "n_iter_no_change", "validation_fraction"),
    *("warm_start", "anomaly_score", "model_", "history_", "n_estimators"),
}
"""Parameters and attributes that differ between detectors."""

MODULES = {module.__name__: module for module in public_modules()}
OBJECTS = dict(public_objects())
DETECTORS = dict(all_detectors())

each_module = pytest.mark.parametrize("module", MODULES.values(), ids=list(MODULES))


def test_public_names_are_found():
    assert {
        "skanogan.AnoGANDetector.fit",
        "skanogan.base.BaseDetector.score_samples",
        "skanogan.baselines.KNNDistance",
        "skanogan.metrics.outlier_roc_auc_score",
        "skanogan.models.OCGAN.floats_per_row",
        "skanogan.nn.Scaling.inverse",
    } <= set(OBJECTS)
    assert "skanogan.base.Interval" not in OBJECTS


@each_module
def test_a_public_module_has_a_docstring(module):
    assert module.__doc__


@each_module
def test_a_public_module_lists_its_exports(module):
    assert hasattr(module, "__all__") != (module.__name__ in WITHOUT_EXPORTS)


@each_module
def test_a_public_module_is_in_the_reference(module):
    page = Path(__file__).parents[1] / "docs" / "api.rst"
    listed = page.read_text(encoding="utf-8").split()
    assert module.__name__ in listed or module.__name__ in WITHOUT_EXPORTS


@pytest.mark.parametrize("path", OBJECTS)
def test_a_docstring_is_valid(path):
    validate = pytest.importorskip("numpydoc.validate").validate
    bases = list(overridden(path))
    ignored = set(NOT_REQUIRED)
    if bases:
        ignored |= DESCRIBED_IN_THE_BASE
        if not OBJECTS[path].__doc__:  # inherited
            path = bases[-1]
            ignored = NOT_REQUIRED
    errors = [
        f"{code}: {message}"
        for code, message in validate(path)["errors"]
        # The constructor of torch's Module accepts **kwargs only to raise.
        if code not in ignored and "'**kwargs'" not in message
    ]
    assert not errors


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_describes_its_parameters_in_the_order_of_the_signature(name):
    ClassDoc = pytest.importorskip("numpydoc.docscrape").ClassDoc
    described = [entry.name for entry in ClassDoc(DETECTORS[name])["Parameters"]]
    assert described == list(inspect.signature(DETECTORS[name]).parameters)


def test_detectors_describe_shared_parameters_in_the_same_words():
    ClassDoc = pytest.importorskip("numpydoc.docscrape").ClassDoc
    descriptions = {}
    for detector in DETECTORS.values():
        sections = ClassDoc(detector)
        for entry in sections["Parameters"] + sections["Attributes"]:
            described = (entry.type, *entry.desc)
            descriptions.setdefault(entry.name, set()).add(described)
    differing = {name for name, found in descriptions.items() if len(found) > 1}
    assert differing == DESCRIBED_BY_EACH_METHOD

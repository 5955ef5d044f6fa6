"""Every public name is documented, in numpydoc's form."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import skanogan
from skanogan.utils.discovery import all_detectors

NOT_ASKED = {
    # An extended summary, See Also and Examples stand where they help, not everywhere.
    "ES01",
    "SA01",
    "EX01",
    # Returned values have names here, as in scikit-learn.
    "RT02",
    # Takes every summary whose first word ends in s for a verb ("Scores less ...").
    "SS05",
}

SAID_BY_THE_BASE = {"PR01", "RT01"}
"""An override that says what it does need not repeat what goes in and comes out."""


def public_modules():
    modules = [skanogan]
    for found in pkgutil.walk_packages(skanogan.__path__, "skanogan."):
        private = any(part.startswith("_") for part in found.name.split("."))
        # Commands (`python -m`), each with the docs page that quotes it.
        command = found.name.startswith("skanogan.benchmark.")
        if private or command:
            continue
        try:
            modules.append(importlib.import_module(found.name))
        except ImportError as error:
            # Without its extra a module cannot be looked at, and has to name it.
            if "skanogan[" not in str(error):
                raise
    return modules


def public_objects():
    """Qualified name and object of all classes, their methods, and functions."""
    for module in public_modules():
        for name in getattr(module, "__all__", ()):
            exported = getattr(module, name)
            path = f"{module.__name__}.{name}"
            if inspect.isclass(exported) or inspect.isfunction(exported):
                yield path, exported
            if inspect.isclass(exported):
                yield from ((f"{path}.{n}", f) for n, f in own_members(exported))


def own_members(cls):
    """Public methods and properties that this package defines."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isroutine(function):
            if str(getattr(function, "__module__", "")).startswith("skanogan"):
                yield name, member


def bases_with(path):
    """The same name in the classes that the class of a method derives from."""
    owner, _, name = path.rpartition(".")
    module, _, cls = owner.rpartition(".")
    found = getattr(importlib.import_module(module), cls, None) if module else None
    for base in found.__mro__[1:] if inspect.isclass(found) else ():
        if base.__module__.startswith("skanogan") and name in vars(base):
            yield f"{base.__module__}.{base.__qualname__}.{name}"


OF_THE_METHOD = {
    *("backbone", "hidden_layer_sizes", "n_filters", "latent_dim", "averaging"),
    *("adversarial_loss", "learning_rate", "max_iter", "encoder_max_iter"),
    *("n_iter_no_change", "validation_fraction", "warm_start", "anomaly_score"),
    *("model_", "history_"),
}
"""What each detector explains in words of its own; the rest is said alike."""

OBJECTS = dict(public_objects())


def test_public_names_are_found():
    assert "skanogan.AnoGANDetector.fit" in OBJECTS
    assert "skanogan.models.OCGAN.floats_per_row" in OBJECTS
    assert "skanogan.metrics.outlier_roc_auc_score" in OBJECTS


@pytest.mark.parametrize("module", public_modules(), ids=lambda m: m.__name__)
def test_public_modules_say_what_they_are_for_and_what_they_export(module):
    assert module.__doc__
    assert hasattr(module, "__all__") or module.__name__ == "skanogan.utils"


@pytest.mark.parametrize("module", public_modules(), ids=lambda m: m.__name__)
def test_public_modules_are_in_the_reference(module):
    page = Path(__file__).parents[1] / "docs" / "api.rst"
    listed = page.read_text(encoding="utf-8").split()
    assert module.__name__ in listed or not getattr(module, "__all__", ())


@pytest.mark.parametrize("path", OBJECTS)
def test_docstring_is_valid(path):
    validate = pytest.importorskip("numpydoc.validate").validate
    overridden = list(bases_with(path))
    ignored = set(NOT_ASKED)
    if overridden:
        ignored |= SAID_BY_THE_BASE
        if not OBJECTS[path].__doc__:  # inherited
            path = overridden[-1]
            ignored = NOT_ASKED
    errors = [
        f"{code}: {message}"
        for code, message in validate(path)["errors"]
        # torch's Module takes these and refuses them.
        if code not in ignored and "'**kwargs'" not in message
    ]
    assert not errors


def test_detectors_say_the_same_of_the_parameters_that_they_share():
    ClassDoc = pytest.importorskip("numpydoc.docscrape").ClassDoc
    said = {}
    for _, detector in all_detectors():
        sections = ClassDoc(detector)
        for told in sections["Parameters"] + sections["Attributes"]:
            said.setdefault(told.name, set()).add((told.type, *told.desc))
    differing = {name for name, descriptions in said.items() if len(descriptions) > 1}
    assert differing == OF_THE_METHOD

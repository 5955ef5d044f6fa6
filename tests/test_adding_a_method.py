"""The walk in docs/adding_a_method.md is a method that works."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import skanogan
from skanogan.utils.estimator_checks import detector_checks

PAGE = Path(__file__).parents[1] / "docs" / "adding_a_method.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
MODEL, DETECTOR, EXAMPLE = (text for kind, text in BLOCKS if kind == "python")
(PRINTED,) = (text for kind, text in BLOCKS if kind == "text")
PATHS = re.findall(r"^`(skanogan/\S+)\.py`\. ", TEXT, re.M)
MODULES = [path.replace("/", ".") for path in PATHS]


@pytest.fixture
def vae(monkeypatch, tmp_path):
    """The two files of the page, imported from where it puts them."""
    for name, text in zip(MODULES, (MODEL, DETECTOR), strict=True):
        path = tmp_path / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    # As the page says under "The two lists".
    monkeypatch.setattr(skanogan, "VAEDetector", module.VAEDetector, raising=False)
    monkeypatch.setattr(skanogan, "__all__", [*skanogan.__all__, "VAEDetector"])
    return module.VAEDetector


def test_the_example_prints_what_the_page_shows(vae, capsys):
    exec(compile(EXAMPLE, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == PRINTED


def test_the_method_passes_the_checks_of_the_package(vae):
    cheap = vae(
        max_iter=10,
        hidden_layer_sizes=(16,),
        latent_dim=3,
        device="cpu",
        random_state=0,
    )
    assert set(vae._parameter_constraints) == set(cheap.get_params())
    checks = list(detector_checks(cheap))
    assert len(checks) > 20
    for detector, check in checks:
        check(detector)


def test_its_docstrings_are_valid(vae):
    validate = pytest.importorskip("numpydoc.validate").validate
    not_asked = {"SA01", "EX01", "ES01"}
    for name in ("skanogan.models._vae.VAE", "skanogan._vae.VAEDetector"):
        codes = {code for code, _ in validate(name)["errors"]}
        assert codes <= not_asked


def test_the_page_imports_its_files_from_where_it_puts_them():
    imported = re.findall(r"^from (\S+\._vae) import", DETECTOR + EXAMPLE, re.M)
    assert imported == MODULES

"""What the docstrings of warnings and errors tell."""

import re
from pathlib import Path

import pytest

from skanogan import exceptions

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", exceptions.__all__)
def test_causes_cures_and_a_page_of_the_guide_are_named(name):
    text = " ".join(getattr(exceptions, name).__doc__.split())
    assert "Cause: " in text
    assert "Cure: " in text
    (page,) = re.findall(r"Guide: :doc:`/(\w+)`\.$", text)
    assert (DOCS / f"{page}.md").exists()


def test_every_class_of_the_module_is_exported():
    own = {
        name
        for name, each in vars(exceptions).items()
        if isinstance(each, type) and each.__module__ == exceptions.__name__
    }
    assert own == set(exceptions.__all__)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_the_reference_lists_every_class(name):
    lines = (DOCS / "api.rst").read_text(encoding="utf-8").splitlines()
    assert f"   skanogan.exceptions.{name}" in lines

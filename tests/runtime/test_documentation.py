"""Links of estimators to the pages of the documentation."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

from skanogan import AnoGANDetector
from skanogan._runtime.documentation import DOCUMENTATION
from skanogan.conformal import ConformalDetector

CHECKOUT = Path(__file__).parents[2]


def estimators_by_page():
    """Yield the name of the page that autosummary makes, and the estimator on it."""
    reference = (CHECKOUT / "docs/api.rst").read_text()
    for module in re.findall(r"^   (skanogan[\w.]*)$", reference, re.MULTILINE):
        try:
            names = importlib.import_module(module).__all__
        except ImportError:  # an entry that is no module, or lacks its packages
            continue
        for name in names:
            found = getattr(importlib.import_module(module), name)
            if inspect.isclass(found) and issubclass(found, BaseEstimator):
                if found.__module__.startswith("skanogan.") and module != (
                    "skanogan.base"
                ):
                    yield f"generated/{module}.{name}.html", found


PAGES = dict(estimators_by_page())


def test_the_reference_has_detectors_wrappers_transformers_and_baselines():
    names = {page.removeprefix("generated/skanogan.") for page in PAGES}
    assert {
        "AnoGANDetector.html",
        "baselines.KNNDistance.html",
        "conformal.ConformalDetector.html",
        "features.NetworkFeatures.html",
        "image.PatchDetector.html",
        "model_selection.NoveltyClassifier.html",
    } < names


@pytest.mark.parametrize("page", PAGES)
def test_an_estimator_links_to_its_page_of_the_reference(page):
    estimator = PAGES[page].__new__(PAGES[page])
    assert estimator._get_doc_link() == DOCUMENTATION + page


def test_the_diagram_of_a_wrapped_detector_links_both_pages():
    diagram = ConformalDetector(AnoGANDetector())._repr_html_()
    assert DOCUMENTATION + "generated/skanogan.AnoGANDetector.html" in diagram
    link = DOCUMENTATION + "generated/skanogan.conformal.ConformalDetector.html"
    assert link in diagram
    assert "modules/generated/skanogan" not in diagram


def test_a_subclass_in_another_package_has_no_link():
    class Derived(AnoGANDetector):
        """A class that has no page."""

    assert Derived()._get_doc_link() == ""


def test_links_begin_with_the_address_in_pyproject_toml():
    project = (CHECKOUT / "pyproject.toml").read_text()
    assert f'\nDocumentation = "{DOCUMENTATION}"\n' in project

"""Configuration of the site (`make docs`), which needs no network."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx_gallery.directives import imgsgnode

import skanogan

project = "skanogan"
author = "the skanogan developers"
project_copyright = author
version = release = skanogan.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# Single backticks in docstrings are parameters and methods, not roles.
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = "skanogan"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_domain_indices = html_use_index = False  # api.rst lists all names
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"changelog": [], "index": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_nav_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

extlinks = {
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv %s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
}
extlinks_detect_hardcoded_links = False

# A public module lists what is in its `__all__`, wherever that is defined.
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the docstrings have them, with shapes
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "doc_module": "skanogan",
    "backreferences_dir": "generated/backreferences",
    "remove_config_comments": True,
    "ignore_repr_types": "matplotlib|Display",
    "image_srcset": ["2x"],  # sharp on phones
    "show_memory": False,
    "parallel": 2,  # two examples at a time take two thirds of the time
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1,
    "download_all_examples": False,
    "abort_on_example_error": True,
}

ONLINE = {
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{}.html",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{}.html",
}
"""Addresses of the documentation of other packages, so that no inventory is needed."""

PARAMETER = re.compile(r"(?P<indent> +)\*\*(?P<name>\w+)\*\*")
"""First line of a parameter in numpydoc's output."""


def setup(app: Sphinx) -> None:
    """Add what no extension does."""
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
    app.connect("missing-reference", _elsewhere)
    # sphinx-gallery writes its pages with the priority 500.
    app.connect("builder-inited", _keep_sections_of_gallery, priority=600)
    app.connect("doctree-read", _put_plots_in_boxes)
    app.connect("autodoc-skip-member", _skip_routing)
    # numpydoc makes a list of the parameters with the priority 500.
    app.connect("autodoc-process-docstring", _group_parameters, priority=600)


def _inline(writer: Any, node: nodes.math) -> None:
    """Write MathML, which browsers display without MathJax from a network."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _displayed(writer: Any, node: nodes.math_block) -> None:
    formula = tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def _elsewhere(
    app: Sphinx, env: Any, node: nodes.Element, content: nodes.Element
) -> nodes.reference | None:
    target = node.get("reftarget", "")
    pattern = ONLINE.get(target.split(".")[0])
    if pattern is None:
        return None
    return nodes.reference("", "", content, refuri=pattern.format(target))


def _keep_sections_of_gallery(app: Sphinx) -> None:
    """Drop the list of all examples, which have sections in GALLERY_HEADER.rst.

    sphinx-gallery has sections for folders only, and the examples are in one folder.
    """
    index = Path(app.srcdir, "auto_examples", "index.rst")
    sections, _, _ = index.read_text().partition(".. thumbnail-parent-div-open")
    index.write_text(sections)


def _put_plots_in_boxes(app: Sphinx, document: nodes.document) -> None:
    """Give each plot of an example a box, in which it can scroll on a phone."""
    for plot in list(document.findall(imgsgnode)):
        box = nodes.container(classes=["plot"])
        plot.replace_self(box)
        box += plot


def _skip_routing(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Skip methods that scikit-learn adds to each class and documents itself."""
    made = name.startswith("set_") and name.endswith("_request")
    documented = ("ClassifierMixin.score", "_SetOutputMixin.set_output")
    made |= getattr(member, "__qualname__", "") in documented
    return True if made or name == "get_metadata_routing" else None


def _group_parameters(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Put a heading before the first parameter of each group of a detector."""
    groups = getattr(obj, "_parameter_groups", {}) if what == "class" else {}
    headings = {names[0]: heading for heading, names in groups.items()}
    grouped: list[str] = []
    in_parameters = False
    for line in lines:
        if line.startswith(":"):
            in_parameters = line.startswith(":Parameters:")
        match = PARAMETER.match(line)
        if in_parameters and match and match["name"] in headings:
            heading = headings[match["name"]]
            grouped += [f"{match['indent']}.. rubric:: {heading}", ""]
        grouped.append(line)
    lines[:] = grouped

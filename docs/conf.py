"""The site: built by ``make docs`` without a network, warnings are errors."""

import skanogan

project = "skanogan"
author = "the skanogan developers"
copyright = author
version = release = skanogan.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "Thumbs.db"]
# Examples in the pages run as doctests of the suite; here they are only shown.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
templates_path = ["_templates"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

# Names of other projects are not linked, as their inventories would be downloaded.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(sklearn|torch|numpy|np|joblib|dask|matplotlib|pandas|scipy)\b.*"),
    (r"py:.*", r"(collections|typing|types|abc|os|pathlib|dataclasses)\..*"),
    # Private bases, and names that docstrings set in italics of a parameter or module.
    (r"py:.*", r"(skanogan\.)?(_|models\._|benchmark|utils)\S*"),
]
suppress_warnings = ["myst.xref_missing", "config.cache"]

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_title = "skanogan"
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    # Long ones last, so that a mistake in the others shows early.
    "within_subsection_order": "FileNameSortKey",
    # Progress bars and warnings of convergence of tiny budgets are not the story.
    "capture_repr": (),
}

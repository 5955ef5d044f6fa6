"""Addresses of the pages of the documentation."""

__all__ = ["DOCUMENTATION", "DocumentedMixin"]

DOCUMENTATION = "https://skanogan.github.io/skanogan/"
"""The documentation as pyproject.toml names it."""


class DocumentedMixin:
    """Link the diagram of an estimator in a notebook to the page of its class.

    A subclass in another package gets no link, because its page is elsewhere.
    """

    _doc_link_module = "skanogan"
    _doc_link_template = DOCUMENTATION + "generated/{public_path}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        cls = type(self)
        # Classes in private modules are exported by the package around them. The
        # package `detectors` exports nothing: its classes are in `skanogan`.
        module = cls.__module__.partition("._")[0].removesuffix(".detectors")
        return {"public_path": f"{module}.{cls.__name__}"}

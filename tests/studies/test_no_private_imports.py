"""Examples, studies, the benchmark and the docs use public names of skanogan only."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

import skanogan

ROOT = Path(__file__).parents[2]
BENCHMARK = Path(skanogan.__file__).parent / "benchmark"
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
COMMANDS = sorted(BENCHMARK.rglob("*.py"))
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]

BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.M | re.S)


def private_imports(source):
    """List the imports of a private module or name of skanogan."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Such as the target of a patch, or the code of another process.
            names = re.findall(r"\bskanogan(?:\.\w+)+", node.value)
        else:
            continue
        found += [name for name in names if is_private(name)]
    return found


def is_private(name):
    package, *parts = name.split(".")
    return package == "skanogan" and any(re.match(r"_(?!_)", part) for part in parts)


def blocks(page):
    """Read the Python code in a page; the lines of a console are joined."""
    for _, block in BLOCK.findall(page):
        code = textwrap.dedent(block)
        if ">>> " in code:
            lines = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", code, re.M)
            code = "\n".join(lines)
        yield code


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_and_studies_import_public_names(path):
    assert not private_imports(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_the_benchmark_imports_public_names_of_the_rest(path):
    found = private_imports(path.read_text(encoding="utf-8"))
    assert not [n for n in found if not n.startswith("skanogan.benchmark.")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_code_in_the_docs_imports_public_names(path):
    for code in blocks(path.read_text(encoding="utf-8")):
        assert not private_imports(code)


def test_private_imports_are_found():
    source = """
import skanogan._version
from skanogan.nn._metric import WhitenedMetric
from skanogan import _data
from skanogan import __version__, AnoGANDetector
code = "from skanogan.benchmark._memory import peak"
"""
    assert private_imports(source) == [
        "skanogan._version",
        "skanogan.nn._metric.WhitenedMetric",
        "skanogan._data",
        "skanogan.benchmark._memory",
    ]


def test_code_in_pages_is_found():
    page = "Text\n\n```python\n>>> import a\n>>> for x in y:\n...     x\n1\n```\n"
    page += "- item\n\n  ```python\n  import b\n  ```\n\n```console\n$ c\n```\n"
    assert list(blocks(page)) == ["import a\nfor x in y:\n    x", "import b\n"]

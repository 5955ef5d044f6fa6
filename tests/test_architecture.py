"""The layers of the package, read from its imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skanogan

PACKAGE = Path(skanogan.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
TORCH_ONLY = [*(PACKAGE / "models").glob("*.py"), PACKAGE / "_training.py"]


def imports(path):
    """Of each import in a file: its level, its module, and the names it takes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def name(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", TORCH_ONLY, ids=name)
def test_models_and_training_know_torch_alone(path):
    packages = {module.split(".")[0] for _, module, _ in imports(path)}
    third_party = packages - set(sys.stdlib_module_names)
    assert third_party <= {"torch", "skanogan"}
    inside = {module for _, module, _ in imports(path) if module.startswith("skanogan")}
    assert all(module.startswith("skanogan.models") for module in inside)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_are_absolute(path):
    assert not [module for level, module, _ in imports(path) if level]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_private_names_of_scikit_learn_come_from_one_file(path):
    private = [
        (module, names)
        for _, module, names in imports(path)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in [*module.split("."), *names])
    ]
    assert not private or path.name == "_compat.py"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_library_does_not_import_its_benchmark(path):
    if "benchmark" in name(path) or path.name == "__main__.py":
        return
    benchmark = [m for _, m, _ in imports(path) if m.startswith("skanogan.benchmark")]
    assert not benchmark


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "inspection").glob("*.py")), ids=name
)
def test_displays_know_detectors_by_their_public_names(path):
    inside = {module for _, module, _ in imports(path) if module.startswith("skanogan")}
    own = ("skanogan.inspection", "skanogan._compat", "skanogan._labels")
    assert all(module.startswith(own) for module in inside)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_what_a_module_exports_is_there(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {found for node in tree.body for found in names_of(node)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and "__all__" in names_of(node):
            assert set(ast.literal_eval(node.value)) <= defined


def names_of(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (t.id for t in node.targets if isinstance(t, ast.Name))
    elif isinstance(node, ast.AnnAssign):
        yield node.target.id
    elif isinstance(node, ast.Try):
        for inside in node.body:
            yield from names_of(inside)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_global_switch_is_thrown(path):
    text = path.read_text(encoding="utf-8")
    if name(path).startswith(
        ("benchmark", "utils/_check_parts", "utils/estimator_checks")
    ):
        return
    for switch in (
        "torch.manual_seed",
        "np.random.seed",
        "set_default_dtype",
        "set_num_threads",
        "set_grad_enabled",
        "simplefilter",
        "filterwarnings",
        "torch.backends.cudnn.",
        "use_deterministic_algorithms",
    ):
        held_and_given_back = (name(path), switch) == ("_threads.py", "set_num_threads")
        assert switch not in text or held_and_given_back


def test_importing_the_package_loads_nothing_that_a_fit_does_not_need():
    heavy = ["matplotlib", "pandas", "dask", "distributed", "tqdm", "polars"]
    heavy += ["skanogan.benchmark", "skanogan.distributed"]
    # torch and scikit-learn load some of these themselves where they are installed.
    code = f"""
import sys
import sklearn.base, sklearn.preprocessing, torch, scipy.stats
before = set(sys.modules)
import skanogan
print(sorted(set({heavy}) & (set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_versions_are_printed_for_a_bug_report(capsys):
    skanogan.show_versions()
    out = capsys.readouterr().out
    for what in ("python:", "skanogan:", "scikit-learn:", "torch:", "devices:"):
        assert what in out

"""The layers of the package, read from its imports."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import skanogan

PACKAGE = Path(skanogan.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Rooms from the bottom to the top. A room imports from itself and from rooms above it
# in this list, which stand below it in the package.
ROOMS = (
    "_version",
    "exceptions",
    "_runtime",
    "nn",
    "models",
    "_data",
    "_persistence",
    "_training",
    "detectors",
    "base",
    "metrics",
    "model_selection",
    "conformal",
    "features",
    "image",
    "baselines",
    "inspection",
    "distributed",
    "utils",
    "__init__",
    "_mark",
    "benchmark",
    "__main__",
)

TORCH_ONLY = [
    *(PACKAGE / "nn").glob("*.py"),
    *(PACKAGE / "models").glob("*.py"),
    PACKAGE / "_training" / "loop.py",
    PACKAGE / "_runtime" / "processes.py",
    PACKAGE / "_runtime" / "exit.py",
]


def imports(path):
    """Yield the level, the module and the names of each import in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def name(path):
    return str(path.relative_to(PACKAGE))


def module_name(path):
    """The dotted name of a file, without `skanogan.`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


DOTTED = {module_name(path): path for path in MODULES}


def imported_modules(path):
    """Yield the modules of the package that a file imports, as in `DOTTED`."""
    for _, module, names in imports(path):
        if module.split(".")[0] != "skanogan":
            continue
        inside = module.partition(".")[2]
        for each in names or [""]:
            options = (f"{inside}.{each}", inside, f"{inside}.__init__", "__init__")
            yield next(o for o in (x.strip(".") for x in options) if o in DOTTED)


def room(module):
    return module.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path):
    own = ROOMS.index(room(module_name(path)))
    for module in imported_modules(path):
        assert ROOMS.index(room(module)) <= own, module


def test_imports_make_no_circle():
    graph = {m: set(imported_modules(path)) - {m} for m, path in DOTTED.items()}
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the modules


def test_every_room_is_in_the_list_and_is_there():
    assert {room(module) for module in DOTTED} == set(ROOMS)


def test_few_private_modules_lie_beside_the_public_ones():
    private = [p for p in PACKAGE.glob("_*.py") if not p.name.startswith("__")]
    assert len(private) <= 5
    assert len([p for p in PACKAGE.glob("_[a-z]*") if p.is_dir()]) <= 5


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


def test_the_package_is_no_longer_than_it_needs_to_be():
    lines = [len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES]
    assert sum(lines) <= 20_600


@pytest.mark.parametrize("path", TORCH_ONLY, ids=name)
def test_models_and_the_training_loop_import_torch_and_scipy_alone(path):
    packages = {module.split(".")[0] for _, module, _ in imports(path)}
    third_party = packages - set(sys.stdlib_module_names)
    assert third_party <= {"torch", "scipy", "skanogan"}
    assert {DOTTED[m] for m in imported_modules(path)} <= set(TORCH_ONLY)


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
    assert not private or name(path) == "_runtime/compatibility.py"


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
    own = (
        "skanogan.inspection",
        "skanogan._runtime.compatibility",
        "skanogan._data.labels",
        "skanogan._data.image",
    )
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
    if name(path).startswith(("benchmark", "utils/")):
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
        held_and_given_back = (name(path), switch) == (
            "_runtime/threads.py",
            "set_num_threads",
        )
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

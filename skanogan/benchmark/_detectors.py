"""Find detectors by name or import path."""

import ast
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from skanogan.benchmark._sources import UsageError

__all__ = [
    "BASELINES",
    "PYOD",
    "ROBUST",
    "DetectorSpec",
    "as_text",
    "find_detectors",
    "split_names",
]

BASELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "IsolationForest": ("sklearn.ensemble:IsolationForest", {}),
    "OneClassSVM": ("sklearn.svm:OneClassSVM", {}),
    "LocalOutlierFactor": ("sklearn.neighbors:LocalOutlierFactor", {"novelty": True}),
    "KNNDistance": ("skanogan.baselines:KNNDistance", {}),
    "PCAReconstruction": ("skanogan.baselines:PCAReconstruction", {}),
    "MahalanobisDistance": ("skanogan.baselines:MahalanobisDistance", {}),
    "MeanDistance": ("skanogan.baselines:MeanDistance", {}),
}
"""Import path of each baseline, and its arguments other than the defaults."""

PYOD: dict[str, tuple[str, dict[str, Any]]] = {
    "ECOD": ("pyod.models.ecod:ECOD", {}),
    "HBOS": ("pyod.models.hbos:HBOS", {}),
}
"""Baselines that need PyOD. No group holds them, so that the results of a group do not
depend on what is installed. ECOD compares a row with the rows that are scored with it,
so that many anomalies among them look normal (docs/results/benchmarks_tables.md)."""

GROUPS = ("package", "untrained", "baselines")
"""The groups of detectors that "all" stands for."""

ROBUST = {"support_fraction": 0.75, "n_neighbors": 20}
"""Parameters for unlabelled rows."""

UNTRAINED = {"max_iter": 0, "encoder_max_iter": 0}
"""Parameters of a detector that is not trained."""

_NAME = re.compile(r"(?P<path>[A-Za-z_][\w.]*(?::\w+)?)\s*(?P<arguments>\(.*\))?", re.S)


@dataclass(frozen=True)
class DetectorSpec:
    """How to make a detector. It is small and picklable, unlike some detectors.

    `path` is ``package.module:Class``, or names a function that returns a detector.
    """

    name: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def make(self, seed: int | None = None, device: str | None = None) -> Any:
        """Make an unfitted detector. Its `arguments` precede `seed` and `device`."""
        detector = _imported(self.path)(**self.arguments)
        given = {"random_state": seed, "device": device}
        chosen = {}
        for parameter in _parameters(detector, deep=True):
            value = given.get(parameter.rpartition("__")[2])
            if value is not None and parameter not in self.arguments:
                chosen[parameter] = value
        return detector.set_params(**chosen) if chosen else detector

    def parameters(self, seed: int, device: str | None = None) -> dict[str, str]:
        """List all parameters of `make(seed, device)` as text, equal in any process."""
        detector = self.make(seed, device)
        values = _parameters(detector, deep=False) or self.arguments
        return {
            name: re.sub(r" at 0x[0-9a-f]+", "", repr(value))
            for name, value in sorted(values.items())
        }

    @property
    def family(self) -> str:
        """One of "skanogan", "baseline" and "other"."""
        if self.path in {path for path, _ in (BASELINES | PYOD).values()}:
            return "baseline"
        made = type(self.make()).__module__
        return "skanogan" if made.partition(".")[0] == "skanogan" else "other"


def find_detectors(names: str | Iterable[str] = "all") -> list[DetectorSpec]:
    """Find detectors by name or import path, and make each once to check it.

    A string holds names or import paths (``package.module:Class`` or
    ``package.module.Class``) separated by commas. Keyword arguments may follow, as in
    ``"AnoGANDetector(max_iter=500)"``. "package" stands for the detectors of this
    package, "untrained" for the same without training, "robust" for the same as they
    are set for unlabelled rows, "baselines" for the baselines, and "all" for the
    package, untrained and baselines. "ECOD" and "HBOS" are in no group: they need PyOD.
    """
    given = [names] if isinstance(names, str) else list(names)
    specs: dict[str, DetectorSpec] = {}
    for text in (name for item in given for name in split_names(item)):
        for spec in _expanded(text):
            specs.setdefault(spec.name, spec)
    if not specs:
        raise UsageError("no detectors are named; pass for example --detectors all")
    for spec in specs.values():
        try:
            detector = spec.make(0)
        except UsageError:  # from the import, with its own message
            raise
        except Exception as error:  # any error of a constructor
            raise UsageError(
                f"{spec.name} cannot be made: {type(error).__name__}: {error}"
            ) from error
        if not callable(getattr(detector, "fit", None)):
            raise UsageError(f"{spec.name} has no fit method; name a detector")
    return list(specs.values())


def split_names(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes, and strip the names."""
    names, depth = [""], 0
    for piece in re.findall(r"'[^']*'|\"[^\"]*\"|.", text, re.S):
        depth += (piece in "([{") - (piece in ")]}")
        if piece == "," and depth == 0:
            names.append("")
        else:
            names[-1] += piece
    return [name.strip() for name in names if name.strip()]


def _expanded(text: str) -> list[DetectorSpec]:
    if text == "all":
        return [s for part in GROUPS for s in _expanded(part)]
    if text == "package":
        return [DetectorSpec(name, path) for name, path in _package_paths().items()]
    if text == "untrained":
        return [_changed(*known, UNTRAINED) for known in _package_paths().items()]
    if text == "robust":
        return [_changed(*known, ROBUST) for known in _package_paths().items()]
    if text == "baselines":
        return [DetectorSpec(name, *known) for name, known in BASELINES.items()]
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} does not name a detector; expected a name, package.module:Class "
            "or package.module:Class(parameter=value)"
        )
    path, arguments = match["path"], _literal_arguments(text, match["arguments"])
    known = BASELINES | PYOD
    if path in known:
        path, defaults = known[path]
        return [DetectorSpec(text, path, defaults | arguments)]
    if "." in path or ":" in path:
        return [DetectorSpec(text, path, arguments)]
    package = _package_paths()
    if path in package:
        return [DetectorSpec(text, package[path], arguments)]
    raise UsageError(
        f"no detector is named {path!r}; expected "
        f"{', '.join([*package, *known])}, or an import path such as "
        "package.module:Class"
    )


def _package_paths() -> dict[str, str]:
    from skanogan.utils.discovery import all_detectors

    return {name: f"skanogan:{name}" for name, _ in all_detectors()}


def _changed(name: str, path: str, values: dict[str, Any]) -> DetectorSpec:
    """The detector with other values for those of these parameters that it has."""
    known = _parameters(DetectorSpec(name, path).make(), deep=False)
    arguments = {key: value for key, value in values.items() if key in known}
    return DetectorSpec(f"{name}({as_text(arguments)})", path, arguments)


def as_text(arguments: dict[str, Any]) -> str:
    """Write arguments as they stand in the name of a detector."""
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


def _literal_arguments(text: str, arguments: str | None) -> dict[str, Any]:
    try:
        call = ast.parse(f"detector{arguments or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("arguments must have names")
        if any(keyword.arg is None for keyword in call.keywords):  # **mapping
            raise ValueError("arguments must have names")
        return {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"the arguments of {text!r} cannot be read ({error}); expected literals "
            "by name, such as (max_iter=500, backbone='mlp')"
        ) from error


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if getattr(error, "name", None) == "pyod":
            raise UsageError(
                f"{path} needs PyOD, which is not installed: pip install pyod"
            ) from error
        raise UsageError(f"{path} cannot be imported: {error}") from error


def _parameters(detector: Any, deep: bool) -> dict[str, Any]:
    return detector.get_params(deep=deep) if hasattr(detector, "get_params") else {}

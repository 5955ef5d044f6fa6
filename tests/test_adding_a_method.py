"""The package that docs/adding_a_method.md writes is a method that works."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

import skanogan
from skanogan._persistence import registry
from skanogan.exceptions import ModelFileError
from skanogan.utils.discovery import all_detectors
from skanogan.utils.estimator_checks import detector_checks

PAGE = Path(__file__).parents[1] / "docs" / "adding_a_method.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
CODE = [text for kind, text in BLOCKS if kind == "python"]
MODEL, DETECTOR, PACKAGE, EXAMPLE, CHECKS = CODE
(PRINTED,) = (text for kind, text in BLOCKS if kind == "text")
CHEAP = {"max_iter": 10, "hidden_layer_sizes": (16,), "latent_dim": 3, "device": "cpu"}


@pytest.fixture
def folder(tmp_path):
    """A folder with the package that the page writes."""
    package = tmp_path / "skanogan_vae"
    package.mkdir()
    for name, text in {
        "model": MODEL,
        "detector": DETECTOR,
        "__init__": PACKAGE,
    }.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def vae(folder, monkeypatch):
    """The detector class of the package, registered for the time of a test."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_CLASSES", registry.registered_detectors())
    for name in ("skanogan_vae", "skanogan_vae.model", "skanogan_vae.detector"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("skanogan_vae").VAEDetector


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_imports_public_names_only():
    imported = re.findall(r"^from (skanogan\S*) import (.*)", "\n".join(CODE), re.M)
    assert len(imported) > 8
    for module, names in imported:
        assert not re.search(r"\b_", f"{module} {names}".replace(".", " "))


def test_the_example_prints_what_the_page_shows(folder):
    (folder / "example.py").write_text(EXAMPLE, encoding="utf-8")
    assert run(folder, "example.py") == PRINTED


def test_the_tests_that_the_page_shows_pass(folder):
    (folder / "test_vae.py").write_text(CHECKS, encoding="utf-8")
    out = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_vae.py")
    assert int(re.search(r"(\d+) passed", out)[1]) > 20


# scikit-learn's checks pass labels of all kinds, which are ignored with a warning.
@pytest.mark.filterwarnings("ignore:y is ignored:UserWarning")
def test_the_method_passes_the_checks_of_scikit_learn(vae):
    # As for the detectors of the package: batches are random.
    not_exact = {"check_sample_weight_equivalence_on_dense_data": "repeated rows"}
    results = check_estimator(
        vae(random_state=0, **CHEAP), on_skip=None, expected_failed_checks=not_exact
    )
    assert len(results) > 40
    assert {result["status"] for result in results} <= {"passed", "skipped", "xfail"}


def test_the_method_passes_our_checks_on_images(vae):
    cheap = vae(image_shape=(8, 8), random_state=0, **CHEAP)
    optional = {"n_estimators", "n_neighbors", "support_fraction"}
    assert set(vae._parameter_constraints) == set(cheap.get_params()) | optional
    for detector, check in detector_checks(cheap):
        check(detector)


def test_a_registered_class_is_discovered(vae):
    assert dict(all_detectors())["VAEDetector"] is vae


def test_two_classes_of_one_name_cannot_be_registered(vae):
    other = type("AnoGANDetector", (vae,), {})
    with pytest.raises(ValueError, match="registered under the same name"):
        registry.register_detector(other)


def test_a_file_is_loaded_in_another_process_by_the_class_that_the_caller_names(
    vae, folder, blob
):
    detector = vae(random_state=0, **CHEAP).fit(blob)
    detector.save(folder / "vae.safetensors")
    code = """
import json, numpy as np, skanogan
from skanogan.exceptions import ModelFileError
try:
    skanogan.load("vae.safetensors")
except ModelFileError as error:
    refused = str(error)
from skanogan_vae import VAEDetector
rows = np.load("rows.npy")
scores = [
    skanogan.load("vae.safetensors", **named).score_samples(rows).tolist()
    for named in ({"detector_class": VAEDetector}, {})
]
print(json.dumps({"refused": refused, "scores": scores}))
"""
    np.save(folder / "rows.npy", blob)
    found = json.loads(run(folder, "-c", code))
    assert "detector_class" in found["refused"]
    assert found["scores"] == [detector.score_samples(blob).tolist()] * 2


def test_a_file_is_not_loaded_by_a_class_of_another_name(vae, folder, blob):
    vae(random_state=0, **CHEAP).fit(blob).save(folder / "vae.safetensors")
    with pytest.raises(ModelFileError, match="VAEDetector"):
        skanogan.load(folder / "vae.safetensors", detector_class=skanogan.OCGANDetector)


def test_the_benchmark_takes_the_class_by_its_import_path(folder):
    names = "skanogan_vae:VAEDetector(max_iter=20),KNNDistance"
    out = run(
        folder, "-m", "skanogan", "benchmark", "wine", "--classes", "0", "--no-plot",
        "--detectors", names, "--out", "results", "--jobs", "1",
    )  # fmt: skip
    assert "VAEDetector" in out
    assert "KNNDistance" in out


def test_docstrings_of_the_page_are_valid(vae):
    validate = pytest.importorskip("numpydoc.validate").validate
    not_asked = {"SA01", "EX01", "ES01"}
    for name in ("skanogan_vae.model.VAE", "skanogan_vae.detector.VAEDetector"):
        codes = {code for code, _ in validate(name)["errors"]}
        assert codes <= not_asked

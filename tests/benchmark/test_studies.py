"""The studies behind the tables of the docs run, and print what they are to print."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.benchmark import (
    column_study,
    defaults_study,
    ocgan_study,
    overhead,
    search_study,
    stitching,
)

# torch's own use of it, at the first forward derivative in a process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

CHEAP = {"max_iter": 3, "hidden_layer_sizes": (64,)}
anogan = partial(AnoGANDetector, **CHEAP, n_candidates=32, encoder_max_iter=3)
fanogan = partial(FAnoGANDetector, **CHEAP, encoder_max_iter=3)
ocgan = partial(OCGANDetector, **CHEAP, n_filters=2)


def rows_printed(capsys):
    """The cells of each row of the Markdown tables on stdout."""
    lines = capsys.readouterr().out.splitlines()
    cells = [
        [c.strip() for c in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ")
    ]
    assert cells
    return cells


def some(settings, *names):
    return {name: settings[name] for name in names}


@pytest.mark.parametrize("data", [["breast_cancer"], ["digits", "--patches", "4"]])
def test_searches_are_compared_on_one_training(data, monkeypatch, capsys):
    monkeypatch.setattr(search_study, "AnoGANDetector", anogan)
    names = ("nearest, 10 steps", "encoder, no steps", "residual, nearest, no steps")
    searches = some(search_study.SEARCHES, *names)
    monkeypatch.setattr(search_study, "SEARCHES", searches)
    chosen = ["--classes", "1"] if "digits" in data else []
    assert search_study.main([*data, *chosen, "--test", "60"]) == 0
    _, *found = rows_printed(capsys)
    assert {row[0] for row in found} >= set(names)
    for row in found:
        assert 0 <= float(row[1]) <= 1
        assert float(row[2]) > 0


@pytest.mark.parametrize("solver", [search_study.gauss_newton, search_study.lbfgs])
def test_solvers_of_second_order_find_the_latent_of_a_linear_map(solver):
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 7, generator=rng).double()
    z = torch.randn(5, 3, generator=rng).double()

    def residuals(z, f):
        return f - z @ mixing

    found = solver(residuals, torch.zeros_like(z), z @ mixing, 30)
    torch.testing.assert_close(found, z, rtol=1e-4, atol=1e-4)


def test_defaults_are_compared_with_their_alternatives(monkeypatch, capsys):
    monkeypatch.setattr(defaults_study, "AnoGANDetector", anogan)
    kinds = ("TRAINING", "SCORING")
    for kind in kinds:
        every = getattr(defaults_study, kind)
        fewer = some(every, *[n for n in every if "500" not in n][:3])
        monkeypatch.setattr(defaults_study, kind, {"default": {}, **fewer})
    assert defaults_study.main(["breast_cancer", "--limit", "80"]) == 0
    _, *found = rows_printed(capsys)
    assert found[0][:3] == ["default", found[0][1], "+0.0000"]
    assert len(found) >= 4


def test_parts_of_ocgan_are_switched_off_one_by_one(monkeypatch, capsys):
    monkeypatch.setattr(ocgan_study, "OCGANDetector", ocgan)
    argv = ["breast_cancer", "--limit", "80", "--only", "ladder"]
    assert ocgan_study.main(argv) == 0
    names = {row[0] for row in rows_printed(capsys)}
    assert set(ocgan_study.LADDER) <= names


def test_a_training_of_ocgan_is_watched_on_its_way(monkeypatch, capsys):
    monkeypatch.setattr(ocgan_study, "OCGANDetector", ocgan)
    argv = ["digits", "--classes", "1", "--limit", "60", "--curve"]
    assert ocgan_study.main(argv) == 0
    _, *found = rows_printed(capsys)
    assert [int(row[1]) for row in found] == [1, 2, 3]


def test_the_changed_column_is_looked_for_in_every_map(tmp_path, monkeypatch, capsys):
    X, y = load_breast_cancer(return_X_y=True)
    np.savez(tmp_path / "cancer.npz", X=X[:, :6], y=1 - y)
    cheap = {"AnoGAN": anogan, "f-AnoGAN": fanogan, "OCGAN": ocgan}
    monkeypatch.setattr(column_study, "DETECTORS", cheap)
    argv = [str(tmp_path), "--updates", "3", "--limit", "60"]
    assert column_study.main(argv) == 0
    head, *found = rows_printed(capsys)
    assert head[1] == "residual"
    assert [row[0] for row in found] == list(cheap)
    assert all(0 <= float(cell) <= 1 for row in found for cell in row[1:])


def test_the_overhead_over_a_bare_loop_is_a_ratio(monkeypatch, capsys):
    monkeypatch.setattr(overhead, "AnoGANDetector", anogan)
    argv = ["--rows", "200", "--columns", "3", "--pairs", "1"]
    assert overhead.main(argv) == 0
    assert "ratio: median" in capsys.readouterr().out


def test_a_stitched_map_is_measured(monkeypatch, capsys):
    argv = ["--side", "96", "--patch", "16", "--stride", "8", "--max-iter", "2"]
    assert stitching.main(argv) == 0
    printed = capsys.readouterr().out
    assert "MB over the start" in printed
    assert "of which stitching made" in printed

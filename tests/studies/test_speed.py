import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from studies import speed_growth
from studies.bare_search import bare_search
from studies.speed import main
from studies.speed_limit import operations_of_a_step
from studies.tensors import scaled
from studies.timing import ratios
from torch import nn

PUBLISHED = {"anomaly_score": "anogan", "n_candidates": 1}


def test_the_bare_loop_does_the_work_of_the_published_search(anogan):
    zeros = load_digits().images[load_digits().target == 0][:100]
    cheap = {"n_filters": 4, "latent_dim": 4, "random_state": 0, "device": "cpu"}
    cheap["n_estimators"] = 1
    detector = anogan(**PUBLISHED, **cheap, n_steps=7, scoring_dtype="float64")
    fitted = detector.fit(zeros)
    model = fitted.model_.members[0]
    for x, expected in zip(
        scaled(fitted, zeros[:3]).split(1),
        fitted.score_samples(zeros[:3]),
        strict=True,
    ):
        _, score = bare_search(
            model.generator,
            model.discriminator.features,
            x,
            model.latents,
            n_steps=7,
            step_size=fitted.step_size,
            weight=fitted.discrimination_weight,
        )
        assert score == pytest.approx(-expected, rel=1e-6)


def test_operations_of_a_step_are_those_counted_by_hand(anogan):
    X = np.random.RandomState(0).normal(size=(80, 5))
    fitted = anogan(hidden_layer_sizes=(8,), latent_dim=3).fit(X)
    forward = 2 * (3 * 8 + 8 * 5 + 5 * 8)
    # Gradients for z alone: as many again, and none for weights.
    assert operations_of_a_step(fitted.model_.members[0]) == 2 * forward


def test_ratios_are_of_the_same_turn():
    found = ratios([2.0, 20.0, 6.0], [1.0, 10.0, 2.0])
    assert found == (2.0, 2.0, 3.0)
    assert str(found) == "2 (2 to 3)"


@pytest.mark.parametrize("name", ["search", "limit"])
def test_a_quick_run_prints_a_table_of_ratios(name, capsys):
    assert main([name, "--quick"]) == 0
    printed = capsys.readouterr().out
    assert f"## {name}" in printed
    assert " to " in printed.splitlines()[-2]


def test_without_pyod_one_line_is_printed(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod", None)
    monkeypatch.setitem(sys.modules, "pyod.models", None)
    monkeypatch.setitem(sys.modules, "pyod.models.anogan", None)
    main(["peers", "--quick"])
    assert "PyOD is not installed" in capsys.readouterr().out


def test_the_sign_of_the_scores_of_peers_is_reversed(capsys, monkeypatch):
    class Peer(nn.Module):
        def fit(self, X):
            self.mean = X.mean(0)

        def decision_function(self, X):
            return np.abs(X - self.mean).sum(1)

    module = type(sys)("pyod.models.anogan")
    module.AnoGAN = module.ALAD = Peer
    for name in ("pyod", "pyod.models", "pyod.models.anogan", "pyod.models.alad"):
        monkeypatch.setitem(sys.modules, name, module)
    main(["peers", "--quick"])
    lines = capsys.readouterr().out.splitlines()
    peer = next(line for line in lines if "PyOD ALAD" in line)
    assert float(peer.split("|")[-2]) > 0.5


def test_growth_is_measured_in_a_process_of_its_own(tmp_path):
    found = speed_growth._in_a_fresh_process(speed_growth.measure_scores, 500)
    assert found["n"] == 500
    assert found["seconds"] > 0


def test_images_are_fitted_from_their_file(tmp_path):
    path = speed_growth.write_images(tmp_path, 70)
    assert np.load(path, mmap_mode="r").shape == (70, 64, 64)
    found = speed_growth.measure_fit(str(path), 1)
    assert found["n"] == 70
    assert found["seconds"] > 0


def test_an_unknown_section_is_an_error_that_lists_the_sections(capsys):
    with pytest.raises(SystemExit):
        main(["serach"])
    assert (
        "no section is named serach; expected some of search, peers"
        in capsys.readouterr().err
    )

import pytest
from studies import defaults

from skanogan import AnoGANDetector


def test_defaults_are_compared_with_other_parameters(anogan, monkeypatch, rows_printed):
    monkeypatch.setattr(defaults, "AnoGANDetector", anogan)
    training = {"default": {}, "ema_decay=0": {"ema_decay": 0.0}}
    scoring = {"2 steps": {"n_steps": 2}, "p_d": {"anomaly_score": "p_d"}}
    monkeypatch.setattr(defaults, "TRAINING", training)
    monkeypatch.setattr(defaults, "SCORING", scoring)
    assert defaults.main(["breast_cancer", "--limit", "80"]) == 0
    _, *found = rows_printed()
    assert found[0][:3] == ["default", found[0][1], "+0.0000"]
    assert [row[0] for row in found] == ["default", "2 steps", "p_d", "ema_decay=0"]


@pytest.mark.parametrize(("only", "expected"), [("scoring", 2), ("training", 2)])
def test_one_kind_of_variants_can_be_chosen(
    only, expected, anogan, monkeypatch, rows_printed
):
    monkeypatch.setattr(defaults, "AnoGANDetector", anogan)
    training = {"default": {}, "ema_decay=0": {"ema_decay": 0.0}}
    monkeypatch.setattr(defaults, "TRAINING", training)
    monkeypatch.setattr(defaults, "SCORING", {"p_d": {"anomaly_score": "p_d"}})
    defaults.main(["breast_cancer", "--limit", "60", "--only", only])
    _, *found = rows_printed()
    assert len(found) == expected


def test_every_variant_is_one_of_the_detector():
    for parameters in (*defaults.TRAINING.values(), *defaults.SCORING.values()):
        AnoGANDetector().set_params(**parameters)

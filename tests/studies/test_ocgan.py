import pytest
from studies import ocgan as study

from skanogan import OCGANDetector


@pytest.fixture(autouse=True)
def small_budget(ocgan, monkeypatch):
    monkeypatch.setattr(study, "OCGANDetector", ocgan)


def test_parts_of_ocgan_are_switched_off_one_by_one(rows_printed):
    assert study.main(["breast_cancer", "--limit", "80", "--only", "ladder"]) == 0
    names = {row[0] for row in rows_printed()}
    assert set(study.LADDER) <= names


def test_scores_are_measured_after_each_budget_of_updates(monkeypatch, rows_printed):
    budgets = {f"{n} updates": {"max_iter": n} for n in (1, 2, 3)}
    monkeypatch.setitem(study.VARIANTS, "updates", budgets)
    argv = ["digits", "--classes", "1", "--limit", "60", "--only", "updates"]
    assert study.main(argv) == 0
    rows = rows_printed()
    # One table for each score, and one of the other measurements.
    assert [row[0] for row in rows if row[0] in budgets] == 4 * list(budgets)
    assert all(0 <= float(row[1]) <= 1 for row in rows[:9] if row[0] in budgets)


def test_every_variant_is_one_of_the_detector():
    for variants in study.VARIANTS.values():
        for parameters in variants.values():
            OCGANDetector().set_params(**parameters)

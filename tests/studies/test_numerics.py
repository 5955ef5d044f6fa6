import numpy as np
import pytest
from studies import numerics
from studies.numerics import Change

from skanogan import AnoGANDetector, OCGANDetector


@pytest.mark.parametrize(
    "detector",
    [
        AnoGANDetector(max_iter=20, hidden_layer_sizes=(16,), n_steps=3),
        OCGANDetector(max_iter=20, n_filters=2),
    ],
    ids=["AnoGAN", "OCGAN"],
)
@pytest.mark.parametrize("kind", ["rows of 64", "images of 32 x 32"])
def test_no_way_of_scoring_changes_scores_beyond_the_tolerance(detector, kind):
    tables, y = numerics.digits()
    normal = tables[kind][y == 1][::20]
    X, y = tables[kind][::9], y[::9]
    detector.set_params(n_filters=2)
    reference, *others = numerics.changes(detector, normal, X)
    assert reference.what == "as it is"
    kinds = {other.what.rpartition(" ")[0] for other in others}
    assert {"rows at once:", "threads:", "X in", "scored in"} <= kinds
    for other in others:
        moved = numerics.size(other, reference, y)
        assert moved.largest <= other.tolerance, other.what


def test_a_change_is_a_share_of_the_spread_of_scores():
    y = np.array([1, 1, 1, -1, -1])
    reference = Change("as it is", np.array([0.0, -1, -2, -3, -6]), -2.5, 0.0)
    # Distances from the median of -2 are 2, 1, 0, 1, 4: a spread of 1.
    moved = Change("otherwise", np.array([0.0, -1, -3.5, -3]), -2.5, 0.1)
    found = numerics.size(moved, reference, y)
    assert found == (1.5, 0.0, 1, pytest.approx(-1 / 3))


def test_the_study_prints_a_row_for_each_way_and_fails_if_a_tolerance_does_not_hold(
    monkeypatch, capsys
):
    argv = ["--updates", "1", "--detectors", "AnoGAN"]
    monkeypatch.setattr(numerics, "digits", few_digits)
    assert numerics.main(argv) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 2 * 8 + 2 * len(numerics.other_devices())
    assert all(row.endswith("| held |") for row in rows)
    monkeypatch.setattr(numerics, "ROUNDED", -1.0)
    assert numerics.main(argv) == 1
    assert "NOT HELD" in capsys.readouterr().out


def few_digits(every=numerics.digits):
    tables, y = every()
    small = {"rows of 64": tables["rows of 64"][::30]}
    small["images of 32 x 32"] = tables["images of 32 x 32"][::30, ::4, ::4]
    return small, y[::30]

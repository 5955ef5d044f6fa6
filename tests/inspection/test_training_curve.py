"""TrainingCurveDisplay."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from skanogan.inspection import TrainingCurveDisplay


def record(n_iter, seconds, **values):
    return {"n_iter": n_iter, "seconds": seconds, **values}


def test_curves_show_the_records_and_the_kept_state():
    history = [
        record(10, 1, d_loss=1.0, g_loss=2.0, logit=-3.0),
        record(20, 2, d_loss=1.5, g_loss=1.0, logit=-4.0),
        record(30, 3, e_loss=0.5, validation_error=0.4),
        record(40, 4, e_loss=0.3, validation_error=0.2),
        record(50, 5, e_loss=0.2, validation_error=0.3),
    ]
    display = TrainingCurveDisplay(history=history).plot()
    curves = {name: line.get_xydata().tolist() for name, line in display.lines_.items()}
    assert curves == {
        "d_loss": [[10, 1], [20, 1.5]],
        "g_loss": [[10, 2], [20, 1]],
        "e_loss": [[30, 0.5], [40, 0.3], [50, 0.2]],
    }
    assert display.validation_ax_ is not display.ax_
    errors = display.validation_line_.get_xydata().tolist()
    assert errors == [[30, 0.4], [40, 0.2], [50, 0.3]]
    assert display.kept_line_.get_xdata() == [40, 40]
    for names in (["logit"], []):
        only = TrainingCurveDisplay(history=history).plot(names=names)
        assert list(only.lines_) == names


@pytest.mark.parametrize(
    ("errors", "fits", "kept"),
    [
        ([3, 1, 2], [1, 1, 1], 20),
        ([3, 1, 1], [1, 1, 1], 20),
        # A warm start continues the history, but earlier states are not kept.
        ([3, 1, 5, 4, 6], [1, 1, 2, 2, 2], 40),
        # A stage without an error keeps its last state.
        ([1, None, 3, 2], [1, 1, 1, 1], 40),
        ([1, None], [1, 1], None),
    ],
)
def test_the_kept_state_is_the_least_error_of_the_last_fit_and_stage(
    errors, fits, kept
):
    known = [{} if error is None else {"validation_error": error} for error in errors]
    history = [
        record(10 * k, k, fit=n, loss=1.0, **error)
        for k, (error, n) in enumerate(zip(known, fits, strict=True), start=1)
    ]
    line = TrainingCurveDisplay(history=history).plot().kept_line_
    assert (None if line is None else line.get_xdata()[0]) == kept


def test_anogan_has_losses_and_no_validation_error(make_detector, blob):
    detector = make_detector(max_iter=1).fit(blob)
    display = TrainingCurveDisplay.from_estimator(detector)
    assert set(display.lines_) == {"discriminator_loss", "generator_loss"}
    assert display.validation_ax_ is None
    assert display.kept_line_ is None
    assert len(display.figure_.axes) == 1


def test_curves_are_those_of_history_(make_ocgan, blob):
    detector = make_ocgan(max_iter=40).fit(blob)
    display = TrainingCurveDisplay.from_estimator(detector)
    expected = [[r["n_iter"], r["latent_loss"]] for r in detector.history_]
    assert display.lines_["latent_loss"].get_xydata().tolist() == expected
    errors = [r["validation_error"] for r in detector.history_]
    best = detector.history_[int(np.argmin(errors))]["n_iter"]
    assert display.kept_line_.get_xdata() == [best, best]


def test_detectors_without_history_and_unknown_names_are_refused(make_detector, blob):
    with pytest.raises(TypeError, match=r"AnoGANDetector has no history_\. Tra"):
        TrainingCurveDisplay.from_estimator(make_detector())
    forest = IsolationForest().fit(blob)
    with pytest.raises(TypeError, match="This IsolationForest has no history_"):
        TrainingCurveDisplay.from_estimator(forest)
    with pytest.raises(ValueError, match=r"\['epoch'\].*Use some of \['n_iter'"):
        TrainingCurveDisplay(history=[record(1, 1, loss=2.0)]).plot(names=["epoch"])

"""All displays together."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from skanogan.inspection import (
    AnomalyMapDisplay,
    EmbeddingDisplay,
    SampleDisplay,
    ScoreDistributionDisplay,
    TrainingCurveDisplay,
)

DISPLAYS = [
    AnomalyMapDisplay,
    EmbeddingDisplay,
    SampleDisplay,
    ScoreDistributionDisplay,
    TrainingCurveDisplay,
]


@pytest.mark.parametrize("kind", ["table", "grey", "colour", "flat images", "frame"])
def test_every_display_accepts_detectors_of_this_package(
    make_detector, blob, zeros, kind
):
    colour = np.repeat(zeros[..., None], 3, axis=3).astype(np.uint8)
    X, shape = {
        "table": (blob, None),
        "grey": (zeros, None),
        "colour": (colour, None),
        "flat images": (zeros.reshape(-1, 64), (8, 8)),
        "frame": (pd.DataFrame(blob, columns=list("abcde")), None),
    }[kind]
    detector = make_detector(image_shape=shape).fit(X)
    rows = AnomalyMapDisplay.from_estimator(detector, X, max_rows=2)
    assert rows.axes_.shape == (2, 1 if kind in ("table", "frame") else 4)
    scores = detector.score_samples(X)
    np.testing.assert_allclose(rows.scores, np.sort(scores)[:2], rtol=1e-5)
    y = np.where(scores < np.median(scores), -1, 1)
    for display in [
        rows,
        ScoreDistributionDisplay.from_estimator(detector, X, y),
        TrainingCurveDisplay.from_estimator(detector),
        EmbeddingDisplay.from_estimator(detector, X, y, max_rows=12, random_state=0),
        SampleDisplay.from_estimator(detector, X, n_samples=9, random_state=0),
    ]:
        display.figure_.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda display: display.__name__)
def test_the_error_without_matplotlib_says_how_to_install_it(display, monkeypatch):
    arguments = [None] if display is TrainingCurveDisplay else [None, None]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "skanogan\[plot\]"') as error:
        display.from_estimator(*arguments)
    assert f"{display.__name__}.from_estimator" in str(error.value)


def test_importing_the_displays_does_not_load_matplotlib():
    code = "import sys, skanogan.inspection; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"

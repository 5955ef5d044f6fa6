"""All displays together."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cheap import cheap
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skanogan import AnoGANDetector
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


def in_pipeline(detector, X):
    return make_pipeline(StandardScaler(), detector).fit(X)


def test_a_display_finds_the_detector_in_a_pipeline_and_names_its_columns():
    X = pd.DataFrame(np.random.RandomState(0).normal(size=(90, 3)), columns=list("abc"))
    detector = cheap(AnoGANDetector)
    estimator = in_pipeline(detector, X)
    maps = AnomalyMapDisplay.from_estimator(estimator, X, max_rows=2)
    assert list(maps.feature_names) == ["a", "b", "c"]
    rows = estimator[:-1].transform(X)[maps.indices]
    np.testing.assert_allclose(maps.queries, rows)
    sample = SampleDisplay.from_estimator(estimator, X, random_state=0)
    assert list(sample.feature_names) == ["a", "b", "c"]
    EmbeddingDisplay.from_estimator(estimator, X, random_state=0)
    TrainingCurveDisplay.from_estimator(estimator)


def test_a_display_finds_the_detector_in_a_search_of_a_pipeline():
    X = np.random.RandomState(0).normal(size=(160, 2))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), cheap(AnoGANDetector)),
        {"anogandetector__max_iter": [1, 2]},
        scoring=lambda detector, X, y=None: detector.score_samples(X).mean(),
        cv=2,
    ).fit(X)
    display = AnomalyMapDisplay.from_estimator(search, X, max_rows=1)
    assert display.threshold == search.best_estimator_[-1].offset_


def test_a_pipeline_without_a_detector_is_refused():
    X = np.random.RandomState(0).normal(size=(20, 2))
    estimator = make_pipeline(StandardScaler(), IsolationForest()).fit(X)
    with pytest.raises(TypeError, match=r"IsolationForest has no anomaly_map"):
        AnomalyMapDisplay.from_estimator(estimator, X)

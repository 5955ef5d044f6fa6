"""ScoreDistributionDisplay."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skanogan.inspection import ScoreDistributionDisplay


def test_bars_are_shares_of_each_group_with_an_edge_at_the_threshold():
    display = ScoreDistributionDisplay.from_predictions(
        [1, 1, 1, 1, -1, -1], [2, 3, 3.5, 0, -2, -4], threshold=0, n_bins=4
    )
    normal, anomalies = (bars.get_data() for bars in display.bars_)
    # From -4 to 3.5 in steps of 7.5 / 4 from 0.
    edges = [-5.625, -3.75, -1.875, 0, 1.875, 3.75]
    np.testing.assert_allclose(normal.edges, edges)
    np.testing.assert_allclose(normal.values, [0, 0, 0, 1 / 4, 3 / 4])
    np.testing.assert_allclose(anomalies.values, [1 / 2, 1 / 2, 0, 0, 0])
    assert [bars.get_label() for bars in display.bars_] == [
        "4 normal rows, 0.0% below",
        "2 anomalies, 100.0% below",
    ]
    assert display.threshold_line_.get_xdata() == [0, 0]
    assert [ticks.get_xdata().tolist() for ticks in display.ticks_] == [
        [2, 3, 3.5, 0],
        [-2, -4],
    ]


@pytest.mark.parametrize("n", [1, 3, 100, 10_000])
@pytest.mark.parametrize("spread", [0, 1e-12, 1, 1e6])
@pytest.mark.parametrize("threshold", [None, -30, 1e4])
def test_bars_count_every_row_once_on_its_side_of_the_threshold(n, spread, threshold):
    rng = np.random.RandomState(n)
    scores = -30 + spread * rng.normal(size=n) ** 3
    y = np.where(rng.uniform(size=n) < 0.2, -1, 1) if n > 3 else None
    display = ScoreDistributionDisplay.from_predictions(y, scores, threshold=threshold)
    groups = [scores] if y is None else [scores[y == 1], scores[y == -1]]
    groups = [group for group in groups if len(group)]
    for bars, group in zip(display.bars_, groups, strict=True):
        values, edges, _ = bars.get_data()
        np.testing.assert_allclose(values.sum(), 1)
        assert (np.diff(edges) > 0).all()
        # 60 bars, one at the threshold, and at most 1,000 between the two.
        assert len(values) <= 1100
        if threshold is not None:
            below = values[edges[:-1] < threshold].sum()
            np.testing.assert_allclose(below, np.mean(group < threshold), atol=1e-12)
    assert len(display.ticks_) == sum(len(group) <= 100 for group in groups)


def test_scores_of_wide_range_are_drawn_on_a_logarithmic_axis():
    near = np.random.RandomState(0).normal(-30, 3, size=200)
    y = np.repeat([1, -1], [180, 20])
    far = np.where(y == 1, near, 1000 * near)

    def scale(scores, **arguments):
        display = ScoreDistributionDisplay.from_predictions(y, scores, **arguments)
        return display.ax_.get_xscale()

    assert scale(near) == "linear"
    assert scale(far) == "symlog"
    assert scale(far - 50) == "symlog"
    assert scale(far, log_scale=False) == "linear"
    assert scale(near, log_scale=True) == "symlog"


def test_groups_differ_in_hatching_and_lightness():
    display = ScoreDistributionDisplay.from_predictions([1, -1], [1, 0])
    normal, anomaly = display.bars_
    assert anomaly.get_hatch()
    assert not normal.get_hatch()
    colours = [bars.get_facecolor()[:3] for bars in display.bars_]
    luma = np.array(colours) @ [0.299, 0.587, 0.114]
    assert abs(luma[0] - luma[1]) > 0.2


@pytest.mark.parametrize(
    ("detector", "threshold"),
    [
        (IsolationForest(random_state=0), -0.5),
        (make_pipeline(StandardScaler(), IsolationForest(random_state=0)), 0),
        (OneClassSVM(), None),
        (KernelDensity(), None),
    ],
    ids=["forest", "pipeline", "svm", "density"],
)
def test_the_threshold_is_that_of_the_detector(detector, threshold):
    X = np.random.RandomState(0).normal(size=(60, 2))
    detector.fit(X)
    display = ScoreDistributionDisplay.from_estimator(detector, X)
    if isinstance(detector, OneClassSVM):
        threshold = float(detector.offset_[0])
    assert display.threshold == threshold
    if threshold is not None:
        flagged = detector.predict(X) == -1
        np.testing.assert_array_equal(display.scores < display.threshold, flagged)
    assert display.ax_.get_title() == type(detector).__name__


def test_scores_can_be_drawn_in_given_axes():
    figure, axes = plt.subplots(1, 2)
    display = ScoreDistributionDisplay.from_predictions(None, [1, 2], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].patches


@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        ([0, 1], [0.0, 1.0], r"np.where\(is_anomaly, -1, 1\)"),
        ([1, 1, 1], [0.0, 1.0], "inconsistent numbers of samples"),
        (None, [0.0, np.nan], "1 of 2 scores are not finite"),
        (None, [], "0 scores"),
    ],
)
def test_invalid_labels_and_scores_are_refused(y, scores, message):
    with pytest.raises(ValueError, match=message):
        ScoreDistributionDisplay.from_predictions(y, scores)
    assert not plt.get_fignums()


def test_a_detector_without_scores_is_refused():
    with pytest.raises(TypeError, match="StandardScaler has no scores"):
        ScoreDistributionDisplay.from_estimator(
            StandardScaler().fit([[0.0], [1.0]]), [[0.0]]
        )

"""Conformal thresholds hold their rate around any detector."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

from skanogan import AnoGANDetector
from skanogan.conformal import ConformalDetector
from skanogan.metrics import outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyKFold


class Shown(OutlierMixin, BaseEstimator):
    """A detector whose scores are the first column."""

    def fit(self, X, y=None):
        self.seen_ = X
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, 0].astype(float)


def column(*values):
    return np.array(values, dtype=float)[:, None]


@pytest.mark.filterwarnings("ignore:y is ignored")
@parametrize_with_checks(
    [
        ConformalDetector(
            IsolationForest(n_estimators=10, random_state=0),
            alpha=0.4,
            calibration_size=0.5,
            random_state=0,
        )
    ]
)
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_p_values_by_hand():
    frozen = FrozenEstimator(Shown().fit(column(0)))
    detector = ConformalDetector(frozen, alpha=0.4).fit(column(4, 1, 3, 2))
    assert detector.calibration_scores_.tolist() == [1, 2, 3, 4]
    found = detector.p_values(column(0, 1, 1.5, 2, 3.5, 4, 9))
    # (1 + kept scores at or below) / 5
    assert found.tolist() == [0.2, 0.4, 0.4, 0.6, 0.8, 1, 1]


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", [19, 20, 99])
def test_rows_are_called_anomalies_where_the_p_value_is_at_most_alpha(alpha, n):
    rng = np.random.RandomState(0)
    frozen = FrozenEstimator(Shown().fit(column(0)))
    # Few values, so that scores tie with those kept
    detector = ConformalDetector(frozen, alpha=alpha)
    detector.fit(rng.randint(30, size=(n, 1)))
    X = np.arange(-1, 31)[:, None]
    is_outlier = detector.predict(X) == -1
    assert np.array_equal(is_outlier, detector.p_values(X) <= alpha + 1e-12)
    assert np.array_equal(is_outlier, detector.decision_function(X) < 0)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_false_alarms_keep_to_alpha_over_splits_of_a_table(alpha):
    X = load_breast_cancer(return_X_y=True)[0]
    X = X[load_breast_cancer().target == 1]
    rates = []
    for seed in range(60):
        order = np.random.RandomState(seed).permutation(len(X))
        forest = IsolationForest(n_estimators=20, random_state=seed)
        detector = ConformalDetector(forest, alpha=alpha, random_state=seed)
        detector.fit(X[order[:250]])
        rates.append(np.mean(detector.predict(X[order[250:]]) == -1))
    error = np.std(rates) / np.sqrt(len(rates))
    assert alpha - 0.02 - 3 * error < np.mean(rates) < alpha + 2 * error


def test_the_rows_that_calibrate_are_not_those_learned_from():
    X = np.arange(100.0)[:, None]
    y = np.where(np.arange(100) < 10, -1, 1)
    detector = ConformalDetector(Shown(), alpha=0.2, random_state=0).fit(X, y)
    learned = set(detector.estimator_.seen_[:, 0])
    kept = set(detector.calibration_scores_)
    assert not learned & kept
    assert learned | kept == set(range(10, 100))
    assert len(kept) == 23


def test_a_number_of_rows_calibrates_as_well_as_a_share():
    X = np.arange(100.0)[:, None]
    detector = ConformalDetector(Shown(), calibration_size=30).fit(X)
    assert len(detector.calibration_scores_) == 30


def test_a_frozen_detector_is_calibrated_on_all_rows_and_not_fitted():
    inner = Shown().fit(column(0))
    detector = ConformalDetector(FrozenEstimator(inner)).fit(np.zeros((50, 1)))
    assert len(detector.calibration_scores_) == 50
    assert inner.seen_.tolist() == [[0]]


def test_the_fewest_rows_for_alpha_are_enough_and_one_less_is_refused():
    frozen = FrozenEstimator(Shown().fit(column(0)))
    ConformalDetector(frozen, alpha=0.05).fit(np.arange(19.0)[:, None])
    with pytest.raises(ValueError, match=r"alpha=0.05 with 18 rows.*19 are needed"):
        ConformalDetector(frozen, alpha=0.05).fit(np.arange(18.0)[:, None])


def test_a_refused_fit_leaves_nothing_behind():
    detector = ConformalDetector(Shown(), alpha=0.01)
    with pytest.raises(ValueError, match="are needed"):
        detector.fit(np.zeros((50, 1)))
    assert not hasattr(detector, "estimator_")


@pytest.mark.parametrize("rate", [0, 1, -0.1, np.nan])
def test_a_rate_of_discoveries_that_is_none_is_refused(rate):
    frozen = FrozenEstimator(Shown().fit(column(0)))
    detector = ConformalDetector(frozen).fit(np.arange(30.0)[:, None])
    with pytest.raises(ValueError, match="false_discovery_rate="):
        detector.select_outliers(np.zeros((3, 1)), rate)


def test_other_labels_are_refused():
    with pytest.raises(ValueError, match=r"np.where\(is_anomaly, -1, 1\)"):
        ConformalDetector(Shown()).fit(np.zeros((4, 1)), [0, 0, 1, -1])


def test_selection_by_hand():
    # 99 kept scores; p-values .01, .02, .5, .9 against .1 * rank / 4
    frozen = FrozenEstimator(Shown().fit(column(0)))
    detector = ConformalDetector(frozen).fit(np.arange(1.0, 100)[:, None])
    X = column(0, 1, 49, 89)
    np.testing.assert_allclose(detector.p_values(X), [0.01, 0.02, 0.5, 0.9])
    assert detector.select_outliers(X, 0.1).tolist() == [True, True, False, False]
    assert detector.select_outliers(X, 0.03).tolist() == [False] * 4


def test_few_of_those_selected_are_normal():
    rng = np.random.RandomState(0)
    false = []
    for seed in range(60):
        normal = rng.normal(size=(700, 2))
        batch = np.concatenate([normal[500:], rng.normal(3.5, 1, size=(40, 2))])
        detector = ConformalDetector(
            OneClassSVM(gamma=0.2), calibration_size=0.5, random_state=seed
        ).fit(normal[:500])
        selected = detector.select_outliers(batch, 0.2)
        false.append(selected[:200].sum() / max(1, selected.sum()))
        assert selected[200:].any()
    assert np.mean(false) < 0.2 + 2 * np.std(false) / np.sqrt(len(false))


@pytest.mark.parametrize(
    "detector",
    [
        LocalOutlierFactor(novelty=True),
        OneClassSVM(),
        make_pipeline(StandardScaler(), IsolationForest(random_state=0)),
        AnoGANDetector(max_iter=40, hidden_layer_sizes=(16,), random_state=0),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_it_takes_any_detector(detector):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 3))
    conformal = ConformalDetector(detector, alpha=0.1, random_state=0).fit(X)
    assert np.mean(conformal.predict(rng.normal(size=(1000, 3))) == -1) < 0.25
    assert set(conformal.predict(X[:20] + 20)) == {-1}


def test_a_grid_search_reaches_through_it():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(size=(200, 2)), rng.normal(4, 1, size=(20, 2))])
    search = GridSearchCV(
        ConformalDetector(IsolationForest(random_state=0), random_state=0),
        {"estimator__n_estimators": [5, 20], "alpha": [0.05, 0.1]},
        scoring=outlier_roc_auc_scorer,
        cv=NoveltyKFold(2),
        error_score="raise",
    ).fit(X, np.repeat([1, -1], [200, 20]))
    assert search.best_score_ > 0.9

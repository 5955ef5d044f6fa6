"""ConformalDetector: p-values, false alarm rates, selection, columns and errors."""

import pickle

import numpy as np
import pandas as pd
import pytest
from cheap import cheap
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import (
    check_param_validation,
    parametrize_with_checks,
)

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


class Positive(Shown):
    """A detector that cannot score negative rows."""

    def score_samples(self, X):
        scores = super().score_samples(X)
        if scores.min() < 0:
            raise ValueError("a negative row")
        return scores


class Decides(OutlierMixin, BaseEstimator):
    """A detector that has only `decision_function`."""

    def fit(self, X, y=None):
        return self

    def decision_function(self, X):
        return 2 * X[:, 0]


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
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_p_values_equal_those_computed_by_hand():
    frozen = FrozenEstimator(Shown().fit(column(0)))
    detector = ConformalDetector(frozen, alpha=0.4).fit(column(4, 1, 3, 2))
    assert detector.calibration_scores_.tolist() == [1, 2, 3, 4]
    found = detector.p_values(column(0, 1, 1.5, 2, 3.5, 4, 9))
    # (1 + number of held-out scores at or below) / 5
    assert found.tolist() == [0.2, 0.4, 0.4, 0.6, 0.8, 1, 1]


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", [19, 20, 99])
def test_rows_are_labelled_anomalies_if_the_p_value_is_at_most_alpha(alpha, n):
    rng = np.random.RandomState(0)
    frozen = FrozenEstimator(Shown().fit(column(0)))
    # There are few values, so that scores are tied.
    detector = ConformalDetector(frozen, alpha=alpha)
    detector.fit(rng.randint(30, size=(n, 1)))
    X = np.arange(-1, 31)[:, None]
    is_outlier = detector.predict(X) == -1
    assert np.array_equal(is_outlier, detector.p_values(X) <= alpha + 1e-12)
    assert np.array_equal(is_outlier, detector.decision_function(X) < 0)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_rate_of_false_alarms_is_alpha_over_splits_of_a_table(alpha):
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


def test_rows_that_calibrate_are_not_learned_from():
    X = np.arange(100.0)[:, None]
    y = np.where(np.arange(100) < 10, -1, 1)
    detector = ConformalDetector(Shown(), alpha=0.2, random_state=0).fit(X, y)
    learned = set(detector.estimator_.seen_[:, 0])
    kept = set(detector.calibration_scores_)
    assert not learned & kept
    assert learned | kept == set(range(10, 100))
    assert len(kept) == 23


@pytest.mark.parametrize("size", [0.25, 0.334, 30, 1])
def test_the_split_is_that_of_train_test_split(size):
    X = np.arange(100.0)[:, None]
    detector = ConformalDetector(
        Shown(), alpha=0.6, calibration_size=size, random_state=3
    ).fit(X)
    learned, held_out = train_test_split(X, test_size=size, random_state=3)
    assert np.array_equal(detector.estimator_.seen_, np.sort(learned, axis=0))
    assert np.array_equal(detector.calibration_scores_, np.sort(held_out[:, 0]))


def test_calibration_size_may_be_a_number_of_rows():
    X = np.arange(100.0)[:, None]
    detector = ConformalDetector(Shown(), calibration_size=30).fit(X)
    assert len(detector.calibration_scores_) == 30


def test_a_frozen_detector_is_calibrated_on_all_rows_and_not_fitted():
    inner = Shown().fit(column(0))
    detector = ConformalDetector(FrozenEstimator(inner)).fit(np.zeros((50, 1)))
    assert len(detector.calibration_scores_) == 50
    assert inner.seen_.tolist() == [[0]]


def test_one_row_fewer_than_alpha_needs_is_refused():
    frozen = FrozenEstimator(Shown().fit(column(0)))
    ConformalDetector(frozen, alpha=0.05).fit(np.arange(19.0)[:, None])
    with pytest.raises(ValueError, match=r"alpha=0.05 .* 18 of 18 .*At least 19 are"):
        ConformalDetector(frozen, alpha=0.05).fit(np.arange(18.0)[:, None])


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (-column(*range(1, 101)), {}, "a negative row"),
        (column(*range(50)), {"alpha": 0.01}, "At least 99 are needed"),
        (column(*range(50)), {"calibration_size": 50}, "calibration_size=50 of"),
    ],
)
def test_a_second_fit_that_fails_leaves_the_detector_as_it_was(X, parameters, message):
    detector = ConformalDetector(Positive(), random_state=0)
    detector.fit(np.arange(100.0)[:, None])
    before = dict(vars(detector))
    with pytest.raises(ValueError, match=message):
        detector.set_params(**parameters).fit(X)
    detector.set_params(alpha=0.05, calibration_size=0.25)
    assert vars(detector) == before


def test_a_first_fit_that_fails_sets_no_attribute():
    detector = ConformalDetector(Shown(), alpha=0.01)
    with pytest.raises(ValueError, match="At least 99 are needed"):
        detector.fit(np.zeros((50, 1)))
    assert not hasattr(detector, "estimator_")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("alpha", value) for value in (0, 1, 1.5, -0.1, np.nan, "auto")),
        *(("calibration_size", value) for value in (0, 1.0, 1.5, -1, None)),
    ],
)
def test_invalid_parameters_are_refused_by_name(name, value):
    detector = ConformalDetector(Shown(), **{name: value})
    message = f"The '{name}' parameter of ConformalDetector must be"
    with pytest.raises(ValueError, match=message):
        detector.fit(np.arange(100.0)[:, None])
    assert not hasattr(detector, "estimator_")


def test_parameters_are_validated_with_messages_of_scikit_learn():
    check_param_validation("ConformalDetector", ConformalDetector(Shown()))


@pytest.mark.parametrize("size", [100, 101])
def test_a_row_must_be_left_to_learn_from(size):
    X = np.arange(100.0)[:, None]
    detector = ConformalDetector(Shown(), calibration_size=99).fit(X)
    assert len(detector.estimator_.seen_) == 1
    with pytest.raises(ValueError, match=f"{size} of n_samples=100"):
        detector.set_params(calibration_size=size).fit(X)


@pytest.mark.parametrize("rate", [0, 1, -0.1, np.nan])
def test_a_false_discovery_rate_outside_of_0_and_1_is_refused(rate):
    frozen = FrozenEstimator(Shown().fit(column(0)))
    detector = ConformalDetector(frozen).fit(np.arange(30.0)[:, None])
    with pytest.raises(ValueError, match="false_discovery_rate="):
        detector.select_outliers(np.zeros((3, 1)), rate)


def test_other_labels_are_refused():
    with pytest.raises(ValueError, match=r"np.where\(is_anomaly, -1, 1\)"):
        ConformalDetector(Shown()).fit(np.zeros((4, 1)), [0, 0, 1, -1])


def test_selected_rows_equal_those_computed_by_hand():
    # With 99 scores the p-values are .01, .02, .5, .9. They are compared with
    # .1 * rank / 4.
    frozen = FrozenEstimator(Shown().fit(column(0)))
    detector = ConformalDetector(frozen).fit(np.arange(1.0, 100)[:, None])
    X = column(0, 1, 49, 89)
    np.testing.assert_allclose(detector.p_values(X), [0.01, 0.02, 0.5, 0.9])
    assert detector.select_outliers(X, 0.1).tolist() == [True, True, False, False]
    assert detector.select_outliers(X, 0.03).tolist() == [False] * 4


def test_the_share_of_normal_rows_among_selected_rows_is_bounded():
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
def test_it_wraps_any_detector(detector):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 3))
    conformal = ConformalDetector(detector, alpha=0.1, random_state=0).fit(X)
    assert np.mean(conformal.predict(rng.normal(size=(1000, 3))) == -1) < 0.25
    assert set(conformal.predict(X[:20] + 20)) == {-1}


def test_a_detector_without_score_samples_is_calibrated_on_decisions():
    frozen = FrozenEstimator(Decides().fit(column(0)))
    detector = ConformalDetector(frozen, alpha=0.4).fit(column(4, 1, 3, 2))
    assert detector.calibration_scores_.tolist() == [2, 4, 6, 8]
    X = column(0, 1, 2, 3)
    assert detector.score_samples(X).tolist() == [0, 2, 4, 6]
    assert detector.decision_function(X).tolist() == [-4, -2, 0, 2]
    assert detector.predict(X).tolist() == [-1, -1, 1, 1]


def test_score_samples_is_preferred_to_decision_function():
    X = np.random.RandomState(0).normal(size=(100, 2))
    detector = ConformalDetector(IsolationForest(random_state=0)).fit(X)
    expected = detector.estimator_.score_samples(X)
    assert np.array_equal(detector.score_samples(X), expected)


# Columns --------------------------------------------------------------------------


@pytest.fixture
def named():
    """200 rows of two columns with names."""
    rows = np.random.RandomState(0).normal(size=(200, 2))
    return pd.DataFrame(rows, columns=["a", "b"])


@pytest.fixture
def conformal():
    forest = IsolationForest(n_estimators=5, random_state=0)
    return ConformalDetector(forest, alpha=0.1, random_state=0)


def test_a_fit_sets_the_number_and_names_of_columns(conformal, named):
    assert not hasattr(conformal, "n_features_in_")
    assert not hasattr(conformal, "feature_names_in_")
    with pytest.raises(NotFittedError):
        conformal.n_features_in_  # noqa: B018
    conformal.fit(named)
    assert conformal.n_features_in_ == 2
    assert conformal.feature_names_in_.tolist() == ["a", "b"]


def test_a_refit_without_names_forgets_them(conformal, named):
    conformal.fit(named).fit(named.to_numpy())
    assert not hasattr(conformal, "feature_names_in_")
    assert conformal.n_features_in_ == 2
    conformal.fit(named[["b"]])
    assert conformal.feature_names_in_.tolist() == ["b"]
    assert conformal.n_features_in_ == 1


def test_a_detector_without_n_features_in_gives_none_to_the_wrapper():
    detector = ConformalDetector(Shown()).fit(np.arange(100.0)[:, None])
    assert not hasattr(detector, "n_features_in_")
    assert not hasattr(detector, "feature_names_in_")


def test_a_pickle_is_fitted_and_a_clone_is_not(conformal, named):
    conformal.fit(named)
    again = pickle.loads(pickle.dumps(conformal))
    assert again.n_features_in_ == 2
    assert again.feature_names_in_.tolist() == ["a", "b"]
    assert np.array_equal(again.p_values(named), conformal.p_values(named))
    fresh = clone(conformal)
    assert repr(fresh.get_params()) == repr(conformal.get_params())
    assert not hasattr(fresh, "n_features_in_")
    assert not hasattr(fresh, "estimator_")


def test_a_grid_search_sets_parameters_of_the_estimator():
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


def test_ignored_labels_warn_at_the_line_that_called_fit():
    X = np.random.RandomState(0).normal(size=(60, 2))
    with pytest.warns(UserWarning, match="y is ignored") as told:
        ConformalDetector(IsolationForest(n_estimators=5), alpha=0.2).fit(
            X, [0, 1] * 30
        )
    assert told[0].filename == __file__


@pytest.mark.parametrize("size", [60, 0.999])
def test_a_calibration_size_that_leaves_no_row_is_refused_by_name(size):
    X = np.random.RandomState(0).normal(size=(60, 2))
    detector = ConformalDetector(IsolationForest(), calibration_size=size)
    with pytest.raises(
        ValueError, match=rf"calibration_size={size} of n_samples=60 normal"
    ):
        detector.fit(X)


def test_the_detector_is_told_that_labelled_rows_are_normal():
    # A twentieth of the rows is of another kind. Without labels it could be anomalous.
    rng = np.random.RandomState(0)
    X = np.r_[rng.normal(size=(360, 4)), 9 + 0.3 * rng.normal(size=(20, 4))]
    labelled = ConformalDetector(cheap(AnoGANDetector), random_state=0)
    unlabelled = clone(labelled).fit(X)
    labelled.fit(X, np.ones(len(X)))
    assert labelled.estimator_.support_.all()
    assert not unlabelled.estimator_.support_.all()

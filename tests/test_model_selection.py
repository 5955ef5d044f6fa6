"""Splitters that train on normal rows, and detectors as classifiers."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import check_get_params_invariance

from skanogan import AnoGANDetector
from skanogan.metrics import (
    outlier_f1_score,
    outlier_f1_scorer,
    outlier_roc_auc_score,
    outlier_roc_auc_scorer,
)
from skanogan.model_selection import (
    NoveltyClassifier,
    NoveltyKFold,
    NoveltyShuffleSplit,
)

SPLITTERS = [
    NoveltyKFold(3),
    NoveltyKFold(3, shuffle=True, random_state=0),
    NoveltyShuffleSplit(4, test_size=0.25, random_state=0),
]


@pytest.fixture
def blobs():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(size=(300, 2)), rng.normal(3, 1, size=(30, 2))])
    order = rng.permutation(len(X))
    return X[order], np.repeat([1, -1], [300, 30])[order]


# Splitters ----------------------------------------------------------------------


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_training_rows_are_normal_and_test_rows_are_of_both_kinds(splitter, blobs):
    X, y = blobs
    splits = list(splitter.split(X, y))
    assert len(splits) == splitter.get_n_splits(X, y)
    for train, test in splits:
        assert set(y[train]) == {1}
        assert set(y[test]) == {-1, 1}
        assert not set(train) & set(test)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_test_rows_have_the_share_of_anomalies_of_all_rows(splitter, blobs):
    for _, test in splitter.split(*blobs):
        assert np.mean(blobs[1][test] == -1) == pytest.approx(1 / 11, abs=0.01)


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_fold_trains_on_all_normal_rows_of_the_other_folds(shuffle, blobs):
    X, y = blobs
    folds = list(NoveltyKFold(5, shuffle=shuffle).split(X, y))
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == list(range(len(X)))
    for train, test in folds:
        others = np.setdiff1d(np.arange(len(X)), test)
        assert np.array_equal(train, others[y[others] == 1])


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
def test_the_same_seed_gives_the_same_splits(splitter, blobs):
    # A copy, so that the state of the splitter cannot matter.
    copies = [pickle.loads(pickle.dumps(splitter)) for _ in range(2)]
    first, second = (list(copy.split(*blobs)) for copy in copies)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_random_splits_depend_on_the_seed(blobs):
    one, two = (
        next(NoveltyShuffleSplit(1, random_state=seed).split(*blobs))[1]
        for seed in (0, 1)
    )
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("splitter", SPLITTERS, ids=repr)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.repeat([0, 1], [300, 30]), r"y holds \[0, 1\].*np.where"),
        (np.ones(330), "y holds no -1"),
        (-np.ones(330), "y holds no 1"),
        (None, "y is None"),
        (np.repeat([1, -1], [100, 30]), "inconsistent numbers of samples"),
    ],
)
def test_splitters_refuse_labels_other_than_1_and_minus_1(
    splitter, labels, message, blobs
):
    with pytest.raises(ValueError, match=message):
        list(splitter.split(blobs[0], labels))


@pytest.mark.parametrize(
    ("n_normal", "n_anomalies", "message"),
    [
        (50, 4, r"n_splits=5 .* number of anomalies in y, which is 4\..*Shuffle"),
        (3, 9, r"n_splits=5 .* number of normal rows in y, which is 3\..*Shuffle"),
        (9, 1, r"number of anomalies in y, which is 1\. Lower n_splits\.$"),
        (1, 9, r"number of normal rows in y, which is 1\. Lower n_splits\.$"),
    ],
)
def test_more_folds_than_rows_of_a_kind_are_refused(n_normal, n_anomalies, message):
    y = np.repeat([1, -1], [n_normal, n_anomalies])
    with pytest.raises(ValueError, match=message):
        list(NoveltyKFold(5).split(np.zeros((len(y), 1)), y))


@pytest.mark.parametrize(
    ("n_normal", "n_anomalies", "sizes"),
    [
        (50, 2, {"test_size": 2}),
        (2, 50, {"test_size": 2}),
        (2, 40, {"test_size": 21, "train_size": 2}),
    ],
    ids=["no anomaly to test on", "no normal row to test on", "none to train on"],
)
def test_random_splits_that_lack_a_kind_are_refused(n_normal, n_anomalies, sizes):
    y = np.repeat([1, -1], [n_normal, n_anomalies])
    splitter = NoveltyShuffleSplit(20, **sizes, random_state=0)
    message = (
        f"test_size={sizes['test_size']}, train_size={sizes.get('train_size')} with "
        f"{n_normal} normal rows and {n_anomalies} anomalies leaves a split without"
    )
    with pytest.raises(ValueError, match=message):
        list(splitter.split(np.zeros((len(y), 1)), y))


@pytest.mark.parametrize(
    ("sizes", "n_train", "n_test"),
    [
        ({}, 36, 5),
        ({"test_size": 0.2}, 32, 10),
        ({"train_size": 0.5}, 20, 25),
        ({"train_size": 0.5, "test_size": 0.2}, 20, 10),
        ({"train_size": 10, "test_size": 5}, 8, 5),
    ],
    ids=str,
)
def test_random_splits_have_the_requested_sizes(sizes, n_train, n_test):
    y = np.repeat([1, -1], [40, 10])
    splits = NoveltyShuffleSplit(3, **sizes, random_state=0).split(np.zeros(50), y)
    found = [(len(train), len(test)) for train, test in splits]
    assert found == [(n_train, n_test)] * 3


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(random_state=0),
        LocalOutlierFactor(novelty=True),
        OneClassSVM(),
        AnoGANDetector(max_iter=60, hidden_layer_sizes=(16,), random_state=0),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_any_detector_can_be_cross_validated(detector, blobs):
    found = cross_val_score(
        detector,
        *blobs,
        cv=NoveltyKFold(2),
        scoring=outlier_roc_auc_scorer,
        error_score="raise",
    )
    assert np.all(found > 0.85)


def test_a_grid_search_scores_detectors_that_were_fitted_on_normal_rows(blobs):
    X, y = blobs
    search = GridSearchCV(
        IsolationForest(random_state=0, n_estimators=20),
        {"max_samples": [16, 128]},
        cv=NoveltyKFold(3),
        scoring=outlier_roc_auc_scorer,
        refit=False,
    ).fit(X, y)
    train, test = next(NoveltyKFold(3).split(X, y))
    forest = IsolationForest(random_state=0, n_estimators=20, max_samples=16)
    decision = forest.fit(X[train]).decision_function(X[test])
    first = search.cv_results_["split0_test_score"][0]
    assert first == roc_auc_score(y[test], decision)


# Detectors as classifiers -------------------------------------------------------


class Recorder(IsolationForest):
    """Count fits, and keep what the last fit received."""

    n_fits = 0

    def fit(self, X, y=None, sample_weight=None):
        Recorder.n_fits += 1
        self.rows_ = X
        self.weights_ = sample_weight
        return super().fit(X, y, sample_weight)


class KeywordRecorder(OutlierMixin, BaseEstimator):
    """Keep the keyword arguments of `fit`."""

    def fit(self, X, y=None, **keywords):
        if keywords.get("fail"):
            raise ValueError("fail was passed")
        self.keywords_ = keywords
        return self

    def decision_function(self, X):
        return np.ones(len(X))


@pytest.fixture
def classifier():
    return NoveltyClassifier(Recorder(n_estimators=30, random_state=0))


def test_the_detector_is_fitted_on_normal_rows_and_their_weights(classifier, blobs):
    X, y = blobs
    classifier.fit(X, y, sample_weight=np.arange(len(X)))
    assert np.array_equal(classifier.estimator_.rows_, X[y == 1])
    assert np.array_equal(classifier.estimator_.weights_, np.arange(len(X))[y == 1])


def test_fit_parameters_with_one_value_per_row_are_reduced_to_normal_rows():
    y = np.array([1, -1, 1, 1, -1])
    cut = {"weights": np.arange(5.0), "table": pd.DataFrame({"a": range(5)})}
    whole = {
        "number": 3.0,
        "nothing": None,
        "text": "right",
        "names": ["a", "b"],
        "edges": np.arange(6),
        "matrix": np.zeros((3, 5)),
    }
    classifier = NoveltyClassifier(KeywordRecorder())
    classifier.fit(np.zeros((5, 1)), y, **cut, **whole)
    received = classifier.estimator_.keywords_
    assert received["weights"].tolist() == [0, 2, 3]
    assert received["table"].index.tolist() == [0, 2, 3]
    for name, value in whole.items():
        assert received[name] is value


def test_a_failed_second_fit_leaves_the_classifier_as_it_was(blobs):
    classifier = NoveltyClassifier(KeywordRecorder()).fit(*blobs)
    before = dict(vars(classifier))
    with pytest.raises(ValueError, match="fail was passed"):
        classifier.fit(*blobs, fail=True)
    with pytest.raises(ValueError, match="y holds"):
        classifier.fit(blobs[0], blobs[1] + 1)
    assert vars(classifier) == before


def test_the_classifier_returns_the_outputs_of_the_detector(classifier, blobs):
    X, y = blobs
    forest = IsolationForest(n_estimators=30, random_state=0).fit(X[y == 1])
    classifier.fit(X, y)
    for name in ("predict", "decision_function", "score_samples"):
        assert np.array_equal(getattr(classifier, name)(X), getattr(forest, name)(X))


def test_it_is_a_binary_classifier_with_classes_minus_1_and_1(classifier, blobs):
    assert is_classifier(classifier)
    assert classifier.fit(*blobs).classes_.tolist() == [-1, 1]
    assert classifier.n_features_in_ == 2
    X, y = blobs
    assert classifier.score(X, y) == np.mean(classifier.predict(X) == y)


def test_the_classifier_has_score_samples_only_if_the_detector_has_it():
    class Plain:
        def fit(self, X):
            return self

        def decision_function(self, X):
            return np.zeros(len(X))

    assert not hasattr(NoveltyClassifier(Plain()), "score_samples")
    assert hasattr(NoveltyClassifier(IsolationForest()), "score_samples")


def test_feature_names_are_those_of_the_detector(classifier, blobs):
    X, y = blobs
    table = pd.DataFrame(X, columns=["a", "b"])
    classifier.fit(table, pd.Series(y))
    assert classifier.feature_names_in_.tolist() == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.predict(table)


def test_feature_attributes_exist_only_after_fit(classifier, blobs):
    X, y = blobs
    assert not hasattr(classifier, "n_features_in_")
    assert not hasattr(classifier, "feature_names_in_")
    with pytest.raises(NotFittedError):
        classifier.n_features_in_  # noqa: B018
    classifier.fit(X, y)
    assert classifier.n_features_in_ == 2
    assert not hasattr(classifier, "feature_names_in_")


def test_a_second_fit_replaces_the_feature_names(classifier, blobs):
    X, y = blobs
    classifier.fit(pd.DataFrame(X, columns=["a", "b"]), y).fit(X, y)
    assert not hasattr(classifier, "feature_names_in_")
    assert classifier.n_features_in_ == 2
    classifier.fit(pd.DataFrame(X[:, :1], columns=["b"]), y)
    assert classifier.feature_names_in_.tolist() == ["b"]
    assert classifier.n_features_in_ == 1


def test_a_pickle_keeps_fitted_attributes_and_a_clone_drops_them(blobs):
    X, y = blobs
    table = pd.DataFrame(X, columns=["a", "b"])
    forest = IsolationForest(n_estimators=5, random_state=0)
    classifier = NoveltyClassifier(forest).fit(table, y)
    again = pickle.loads(pickle.dumps(classifier))
    assert again.n_features_in_ == 2
    assert again.feature_names_in_.tolist() == ["a", "b"]
    assert np.array_equal(again.predict(table), classifier.predict(table))
    fresh = clone(classifier)
    assert repr(fresh.get_params()) == repr(classifier.get_params())
    assert not hasattr(fresh, "n_features_in_")
    assert not hasattr(fresh, "estimator_")


def test_the_classifier_can_be_fitted_on_normal_rows_only(classifier, blobs):
    X, y = blobs
    classifier.fit(X[y == 1], y[y == 1])
    assert classifier.classes_.tolist() == [-1, 1]


def test_predict_before_fit_raises_not_fitted_error(classifier, blobs):
    with pytest.raises(NotFittedError):
        classifier.predict(blobs[0])


def test_the_classifier_refuses_boolean_labels(classifier, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"np.where\(is_anomaly, -1, 1\)"):
        classifier.fit(X, y == -1)


def test_anomaly_label_0_accepts_labels_0_and_1(blobs):
    X, y = blobs
    forest = IsolationForest(n_estimators=30, random_state=0).fit(X[y == 1])
    classifier = NoveltyClassifier(clone(forest), anomaly_label=0)
    numbered = (y == 1).astype(int)
    for labels, classes in ((numbered, [0, 1]), (y, [-1, 1])):
        classifier.fit(X, labels)
        assert classifier.classes_.tolist() == classes
        assert np.array_equal(
            classifier.predict(X), np.where(forest.predict(X) == 1, *classes[::-1])
        )
    # A bootstrap sample may have no anomaly.
    classifier.fit(X[y == 1], numbered[y == 1])
    assert classifier.classes_.tolist() == [0, 1]


def test_the_error_of_labels_0_and_1_names_anomaly_label(classifier, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"y holds \[0, 1\].*anomaly_label=0"):
        VotingClassifier([("only", classifier)]).fit(X, y)
    with pytest.raises(ValueError, match=r"y holds \[1, 2\]"):
        NoveltyClassifier(IsolationForest(), anomaly_label=0).fit(X, (y == 1) + 1)
    with pytest.raises(ValueError, match="'anomaly_label' parameter"):
        NoveltyClassifier(IsolationForest(), anomaly_label=1).fit(X, y)


def test_an_estimator_without_decision_function_is_refused(blobs):
    with pytest.raises(ValueError, match="'estimator' parameter"):
        NoveltyClassifier(StandardScaler()).fit(*blobs)


def test_the_classifier_can_be_cloned_set_and_pickled(classifier, blobs):
    check_get_params_invariance("NoveltyClassifier", classifier)
    copy = clone(classifier).set_params(estimator__n_estimators=5).fit(*blobs)
    assert len(copy.estimator_.estimators_) == 5
    assert classifier.estimator.n_estimators == 30
    again = pickle.loads(pickle.dumps(NoveltyClassifier(OneClassSVM()).fit(*blobs)))
    assert set(again.predict(blobs[0])) == {-1, 1}


def test_a_tuned_threshold_has_a_higher_f1_than_that_of_the_detector(blobs):
    X, y = blobs
    default = NoveltyClassifier(IsolationForest(random_state=0))
    tuned = TunedThresholdClassifierCV(default, scoring=outlier_f1_scorer)
    found = [
        outlier_f1_score(y[1::2], estimator.fit(X[::2], y[::2]).predict(X[1::2]))
        for estimator in (default, tuned)
    ]
    assert found[1] > found[0] + 0.1


def test_tuning_a_threshold_fits_once_per_fold_and_once_at_the_end(classifier, blobs):
    Recorder.n_fits = 0
    TunedThresholdClassifierCV(
        classifier, scoring=outlier_f1_scorer, thresholds=200, cv=3
    ).fit(*blobs)
    assert Recorder.n_fits == 3 + 1


def test_tuning_the_threshold_of_a_frozen_detector_fits_nothing(blobs):
    X, y = blobs
    detector = Recorder(random_state=0).fit(X[y == 1])
    Recorder.n_fits = 0
    classifier = NoveltyClassifier(FrozenEstimator(detector))
    for tool in (
        TunedThresholdClassifierCV(classifier, scoring=outlier_f1_scorer),
        FixedThresholdClassifier(classifier, threshold=-0.05),
    ):
        assert set(tool.fit(X, y).predict(X)) == {-1, 1}
    assert Recorder.n_fits == 0


def test_a_fixed_threshold_is_compared_with_the_decision_function(classifier, blobs):
    X, y = blobs
    fixed = FixedThresholdClassifier(
        classifier, threshold=-0.1, response_method="decision_function"
    ).fit(X, y)
    decision = classifier.fit(X, y).decision_function(X)
    assert np.array_equal(fixed.predict(X), np.where(decision >= -0.1, 1, -1))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated_probabilities_are_higher_for_anomalies(method, classifier, blobs):
    X, y = blobs
    calibrated = CalibratedClassifierCV(classifier, method=method, cv=3).fit(X, y)
    probability = calibrated.predict_proba(X)[:, 0]
    assert calibrated.classes_.tolist() == [-1, 1]
    assert roc_auc_score(y == -1, probability) > 0.9
    assert probability.mean() == pytest.approx(1 / 11, abs=0.03)


def test_a_pipeline_with_a_detector_of_this_package_can_be_the_estimator(blobs):
    X, y = blobs
    detector = AnoGANDetector(max_iter=60, hidden_layer_sizes=(16,), random_state=0)
    pipeline = make_pipeline(StandardScaler(), detector)
    classifier = NoveltyClassifier(pipeline).fit(X, y)
    expected = make_pipeline(StandardScaler(), clone(detector))
    expected.fit(X[y == 1], y[y == 1])
    assert np.array_equal(classifier.predict(X), expected.predict(X))
    assert np.array_equal(
        classifier.decision_function(X), expected.decision_function(X)
    )


@pytest.mark.parametrize("value", [[[1], [1, 2]], sparse.eye(3).tocsr()])
def test_a_fit_parameter_of_another_length_is_passed_as_it_is(value):
    X, y = np.random.RandomState(0).normal(size=(20, 2)), np.repeat([1, -1], 10)
    classifier = NoveltyClassifier(KeywordRecorder()).fit(X, y, given=value)
    assert classifier.estimator_.keywords_["given"] is value


def test_sample_weight_is_routed_to_the_detector():
    X = np.random.RandomState(0).normal(size=(60, 2))
    X[40:] += 5
    y, weight = np.repeat([1, -1], [40, 20]), np.arange(1.0, 61.0)
    with config_context(enable_metadata_routing=True):
        inner = Recorder(n_estimators=5).set_fit_request(sample_weight=True)
        scorer = make_scorer(
            outlier_roc_auc_score, response_method="decision_function"
        ).set_score_request(sample_weight=False)
        found = cross_validate(
            NoveltyClassifier(inner),
            X,
            y,
            params={"sample_weight": weight},
            scoring=scorer,
            cv=NoveltyKFold(2),
            return_estimator=True,
            return_indices=True,
        )
    for fitted, at in zip(found["estimator"], found["indices"]["train"], strict=True):
        assert np.array_equal(fitted.estimator_.weights_, weight[at])


@pytest.mark.parametrize("make", [pl.Series, torch.tensor, pd.Series, list])
def test_labels_of_any_container_are_understood(make):
    # Regression: labels of polars and torch have no numpy.min.
    X = np.random.RandomState(0).normal(size=(20, 2))
    y = np.where(np.arange(20) < 5, -1, 1)
    classifier = NoveltyClassifier(IsolationForest(random_state=0)).fit(X, make(y))
    assert classifier.classes_.tolist() == [-1, 1]

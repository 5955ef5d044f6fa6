"""Metrics and scorers of anomalies."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_validate

from skanogan import metrics
from skanogan.model_selection import NoveltyClassifier, NoveltyKFold

# In order of abnormality: anomaly, normal, anomaly, normal, normal.
Y = [-1, 1, -1, 1, 1]
DECISION = [-0.9, -0.4, -0.1, 0.3, 0.8]
RANKED = {
    "outlier_average_precision": (1 / 1 + 2 / 3) / 2,
    "outlier_roc_auc": (3 + 2) / 6,
    "outlier_recall": 1 / 2,
}
LABELLED = {"outlier_f1": 2 * (2 / 3) * 1 / (2 / 3 + 1)}
NAMES = [*RANKED, *LABELLED]


def function(name):
    return getattr(metrics, f"{name}_score")


def scorer(name):
    return getattr(metrics, f"{name}_scorer")


def decision_or_labels(name):
    return DECISION if name in RANKED else np.where(np.array(DECISION) < 0, -1, 1)


@pytest.fixture
def blobs():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(size=(200, 2)), rng.normal(3, 1, size=(20, 2))])
    return X, np.repeat([1, -1], [200, 20])


@pytest.mark.parametrize("name", NAMES)
def test_metrics_of_five_rows_are_those_computed_by_hand(name):
    expected = {**RANKED, **LABELLED}[name]
    assert function(name)(Y, decision_or_labels(name)) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_scorer_applies_the_metric_to_the_output_of_the_detector(name, blobs):
    X, y = blobs
    forest = IsolationForest(random_state=0).fit(X[y == 1])
    output = forest.decision_function(X) if name in RANKED else forest.predict(X)
    assert scorer(name)(forest, X, y) == function(name)(y, output)
    assert scorer(name)(forest, X, y) > 0.4


@pytest.mark.parametrize("name", RANKED)
def test_a_decision_function_with_the_opposite_sign_has_a_low_score(name, blobs):
    X, y = blobs
    decision = IsolationForest(random_state=0).fit(X[y == 1]).decision_function(X)
    assert function(name)(y, decision) > 0.7
    assert function(name)(y, -decision) < 0.2


def test_anomalies_are_the_positive_class_of_average_precision(blobs):
    X, y = blobs
    decision = IsolationForest(random_state=0).fit(X[y == 1]).decision_function(X)
    found = metrics.outlier_average_precision_score(y, decision)
    assert found == average_precision_score(y == -1, -decision)
    assert found != pytest.approx(average_precision_score(y == 1, decision), abs=0.01)
    assert metrics.outlier_roc_auc_score(y, decision) == roc_auc_score(y, decision)


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_and_a_novelty_classifier_of_it_have_the_same_score(name, blobs):
    X, y = blobs
    forest = IsolationForest(random_state=0).fit(X[y == 1])
    classifier = NoveltyClassifier(IsolationForest(random_state=0)).fit(X, y)
    assert scorer(name)(classifier, X, y) == scorer(name)(forest, X, y)


def test_recall_is_that_of_the_best_threshold_with_few_enough_false_alarms(blobs):
    X, y = blobs
    decision = IsolationForest(random_state=0).fit(X[y == 1]).decision_function(X)
    for rate in (0.0, 0.013, 0.05, 0.5, 1.0):
        found = max(
            np.mean(decision[y == -1] < threshold)
            for threshold in (*decision, np.inf)
            if np.mean(decision[y == 1] < threshold) <= rate
        )
        recall = metrics.outlier_recall_score(y, decision, max_false_alarm_rate=rate)
        assert recall == pytest.approx(found)


def test_recall_finds_all_rows_of_a_tie_or_none():
    # One anomaly and one of two normal rows have the score -1.
    y, decision = [-1, 1, 1], [-1, -1, 0]
    assert metrics.outlier_recall_score(y, decision, max_false_alarm_rate=0.4) == 0
    assert metrics.outlier_recall_score(y, decision, max_false_alarm_rate=0.5) == 1


@pytest.mark.parametrize("rate", [-0.1, 1.5, np.nan])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError, match=r"max_false_alarm_rate=.*from 0 to 1"):
        metrics.outlier_recall_score(Y, DECISION, max_false_alarm_rate=rate)


@pytest.mark.parametrize("name", NAMES)
def test_an_integer_weight_equals_repetition_of_the_row(name):
    weights = [1, 2, 3, 1, 2]
    output = np.asarray(decision_or_labels(name))
    weighted = function(name)(Y, output, sample_weight=weights)
    repeated = function(name)(np.repeat(Y, weights), np.repeat(output, weights))
    assert weighted == pytest.approx(repeated)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0, 1, 1], r"y holds \[0, 1\].*np.where\(is_anomaly, -1, 1\)"),
        (["a", "b", "a", "b", "b"], r"y holds \['a', 'b'\]"),
        (None, "y is None"),
        ([1, -1], "inconsistent numbers of samples"),
    ],
)
def test_labels_other_than_1_and_minus_1_are_refused(name, labels, message):
    with pytest.raises(ValueError, match=message):
        function(name)(labels, decision_or_labels(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", [1, -1])
def test_rows_of_one_label_give_nan_and_a_warning_at_the_line_of_the_caller(
    name, label
):
    output = decision_or_labels(name)
    with pytest.warns(UndefinedMetricWarning, match=f"holds no {-label},") as warned:
        assert np.isnan(function(name)([label] * 5, output))
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", [1, -1])
def test_rows_of_weight_0_are_ignored(name, label):
    weight, output = np.asarray(Y) == label, decision_or_labels(name)
    with pytest.warns(UndefinedMetricWarning, match=f"holds no {-label},"):
        assert np.isnan(function(name)(Y, output, sample_weight=weight))


def test_training_scores_of_a_search_are_nan(blobs):
    search = GridSearchCV(
        IsolationForest(random_state=0),
        {"n_estimators": [5, 20]},
        cv=NoveltyKFold(2),
        scoring=scorer("outlier_roc_auc"),
        return_train_score=True,
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        search.fit(*blobs)
    assert np.all(search.cv_results_["mean_test_score"] > 0.9)
    assert np.all(np.isnan(search.cv_results_["mean_train_score"]))


def test_predictions_other_than_1_and_minus_1_are_refused():
    with pytest.raises(ValueError, match=r"y_pred holds \[0, 1\]"):
        metrics.outlier_f1_score(Y, [0, 1, 1, 0, 0])


def test_all_scorers_work_in_one_cross_validation(blobs):
    X, y = blobs
    scoring = {name: scorer(name) for name in NAMES}
    scoring["recall at 20 %"] = make_scorer(
        metrics.outlier_recall_score,
        response_method="decision_function",
        max_false_alarm_rate=0.2,
    )
    found = cross_validate(
        IsolationForest(random_state=0),
        X,
        y,
        cv=NoveltyKFold(4),
        scoring=scoring,
        error_score="raise",
    )
    for name in scoring:
        assert found[f"test_{name}"].shape == (4,)
        assert np.all(found[f"test_{name}"] > 0.3)
    assert np.all(found["test_recall at 20 %"] >= found["test_outlier_recall"])

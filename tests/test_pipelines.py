"""Detectors in scikit-learn's pipelines, ensembles, searches and displays."""

import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import sklearn
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    validation_curve,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skanogan.conformal import ConformalDetector
from skanogan.metrics import (
    outlier_average_precision_score,
    outlier_average_precision_scorer,
    outlier_f1_score,
    outlier_f1_scorer,
    outlier_recall_scorer,
    outlier_roc_auc_score,
    outlier_roc_auc_scorer,
)
from skanogan.model_selection import NoveltyClassifier, NoveltyKFold


@pytest.fixture
def table():
    """160 normal rows of four columns, and 20 anomalies that differ in the last two."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(180, 4))
    X[-20:, 2:] += 4
    y = np.repeat([1, -1], [160, 20])
    order = rng.permutation(180)
    return X[order], y[order]


@pytest.fixture
def detector(make_detector):
    return make_detector(max_iter=60)


@pytest.fixture
def member(detector):
    """A detector as a member of an ensemble of classifiers."""
    # Twenty held-out rows calibrate "auto" only roughly, and a bag has rows twice.
    detector = detector.set_params(contamination=0.01, n_neighbors=0)
    return NoveltyClassifier(detector, anomaly_label=0)


@pytest.fixture
def axes():
    return Figure().subplots()


# Pipelines ----------------------------------------------------------------------


def by_columns():
    return ColumnTransformer(
        [("numbers", StandardScaler(), list("abcd")), ("kind", OneHotEncoder(), ["k"])]
    )


def by_union():
    return FeatureUnion([("scaled", StandardScaler()), ("components", PCA(2))])


def by_cube_root():
    return FunctionTransformer(np.cbrt)


def by_components():
    return make_pipeline(StandardScaler(), PCA(3))


@pytest.mark.parametrize("prepare", [by_columns, by_union, by_cube_root, by_components])
def test_a_pipeline_scores_as_its_detector_on_transformed_rows(
    prepare, detector, table
):
    X, y = table
    if prepare is by_columns:
        X = pd.DataFrame(X, columns=list("abcd")).assign(k=np.arange(len(X)) % 3)
    pipeline = make_pipeline(prepare(), detector).fit(X, y)
    transformed = prepare().fit(X).transform(X)
    alone = clone(detector).fit(transformed, y)
    assert pipeline[-1].n_features_in_ == transformed.shape[1]
    for method in ("score_samples", "decision_function", "predict"):
        found = getattr(pipeline, method)(X)
        assert np.array_equal(found, getattr(alone, method)(transformed))
    assert outlier_roc_auc_scorer(pipeline, X, y) > 0.9


def test_a_grid_search_sets_parameters_of_all_steps_of_a_pipeline(detector, table):
    X, y = table
    pipeline = make_pipeline(StandardScaler(), PCA(), detector)
    search = GridSearchCV(
        pipeline,
        {"pca__n_components": [1, 4], "anogandetector__n_steps": [0, 2]},
        scoring=outlier_roc_auc_scorer,
        cv=NoveltyKFold(2),
        error_score="raise",
    ).fit(X, y)
    assert search.best_params_["pca__n_components"] == 4
    best = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    assert np.array_equal(search.decision_function(X), best.decision_function(X))


def test_pandas_output_of_transformers_gives_the_same_scores(detector, table):
    X, y = table
    named = pd.DataFrame(X, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), detector)
    plain = clone(pipeline).fit(named, y).score_samples(named)
    with sklearn.config_context(transform_output="pandas"):
        scores = pipeline.fit(named, y).score_samples(named)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    assert isinstance(scores, np.ndarray)
    assert np.array_equal(scores, plain)


# Ensembles ----------------------------------------------------------------------


def test_a_bag_of_seeds_decides_by_the_mean_of_its_members(member, table):
    X, y = table
    ensemble = BaggingClassifier(member, 3, bootstrap=False, random_state=0).fit(X, y)
    seeds = [e.estimator.random_state for e in ensemble.estimators_]
    assert len(set(seeds)) == 3
    alone = [
        clone(member.estimator).set_params(random_state=seed).fit(X, y)
        for seed in seeds
    ]
    mean = np.mean([detector.decision_function(X) for detector in alone], axis=0)
    np.testing.assert_allclose(ensemble.decision_function(X), mean, rtol=1e-12)
    votes = np.mean([detector.predict(X) == -1 for detector in alone], axis=0)
    assert np.array_equal(ensemble.predict(X), np.where(votes > 0.5, -1, 1))


ENSEMBLES = {
    "bagging": lambda member: BaggingClassifier(member, 2, random_state=0),
    "voting": lambda member: VotingClassifier([("a", member), ("b", member)]),
    "stacking": lambda member: StackingClassifier(
        [("a", member), ("b", member)], final_estimator=GaussianNB(), cv=2
    ),
    "calibrated": lambda member: CalibratedClassifierCV(member, cv=2, ensemble=False),
}


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_ensembles_of_scikit_learn_accept_detectors_as_members(kind, member, table):
    X, y = table
    ensemble = ENSEMBLES[kind](member).fit(X, y)
    assert ensemble.classes_.tolist() == [-1, 1]
    assert outlier_f1_score(y, ensemble.predict(X)) > 0.7


def test_cross_val_predict_returns_the_decisions_of_each_fold(member, table):
    X, y = table
    cv = StratifiedKFold(3)
    found = cross_val_predict(member, X, y, cv=cv, method="decision_function")
    train, test = next(cv.split(X, y))
    detector = clone(member.estimator).fit(X[train], y[train])
    assert np.array_equal(found[test], detector.decision_function(X[test]))
    assert outlier_roc_auc_score(y, found) > 0.9


# Searches and inspection --------------------------------------------------------


def test_cross_validate_accepts_several_scorers(detector, table):
    X, y = table
    scoring = {
        "auroc": outlier_roc_auc_scorer,
        "precision": outlier_average_precision_scorer,
        "recall": outlier_recall_scorer,
        "f1": outlier_f1_scorer,
    }
    found = cross_validate(
        make_pipeline(StandardScaler(), detector),
        X,
        y,
        cv=NoveltyKFold(3),
        scoring=scoring,
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    for fold, (fitted, at) in enumerate(
        zip(found["estimator"], found["indices"]["test"], strict=True)
    ):
        for name, scorer in scoring.items():
            assert found[f"test_{name}"][fold] == scorer(fitted, X[at], y[at])
    assert found["test_auroc"].mean() > 0.9


@pytest.fixture
def line():
    """160 normal rows along a line, and 20 anomalies spread in all directions."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(180, 1)) * [1, 1, 1, -1] + rng.normal(0, 0.2, size=(180, 4))
    X[-20:] = rng.normal(size=(20, 4))
    return X, np.repeat([1, -1], [160, 20])


@pytest.fixture
def auto_encoder(make_ocgan):
    """A detector that needs some tens of updates to learn the line."""
    return make_ocgan(
        latent_discriminator=False,
        visual_discriminator=False,
        n_mining_steps=0,
        anomaly_score="reconstruction",
        latent_dim=2,
        learning_rate=1e-2,
    )


def test_halving_gives_more_updates_to_the_better_candidates(auto_encoder, line):
    spent = []

    def scorer(fitted, X, y):
        spent.append((fitted.max_iter, fitted.n_iter_))
        return outlier_roc_auc_scorer(fitted, X, y)

    search = HalvingGridSearchCV(
        auto_encoder,
        {"learning_rate": [1e-4, 1e-2], "latent_dim": [1, 2]},
        resource="max_iter",
        min_resources=10,
        max_resources=40,
        factor=2,
        scoring=scorer,
        cv=NoveltyKFold(2),
        refit=False,
        error_score="raise",
        return_train_score=False,
        random_state=0,
    ).fit(*line)
    # Four candidates, then two, then one, each on two folds.
    assert spent == [(10, 10)] * 8 + [(20, 20)] * 4 + [(40, 40)] * 2
    rounds = [{}, {}, {}]
    for at, params, score in zip(
        *(search.cv_results_[name] for name in ("iter", "params", "mean_test_score")),
        strict=True,
    ):
        rounds[at][params["learning_rate"], params["latent_dim"]] = score
    for before, after in pairwise(rounds):
        best = sorted(before, key=before.get)[-len(after) :]
        assert set(after) == set(best)
    assert set(rounds[1]) == {(1e-2, 1), (1e-2, 2)}


def test_a_validation_curve_equals_separate_cross_validations(auto_encoder, line):
    with warnings.catch_warnings():
        # A validation curve also scores the training rows, which are all normal.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        _, found = validation_curve(
            auto_encoder,
            *line,
            param_name="max_iter",
            param_range=[1, 60],
            cv=NoveltyKFold(2),
            scoring=outlier_roc_auc_scorer,
            error_score="raise",
        )
    for max_iter, scores in zip([1, 60], found, strict=True):
        detector = clone(auto_encoder).set_params(max_iter=max_iter)
        alone = cross_val_score(
            detector, *line, cv=NoveltyKFold(2), scoring=outlier_roc_auc_scorer
        )
        assert np.array_equal(scores, alone)
    assert found[0].max() < 0.8
    assert found[1].min() > 0.9


@pytest.mark.parametrize("named", [False, True])
def test_permutation_importance_finds_the_columns_of_the_anomalies(
    detector, table, named
):
    X, y = table
    if named:
        X = pd.DataFrame(X, columns=list("abcd"))
    importance = permutation_importance(
        detector.fit(X, y),
        X,
        y,
        scoring=outlier_average_precision_scorer,
        n_repeats=3,
        random_state=0,
    ).importances_mean
    assert importance[2:].min() > 2 * np.abs(importance[:2]).max()


# Displays -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["decision_function", "score_samples", "predict"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda detector: detector,
        lambda detector: make_pipeline(StandardScaler(), detector),
        lambda detector: ConformalDetector(detector, alpha=0.1, random_state=0),
    ],
    ids=["detector", "pipeline", "conformal"],
)
def test_a_decision_boundary_shows_the_output_of_the_detector(
    wrap, method, detector, table, axes
):
    X, y = table
    fitted = wrap(detector).fit(X[:, 2:], y)
    display = DecisionBoundaryDisplay.from_estimator(
        fitted, X[:, 2:], grid_resolution=7, response_method=method, ax=axes
    )
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    # The other rows of a batch change the last digits of a score.
    np.testing.assert_allclose(
        display.response.ravel(), getattr(fitted, method)(grid), rtol=1e-9
    )


def test_curves_can_be_drawn_from_a_novelty_classifier(detector, table, axes):
    X, y = table
    classifier = NoveltyClassifier(detector).fit(X, y)
    decision = classifier.decision_function(X)
    roc = RocCurveDisplay.from_estimator(classifier, X, y, pos_label=-1, ax=axes)
    assert roc.roc_auc == pytest.approx(outlier_roc_auc_score(y, decision))
    precision_recall = PrecisionRecallDisplay.from_estimator(
        classifier, X, y, pos_label=-1, ax=axes
    )
    assert precision_recall.average_precision == pytest.approx(
        outlier_average_precision_score(y, decision)
    )


def test_curves_can_be_drawn_from_decisions(detector, table, axes):
    X, y = table
    decision = detector.fit(X, y).decision_function(X)
    roc = RocCurveDisplay.from_predictions(y, -decision, pos_label=-1, ax=axes)
    assert roc.roc_auc == pytest.approx(outlier_roc_auc_score(y, decision))
    precision_recall = PrecisionRecallDisplay.from_predictions(
        y, -decision, pos_label=-1, ax=axes
    )
    assert precision_recall.average_precision == pytest.approx(
        outlier_average_precision_score(y, decision)
    )


@pytest.mark.skipif(
    not hasattr(RocCurveDisplay, "from_cv_results"), reason="scikit-learn >= 1.7"
)
def test_a_curve_can_be_drawn_for_each_fold(detector, table, axes):
    X, y = table
    # scikit-learn requires folds that hold all rows. Those of NoveltyKFold do not.
    found = cross_validate(
        NoveltyClassifier(detector),
        X,
        y,
        cv=StratifiedKFold(2),
        scoring=outlier_roc_auc_scorer,
        return_estimator=True,
        return_indices=True,
    )
    display = RocCurveDisplay.from_cv_results(found, X, y, pos_label=-1, ax=axes)
    assert display.roc_auc == pytest.approx(found["test_score"].tolist())

"""Other libraries that take detectors. docs/clients.md has the recipes."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skanogan.metrics import outlier_roc_auc_score, outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyClassifier, NoveltyKFold


@pytest.fixture
def table():
    """160 normal rows of four columns, and 20 anomalies."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(180, 4))
    X[-20:] += 3
    return X, np.repeat([1, -1], [160, 20])


def test_a_cloudpickle_has_the_same_scores(make_detector, blob):
    cloudpickle = pytest.importorskip("cloudpickle")
    detector = make_detector().fit(blob)
    copy = cloudpickle.loads(cloudpickle.dumps(detector))
    assert np.array_equal(copy.score_samples(blob), detector.score_samples(blob))


def test_optuna_optimises_a_parameter(make_detector, table):
    optuna = pytest.importorskip("optuna")

    def objective(trial):
        detector = make_detector(n_neighbors=trial.suggest_int("n_neighbors", 0, 3))
        return cross_val_score(
            detector, *table, cv=NoveltyKFold(2), scoring=outlier_roc_auc_scorer
        ).mean()

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=2)
    assert study.best_value > 0.8


def test_contributions_of_shap_sum_to_the_decision(make_detector, table):
    shap = pytest.importorskip("shap")
    X, y = table
    detector = make_detector().fit(X, y)
    explainer = shap.explainers.Permutation(detector.decision_function, X[:20], seed=0)
    values = explainer(X[-3:])
    sums = values.base_values + values.values.sum(axis=1)
    np.testing.assert_allclose(sums, detector.decision_function(X[-3:]), rtol=1e-9)


def test_a_pipeline_of_imbalanced_learn_ends_with_a_detector(make_detector, table):
    pipelines = pytest.importorskip("imblearn.pipeline")
    samplers = pytest.importorskip("imblearn.under_sampling")
    X, y = table
    pipeline = pipelines.make_pipeline(
        samplers.RandomUnderSampler(sampling_strategy=0.5, random_state=0),
        NoveltyClassifier(make_detector()),
    ).fit(X, y)
    assert pipeline[-1].estimator_.support_.shape == (40,)
    assert outlier_roc_auc_scorer(pipeline, X, y) > 0.8


def test_transformers_of_feature_engine_stand_before_a_detector(make_detector, table):
    transformation = pytest.importorskip("feature_engine.transformation")
    pandas = pytest.importorskip("pandas")
    frame, y = pandas.DataFrame(table[0], columns=list("abcd")), table[1]
    pipeline = make_pipeline(transformation.YeoJohnsonTransformer(), make_detector())
    assert outlier_roc_auc_scorer(pipeline.fit(frame, y), frame, y) > 0.8


def test_mlflow_opens_what_it_saved_by_cloudpickle(make_detector, blob, tmp_path):
    mlflow = pytest.importorskip("mlflow.sklearn")
    detector = make_detector().fit(blob)
    path = str(tmp_path / "model")
    mlflow.save_model(detector, path, serialization_format="cloudpickle")
    copy = mlflow.load_model(path)
    assert np.array_equal(copy.score_samples(blob), detector.score_samples(blob))


def test_skops_holds_no_fitted_detector(make_detector, blob):
    # If this fails, docs/clients.md and docs/saving.md can offer skops.
    skops = pytest.importorskip("skops.io")
    with pytest.raises(RuntimeError, match="Cannot directly construct TensorBase"):
        skops.dumps(make_detector().fit(blob))


def test_ada_boost_fits_detectors_with_weights(make_detector, table):
    member = NoveltyClassifier(make_detector())
    booster = AdaBoostClassifier(member, n_estimators=3, random_state=0).fit(*table)
    assert len(booster.estimators_) == 3
    scores = [e.estimator_.score_samples(table[0]) for e in booster.estimators_]
    assert not np.array_equal(*scores[:2])  # the second fit has other weights


def test_weights_are_routed_through_a_pipeline_and_a_classifier(make_detector, table):
    X, y = table
    weights = np.linspace(1, 3, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        detector = make_detector().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, NoveltyClassifier(detector))
        pipeline.fit(X, y, sample_weight=weights)
    scaled = pipeline[0].transform(X)
    expected = NoveltyClassifier(make_detector()).fit(scaled, y, sample_weight=weights)
    assert np.array_equal(pipeline.score_samples(X), expected.score_samples(scaled))


def test_soft_voting_asks_for_probabilities_which_calibration_provides(
    make_detector, table
):
    member = NoveltyClassifier(make_detector(), anomaly_label=0)
    with pytest.raises(AttributeError, match="predict_proba"):
        VotingClassifier([("a", member)], voting="soft").fit(*table).predict(table[0])


class Scorer(torch.nn.Module):
    """From rows to scores, as in docs/clients.md."""

    def __init__(self, detector):
        super().__init__()
        self.model = detector.model_

    def forward(self, rows):
        return -self.model.score(rows)


@pytest.mark.parametrize("data", ["blob", "zeros"])
@pytest.mark.parametrize("make", ["make_detector", "make_fanogan", "make_ocgan"])
def test_an_exported_program_computes_the_scores(make, data, request):
    X = request.getfixturevalue(data)
    detector = request.getfixturevalue(make)().fit(X)
    rows = torch.from_numpy(X)
    rows = rows if X.ndim == 2 else rows[:, None]
    any_number = ({0: torch.export.Dim("n")},)
    with torch.no_grad():
        program = torch.export.export(
            Scorer(detector), (rows[:8],), dynamic_shapes=any_number
        )
        scores = program.module()(rows)
    np.testing.assert_allclose(scores, detector.score_samples(X), rtol=1e-6)


@pytest.mark.parametrize("make", ["make_detector", "make_fanogan", "make_ocgan"])
def test_decisions_of_several_folds_have_one_scale(make, request, table):
    X, y = table
    detector = request.getfixturevalue(make)(max_iter=60, random_state=0)
    classifier, cv = NoveltyClassifier(detector, anomaly_label=0), StratifiedKFold(4)
    pooled = cross_val_predict(classifier, X, y, cv=cv, method="decision_function")
    folds = [outlier_roc_auc_score(y[test], pooled[test]) for _, test in cv.split(X, y)]
    # Four fits, each with a threshold from some thirty held-out rows.
    assert outlier_roc_auc_score(y, pooled) > np.mean(folds) - 0.02

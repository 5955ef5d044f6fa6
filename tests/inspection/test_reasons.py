import numpy as np
import pandas as pd
import polars as pl
import pytest
from cheap import cheap
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skanogan import AnoGANDetector, OCGANDetector
from skanogan.inspection import explain


class Furthest:
    """The score of a row is minus its largest absolute value."""

    def score_samples(self, X):
        return -np.abs(np.asarray(X, dtype=float)).max(axis=1)


@pytest.fixture(scope="module")
def shop():
    """Orders of three kinds of article, with gaps; the price follows the kind."""
    rng = np.random.RandomState(0)
    kind = rng.choice(["book", "desk", "lamp"], 300)
    base = pd.Series(kind).map({"book": 10.0, "desk": 300.0, "lamp": 50.0})
    X = pd.DataFrame(
        {
            "kind": pd.Categorical(kind),
            "price": base * rng.uniform(0.9, 1.1, 300),
            "n": rng.randint(1, 4, 300),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(300), "D"),
        }
    )
    X["weight"] = base / 10 + rng.normal(0, 0.1, 300)
    X.loc[::17, "weight"] = np.nan
    return X


@pytest.fixture(scope="module")
def pipeline(shop):
    """Fills gaps, encodes the kind, and leaves the date out."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        make_column_transformer(
            (numbers, ["price", "n", "weight"]),
            (OneHotEncoder(sparse_output=False), ["kind"]),
        ),
        cheap(OCGANDetector, max_iter=0),
    ).fit(shop)


def test_the_changed_column_of_each_row_comes_first(pipeline, shop):
    rows = shop.iloc[:6].copy()
    rows["price"] = [300.0 if kind != "desk" else 10.0 for kind in rows["kind"]]
    reasons = explain(pipeline, rows, shop)
    assert [reasons.feature_names[j] for j in reasons.order[:, 0]] == ["price"] * 6


def test_a_one_hot_group_is_one_reason_under_its_own_name(pipeline, shop):
    is_book = (shop["kind"] == "book") & shop["weight"].notna()
    rows = shop[is_book].iloc[:4].copy()
    rows["kind"] = pd.Categorical(["desk"] * 4, categories=["book", "desk", "lamp"])
    reasons = explain(pipeline, rows, shop)
    assert reasons.feature_names == ["kind", "price", "n", "day", "weight"]
    assert [reasons.feature_names[j] for j in reasons.order[:, 0]] == ["kind"] * 4
    assert list(reasons.normal_values["kind"]) == ["book"] * 4


def test_a_column_that_the_pipeline_drops_is_no_reason(pipeline, shop):
    reasons = explain(pipeline, shop.iloc[:5], shop)
    found = reasons.contributions[:, reasons.feature_names.index("day")]
    assert (found == 0).all()


def test_normal_values_have_the_types_of_the_rows(pipeline, shop):
    reasons = explain(pipeline, shop.iloc[:5], shop)
    assert (reasons.normal_values.dtypes == shop.dtypes).all()
    assert reasons.values.equals(shop.iloc[:5])


def test_a_gap_where_normal_rows_have_values_can_be_a_reason():
    X = pd.DataFrame({"a": [1.0, 1.5, 2.0] * 20, "b": [1.0, 1.5, 2.0] * 20})
    fill = SimpleImputer(strategy="constant", fill_value=50.0)
    estimator = make_pipeline(fill, IsolationForest(random_state=0)).fit(X)
    rows = pd.DataFrame({"a": [np.nan], "b": [1.5]})
    reasons = explain(estimator, rows, X)
    assert reasons.order[0, 0] == 0
    assert reasons.normal_values.iloc[0, 0] == 1.5


def test_a_column_without_any_value_in_the_rows_keeps_the_type_of_normal_rows(shop):
    rows = shop.iloc[:2].copy()
    rows["kind"] = None
    rows["n"] = np.nan
    dtypes = []

    class Recorder:
        def score_samples(self, X):
            dtypes.append(X.dtypes)
            return np.zeros(len(X))

    reasons = explain(Recorder(), rows, shop)
    assert all(found["kind"] == "category" for found in dtypes)
    assert reasons.normal_values["kind"].notna().all()
    assert reasons.normal_values["n"].notna().all()


def test_the_contribution_is_what_the_score_gains_by_the_normal_value():
    X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    reasons = explain(Furthest(), [[9.0, 1.0]], X, n_neighbors=3)
    np.testing.assert_allclose(reasons.scores, [-9.0])
    np.testing.assert_allclose(reasons.normal_values, [[1.0, 1.0]])
    np.testing.assert_allclose(reasons.contributions, [[8.0, 0.0]])


@pytest.mark.parametrize("container", [np.asarray, np.ndarray.tolist, pd.DataFrame])
def test_reasons_do_not_depend_on_the_container(container):
    rng = np.random.RandomState(0)
    X, rows = rng.normal(size=(50, 3)), rng.normal(size=(4, 3))
    expected = explain(Furthest(), rows, X)
    found = explain(Furthest(), container(rows), container(X))
    np.testing.assert_array_equal(found.contributions, expected.contributions)


def test_polars_frames_give_the_same_reasons(shop):
    numbers = shop[["price", "n"]]
    forest = IsolationForest(random_state=0).fit(numbers)
    normal = pl.DataFrame(numbers.to_dict("list"))
    reasons = explain(forest, normal[:5], normal)
    expected = explain(forest, numbers[:5], numbers)
    np.testing.assert_array_equal(reasons.contributions, expected.contributions)
    assert isinstance(reasons.normal_values, pl.DataFrame)
    assert list(reasons.to_frame(1)["value"]) == list(expected.to_frame(1)["value"])


def test_reasons_do_not_depend_on_units_or_on_other_rows():
    rng = np.random.RandomState(0)
    X, rows = rng.normal(size=(60, 3)), rng.normal(size=(7, 3))
    unit = np.array([1.0, 1e6, 1e-6])

    class InUnits:
        def score_samples(self, X):
            return Furthest().score_samples(np.asarray(X) / unit)

    expected = explain(Furthest(), rows, X).contributions
    scaled = explain(InUnits(), rows * unit, X * unit).contributions
    np.testing.assert_allclose(scaled, expected, rtol=1e-12)
    alone = [explain(Furthest(), rows[[i]], X).contributions[0] for i in range(7)]
    np.testing.assert_array_equal(alone, expected)


def test_many_rows_are_explained_in_chunks_with_the_same_result(monkeypatch):
    rng = np.random.RandomState(0)
    X, rows = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    expected = explain(Furthest(), rows, X).contributions
    monkeypatch.setattr("skanogan.inspection._reasons.CHUNK", 100)
    monkeypatch.setattr("skanogan.inspection._reasons.SCORED", 7)
    found = explain(Furthest(), rows, X).contributions
    np.testing.assert_array_equal(found, expected)


def test_at_most_max_normal_rows_are_looked_at():
    X = np.array([[0.0], [5.0], [9.0]])
    reasons = explain(Furthest(), [[20.0]], X, max_normal=1)
    assert reasons.normal_values[0, 0] == 0.0


def test_a_search_and_any_detector_can_be_explained():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(160, 3))
    search = GridSearchCV(
        cheap(AnoGANDetector),
        {"max_iter": [0, 1]},
        scoring=lambda detector, X, y=None: detector.score_samples(X).mean(),
        cv=2,
    ).fit(X)
    reasons = explain(search, [[0.0, 30.0, 0.0]], X)
    assert reasons.order[0, 0] == 1


def test_the_list_has_the_main_reasons_with_the_index_of_the_rows(pipeline, shop):
    rows = shop.iloc[:2].set_axis(["first", "second"])
    frame = explain(pipeline, rows, shop).to_frame(2)
    assert list(frame["row"]) == ["first", "first", "second", "second"]
    assert list(frame.columns) == [
        "row",
        "score",
        "feature",
        "value",
        "normal value",
        "contribution",
    ]
    assert (frame["contribution"].diff()[1::2] <= 0).all()


def test_reasons_say_how_to_list_them(pipeline, shop):
    assert "to_frame() lists them" in repr(explain(pipeline, shop.iloc[:2], shop))


def test_rows_that_do_not_fit_together_are_refused(shop):
    X = shop[["price", "n"]]
    with pytest.raises(ValueError, match="X_normal has no column 'n', which X has"):
        explain(Furthest(), X, X[["price"]])
    with pytest.raises(TypeError, match="X is a data frame and X_normal is ndarray"):
        explain(Furthest(), X, X.to_numpy())
    with pytest.raises(ValueError, match="X has 2 columns and X_normal has 3"):
        explain(Furthest(), np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3\).*anomaly_map"):
        explain(Furthest(), np.zeros((2, 3, 3)), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="X_normal has no rows"):
        explain(Furthest(), X, X.iloc[:0])
    with pytest.raises(TypeError, match="StandardScaler has no scores"):
        explain(StandardScaler(), X, X)

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor


@pytest.fixture(autouse=True)
def package_detectors(monkeypatch):
    """A stand-in for the package's own, which take longer than these tests should."""
    paths = {"PackageDetector": "sklearn.neighbors:LocalOutlierFactor"}
    monkeypatch.setattr(
        "skanogan.benchmark._detectors._package_paths", lambda: dict(paths)
    )


@pytest.fixture
def table(tmp_path):
    """A file as ADBench ships them: 60 normal rows around 0, 20 anomalies around 6."""
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal(size=(60, 3)), rng.normal(6, 1, size=(20, 3))])
    path = tmp_path / "blob.npz"
    np.savez(path, X=X, y=np.repeat([0, 1], [60, 20]).astype(np.uint8))
    return path


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's own, importable as `own_detectors`."""
    code = """
import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.ensemble import IsolationForest


class Distance(OutlierMixin, BaseEstimator):
    def __init__(self, radius=3.0, random_state=None, device="auto"):
        self.radius = radius
        self.random_state = random_state
        self.device = device

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def decision_function(self, X):
        return self.radius - np.linalg.norm(X - self.mean_, axis=1)

    def predict(self, X):
        return np.where(self.decision_function(X) < 0, -1, 1)


class LikePyOD(BaseEstimator):
    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        self.decision_scores_ = self.decision_function(X)
        self.threshold_ = np.percentile(self.decision_scores_, 90)
        return self

    def decision_function(self, X):
        return np.linalg.norm(X - self.mean_, axis=1)

    def predict(self, X):
        return (self.decision_function(X) > self.threshold_).astype(int)


class Counting(Distance):
    fits = 0

    def fit(self, X, y=None):
        Counting.fits += 1
        return super().fit(X)


class Fails(Distance):
    def fit(self, X, y=None):
        raise RuntimeError("the network has diverged")


class EndsItsProcess(Distance):
    def fit(self, X, y=None):
        import os

        os._exit(1)


class GivesNaN(Distance):
    def decision_function(self, X):
        return np.full(len(X), np.nan)


class OtherLabels(Distance):
    def predict(self, X):
        return (super().predict(X) == -1).astype(int)


class TakesImages(Distance):
    seen = []

    def fit(self, X, y=None):
        TakesImages.seen.append((X.shape, X.dtype))
        return super().fit(X.reshape(len(X), -1))

    def decision_function(self, X):
        return super().decision_function(X.reshape(len(X), -1))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class FlatOnly(Distance):
    seen = []

    def fit(self, X, y=None):
        FlatOnly.seen.append((X.shape, X.dtype))
        return super().fit(X)


def pipeline():
    return make_pipeline(StandardScaler(), IsolationForest(n_estimators=5))
"""
    (tmp_path / "own_detectors.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_detectors", raising=False)
    import own_detectors

    # Worker processes that another test left behind know nothing of this folder.
    get_reusable_executor().shutdown(wait=True)
    yield own_detectors
    get_reusable_executor().shutdown(wait=True)

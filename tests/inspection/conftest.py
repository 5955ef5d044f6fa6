import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _no_figure_is_left_open():
    """Draw without a window, check matplotlib's settings, and close all figures."""
    plt.switch_backend("agg")
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


class StubDetector:
    """A detector with simple outputs, which counts the rows passed to each method."""

    def __init__(self, **fitted):
        self.n_rows_ = {}
        vars(self).update(fitted)

    def fit(self, X, y=None):
        return self

    def _count(self, method, X):
        self.n_rows_[method] = len(X)
        return np.asarray(X)

    def score_samples(self, X):
        return -self._count("score_samples", X).reshape(len(X), -1).max(1)

    def reconstruct(self, X):
        return 0.0 * self._count("reconstruct", X)

    def anomaly_map(self, X):
        X = self._count("anomaly_map", X)
        return X if X.ndim < 4 else X.mean(-1)

    def embed(self, X):
        return self._count("embed", X).reshape(len(X), -1)

    def sample(self, n_samples=1, random_state=None):
        rng = np.random.RandomState(random_state)
        return rng.normal(size=(n_samples, 3))


@pytest.fixture
def stub_detector():
    """Make a stub detector with any fitted attributes."""
    return StubDetector

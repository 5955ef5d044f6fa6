import numpy as np
import pytest
import torch
from studies import search, solvers

from skanogan import AnoGANDetector

# torch itself uses it, for the first forward derivative of a process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)


@pytest.mark.parametrize("data", [["breast_cancer"], ["digits", "--patches", "4"]])
def test_searches_are_compared_on_one_training(
    data, anogan, fanogan, monkeypatch, rows_printed
):
    monkeypatch.setattr(search, "AnoGANDetector", anogan)
    monkeypatch.setattr(search, "FAnoGANDetector", fanogan)
    names = ("nearest, 10 steps", "residual, nearest, no steps")
    chosen = {name: search.SEARCHES[name] for name in names}
    monkeypatch.setattr(search, "SEARCHES", chosen)
    classes = ["--classes", "1"] if "digits" in data else []
    assert search.main([*data, *classes, "--test", "60"]) == 0
    _, *found = rows_printed()
    others = {*search.ENCODERS, *search.SOLVERS, "features alone, no generator"}
    assert {row[0] for row in found} == {*names, *others}
    for row in found:
        assert 0 <= float(row[1]) <= 1
        assert float(row[2]) > 0


def test_every_search_is_one_of_the_detector():
    for parameters in search.SEARCHES.values():
        AnoGANDetector().set_params(**parameters)


@pytest.mark.parametrize("solver", [solvers.gauss_newton, solvers.lbfgs])
def test_solvers_of_second_order_find_the_latent_of_a_linear_map(solver):
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 7, generator=rng).double()
    z = torch.randn(5, 3, generator=rng).double()

    def residuals(z, f):
        return f - z @ mixing

    found = solver(residuals, torch.zeros_like(z), z @ mixing, 30)
    torch.testing.assert_close(found, z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (8, 8)])
def test_a_solver_without_steps_gives_the_score_of_the_detector(shape, anogan):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(70, *(shape or (5,))))
    fitted = anogan(
        scoring_dtype="float64", n_estimators=1, n_neighbors=0, random_state=0
    ).fit(X)

    def stay(residuals, z, target, n_steps):
        return z

    scores = search.solved_scores(X, fitted, stay, 0)
    scale = fitted.model_.scales[0]
    expected = -scale(torch.from_numpy(-scores)).numpy()
    np.testing.assert_allclose(fitted.score_samples(X), expected, rtol=1e-9, atol=1e-9)

"""The scale of scores, taken from normal rows."""

import math

import pytest
import torch

from skanogan.nn._score_scale import ScoreScale


def test_the_rows_of_the_fit_have_mean_0_and_variance_1():
    scores = torch.rand(50, dtype=torch.float64) * 100
    for logarithmic in (False, True):
        scaled = ScoreScale.fit(scores, logarithmic)(scores)
        assert abs(float(scaled.mean())) < 1e-12
        assert float(scaled.var(correction=0)) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_order_of_scores_stays(dtype):
    scores = (torch.rand(500, dtype=torch.float64) * 20).exp().to(dtype)
    scale = ScoreScale.fit(scores[:100], True)
    assert torch.equal(scale(scores).argsort(), scores.argsort())


def test_the_logarithm_is_that_of_the_ratio_to_the_mean():
    scale = ScoreScale.fit(torch.tensor([1.0, 3.0], dtype=torch.float64), True)
    low, high = math.log(0.5 + 0.001), math.log(1.5 + 0.001)
    middle, spread = (low + high) / 2, (high - low) / 2
    found = float(scale(torch.tensor([200.0], dtype=torch.float64)))
    assert found == pytest.approx((math.log(100.001) - middle) / spread)


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0], [2.0], [2.0, 2.0]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_scores_without_a_spread_give_a_finite_scale(scores, logarithmic):
    scale = ScoreScale.fit(torch.tensor(scores), logarithmic)
    low, high = scale(torch.tensor([scores[0], 1e30]))
    assert low == pytest.approx(0, abs=1e-6)
    assert math.isfinite(high)
    assert high > low


def test_rounding_of_equal_rows_is_no_difference():
    rounding = torch.rand(20, dtype=torch.float64) * 1e-8
    scale = ScoreScale.fit(rounding, True)
    assert float(scale(rounding).abs().max()) < 1e-4

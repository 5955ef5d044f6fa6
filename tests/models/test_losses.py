import math

import pytest
import torch
from torch import nn

from skanogan.models._losses import (
    ADVERSARIAL_LOSSES,
    feature_matching,
    gradient_penalty,
    residual,
)
from skanogan.models._prior import Prior

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        (
            "cross_entropy",
            -(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2
            - (math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3))) / 2,
            -(math.log(sigmoid(0.5)) + math.log(sigmoid(-3))) / 2,
        ),
        ("hinge", (0 + 2) / 2 + (1.5 + 0) / 2, -(0.5 - 3) / 2),
        ("least_squares", (1 + 4) / 2 + (0.25 + 9) / 2, (0.25 + 16) / 2),
    ],
)
def test_adversarial_losses_are_those_computed_by_hand(name, discriminator, generator):
    loss = ADVERSARIAL_LOSSES[name]
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(discriminator)
    assert float(loss.generator(FAKE)) == pytest.approx(generator)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_the_game_raises_real_logits_and_lowers_drawn_ones_and_the_generator_raises(
    name,
):
    # Regression: labels of real and drawn rows mixed up.
    loss = ADVERSARIAL_LOSSES[name]
    real, fake = (torch.zeros(3, requires_grad=True) for _ in range(2))
    loss.discriminator(real, fake + 0.1).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fake = torch.zeros(3, requires_grad=True)
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_losses_of_extreme_logits_are_finite(name):
    loss = ADVERSARIAL_LOSSES[name]
    for real, fake in ((1e6, -1e6), (-1e6, 1e6)):
        a, b = torch.tensor([real]), torch.tensor([fake])
        assert torch.isfinite(loss.discriminator(a, b))
        assert torch.isfinite(loss.generator(b))


def test_gradient_penalty_of_a_linear_discriminator_is_its_squared_norm():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, -2.0, 0.0, 3.0]]))
    for rows in (torch.randn(5, 4), torch.randn(5, 1, 2, 2)):
        assert gradient_penalty(network, rows).item() == pytest.approx(14.0)


def test_gradient_penalty_can_be_trained_on():
    network = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    gradient_penalty(network, torch.randn(5, 4)).backward()
    torch.testing.assert_close(network[0].weight.grad, 2 * network[0].weight.detach())


def test_residual_and_feature_matching_are_sums_of_absolute_differences_of_each_row():
    # Regression: means in place of the paper's sums.
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    drawn = torch.tensor([[[[0.0, 4.0], [3.0, 1.0]]], [[[1.0, 1.0], [1.0, -1.0]]]])
    for distance in (residual, feature_matching):
        assert distance(x, drawn).tolist() == [6.0, 4.0]


def test_priors_draw_what_they_are_named_after():
    rng = torch.Generator().manual_seed(0)
    normal = Prior("normal").sample(20_000, 2, rng)
    uniform = Prior("uniform").sample(20_000, 2, rng)
    # 40,000 numbers: five standard errors of a variance are 0.035 and less
    assert float(normal.var()) == pytest.approx(1, abs=0.04)
    assert float(uniform.var()) == pytest.approx(1 / 3, abs=0.01)
    assert uniform.abs().max() <= 1
    for z in (normal, uniform):
        assert float(z.mean()) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_priors_repeat_with_a_seed_and_do_not_touch_the_global_state(name):
    before = torch.get_rng_state()
    first, again = (
        Prior(name).sample(5, 3, torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_penalties_of_priors_are_those_computed_by_hand():
    z = torch.tensor([[3.0, -4.0], [0.5, -0.5]])
    assert Prior("normal").penalty(z).tolist() == [25.0, 0.5]
    assert Prior("uniform").penalty(z).tolist() == [13.0, 0.0]

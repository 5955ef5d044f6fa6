import math

import pytest
import torch
from torch import nn

from skanogan.nn import Prior, discriminator_loss, generator_loss, gradient_penalty

REAL, DRAWN = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def test_adversarial_losses_are_the_cross_entropies_computed_by_hand():
    real = -(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2
    drawn = -(math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3))) / 2
    fooled = -(math.log(sigmoid(0.5)) + math.log(sigmoid(-3))) / 2
    assert float(discriminator_loss(REAL, DRAWN)) == pytest.approx(real + drawn)
    assert float(generator_loss(DRAWN)) == pytest.approx(fooled)


def test_the_discriminator_raises_real_logits_and_lowers_drawn_ones():
    # Regression: labels of real and drawn rows mixed up.
    real, drawn = (torch.zeros(3, requires_grad=True) for _ in range(2))
    discriminator_loss(real, drawn + 0.1).backward()
    assert (real.grad < 0).all()
    assert (drawn.grad > 0).all()


def test_the_generator_raises_drawn_logits():
    drawn = torch.zeros(3, requires_grad=True)
    generator_loss(drawn).backward()
    assert (drawn.grad < 0).all()


def test_losses_of_extreme_logits_are_finite():
    for real, drawn in ((1e6, -1e6), (-1e6, 1e6)):
        a, b = torch.tensor([real]), torch.tensor([drawn])
        assert torch.isfinite(discriminator_loss(a, b))
        assert torch.isfinite(generator_loss(b))


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


def test_priors_draw_from_the_distribution_of_their_name():
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

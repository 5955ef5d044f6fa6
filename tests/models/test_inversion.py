import itertools

import numpy as np
import torch

from skanogan.models._inversion import descend

TARGETS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-4.0, 0.1]], dtype=torch.float64)
START = torch.tensor([[0.2, 0.3], [-1.0, 2.0], [5.0, 0.0]], dtype=torch.float64)


def squared(targets):
    return lambda z: (z - targets).square().sum(1)


def test_the_loss_of_every_row_falls_over_the_steps():
    # Regression: PyOD's AnoGAN takes no search step for a new row.
    loss = squared(TARGETS)
    path = [loss(descend(loss, START, n, 0.05)) for n in (0, 10, 50, 200)]
    for before, after in itertools.pairwise(path):
        assert (after < before).all()


def test_first_step_is_adams_computed_by_hand():
    z = descend(squared(TARGETS), START, 1, 0.05)
    gradient = (2 * (START - TARGETS)).numpy()
    # m / (1 - beta_1) and v / (1 - beta_2) are the gradient and its square at first
    expected = START.numpy() - 0.05 * gradient / (np.abs(gradient) + 1e-8)
    np.testing.assert_allclose(z.numpy(), expected, rtol=1e-12)


def test_three_steps_are_adams_computed_by_hand():
    expected = START.numpy().copy()
    m, v = np.zeros_like(expected), np.zeros_like(expected)
    for t in (1, 2, 3):
        gradient = 2 * (expected - TARGETS.numpy())
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected -= 0.05 * step
    z = descend(squared(TARGETS), START, 3, 0.05)
    np.testing.assert_allclose(z.numpy(), expected, rtol=1e-10)


def test_each_row_is_searched_as_if_it_were_alone():
    # Regression: in other implementations rows share a latent or its optimiser.
    together = descend(squared(TARGETS), START, 40, 0.05)
    for i in range(3):
        alone = descend(squared(TARGETS[i : i + 1]), START[i : i + 1], 40, 0.05)
        assert torch.equal(alone[0], together[i])


def test_the_last_step_is_returned_and_not_the_best():
    # One step too large jumps over the minimum at 0.
    z = descend(lambda z: z.square().sum(1), torch.full((1, 1), 0.01), 1, 1.0)
    assert float(z.abs()) > 0.9


def test_no_steps_return_the_start():
    assert torch.equal(descend(squared(TARGETS), START, 0, 0.05), START)


def test_the_start_is_left_as_it_is():
    start = START.clone()
    descend(squared(TARGETS), start, 5, 0.05)
    assert torch.equal(start, START)
    assert not start.requires_grad


def test_the_search_works_without_grad_mode_and_leaves_it_off():
    with torch.no_grad():
        z = descend(squared(TARGETS), START, 5, 0.05)
        assert not torch.is_grad_enabled()
    assert not z.requires_grad
    assert not torch.equal(z, START)


def test_no_gradient_reaches_the_network():
    network = torch.nn.Linear(2, 2).double()
    descend(lambda z: network(z).square().sum(1), START, 3, 0.05)
    assert all(weight.grad is None for weight in network.parameters())

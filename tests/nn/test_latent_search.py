import itertools

import numpy as np
import pytest
import torch

from skanogan._runtime.device import available_devices
from skanogan.nn import descend
from skanogan.nn._latent_search import _Adam

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
    # At first m / (1 - beta_1) is the gradient and v / (1 - beta_2) its square.
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


def test_the_latents_of_the_last_step_are_returned_and_not_the_best():
    # A step that is too large jumps over the minimum at 0.
    z = descend(lambda z: z.square().sum(1), torch.full((1, 1), 0.01), 1, 1.0)
    assert float(z.abs()) > 0.9


def test_no_steps_return_the_start():
    assert torch.equal(descend(squared(TARGETS), START, 0, 0.05), START)


def test_the_start_is_not_changed():
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


def test_a_long_search_takes_the_steps_of_torchs_adam():
    def quartic(z):
        return ((z - TARGETS) ** 4 + z.sin()).sum(1)

    expected = START.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([expected], lr=0.05)
    for _ in range(25):
        optimizer.zero_grad()
        quartic(expected).sum().backward()
        optimizer.step()
    z = descend(quartic, START, 25, 0.05)
    torch.testing.assert_close(z, expected.detach(), rtol=1e-10, atol=1e-12)


def test_no_gradient_reaches_the_network():
    network = torch.nn.Linear(2, 2).double()
    descend(lambda z: network(z).square().sum(1), START, 3, 0.05)
    assert all(weight.grad is None for weight in network.parameters())


class Watched:
    """Squared distance to a target of each row's own, and the rows of every call."""

    def __init__(self):
        self.n_rows = []

    def __call__(self, z, *targets):
        self.n_rows.append(len(z))
        return sum((z - t.flatten(1)).square().sum(1) for t in targets)


def test_every_row_takes_every_step():
    loss = Watched()
    # At the minimum the gradient is 0, and the steps are taken nevertheless.
    found = descend(loss, TARGETS, 37, 0.05, (TARGETS,))
    assert loss.n_rows == [3] * 37
    assert torch.equal(found, TARGETS)


def test_each_row_is_compared_with_its_own_targets():
    # Two targets per row, one of them of more dimensions, with the minimum between.
    pair = (TARGETS + 1, (TARGETS - 1)[:, :, None])
    found = descend(Watched(), START, 600, 0.05, pair)
    torch.testing.assert_close(found, TARGETS, rtol=0, atol=0.02)


# On CUDA ----------------------------------------------------------------------

on_cuda = pytest.mark.skipif(
    "cuda" not in available_devices(), reason="no cuda device on this machine"
)


@pytest.mark.cuda
@on_cuda
def test_captured_steps_are_the_same_as_others():
    start, targets = START.cuda(), (TARGETS.cuda(),)
    eager = _Adam(Watched(), start.clone(), targets, 0.05)
    for _ in range(12):
        eager._step()
    loss = Watched()
    captured = _Adam(loss, start.clone(), targets, 0.05)
    captured.run(12)
    # Only the warm-up and the capture call the loss, not the twelve replays.
    assert len(loss.n_rows) < 12
    torch.testing.assert_close(captured.z, eager.z, rtol=1e-10, atol=1e-12)


@pytest.mark.cuda
@on_cuda
def test_a_loss_that_waits_for_the_host_is_minimised_without_a_capture():
    def waiting(z, targets):
        return (z - targets).square().sum(1) * float(z.detach().isfinite().all())

    found = descend(waiting, START.cuda(), 12, 0.05, (TARGETS.cuda(),))
    expected = descend(squared(TARGETS), START, 12, 0.05)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-10, atol=1e-12)

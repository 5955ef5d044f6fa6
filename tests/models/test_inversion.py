import itertools

import numpy as np
import pytest
import torch

from skanogan._device import available_devices
from skanogan.models._inversion import CHECK_EVERY, _Adam, descend

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


def test_a_long_search_is_that_of_torchs_adam():
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


# Rows that rest --------------------------------------------------------------


class Watched:
    """Squared distance to a target of each row's own, and the rows of every call."""

    def __init__(self):
        self.n_rows = []

    def __call__(self, z, *targets):
        self.n_rows.append(len(z))
        return sum((z - t.flatten(1)).square().sum(1) for t in targets)


def test_without_a_tolerance_every_row_takes_every_step():
    loss = Watched()
    # At its minimum already, where any tolerance would let it rest
    descend(loss, TARGETS, 37, 0.05, (TARGETS,))
    assert loss.n_rows == [3] * 37


def test_a_row_that_has_settled_leaves_and_the_others_go_on():
    loss = Watched()
    start = START.clone()
    start[1] = TARGETS[1]
    descend(loss, start, 40, 0.05, (TARGETS,), tol=1e-3)
    # The first look has nothing to compare with
    assert loss.n_rows == [3] * 2 * CHECK_EVERY + [2] * 2 * CHECK_EVERY


def test_the_search_ends_once_every_row_has_settled():
    loss = Watched()
    descend(loss, TARGETS, 1000, 0.05, (TARGETS,), tol=1e-3)
    assert len(loss.n_rows) == 2 * CHECK_EVERY


def test_a_row_rests_where_its_loss_fell_by_no_more_than_the_tolerance():
    # Far off, steps of .05 lower the loss of 1e4 by a tenth of a percent a step.
    start, target = torch.full((1, 1), 100.0).double(), torch.zeros(1, 1).double()
    path = [(100 - 0.05 * t) ** 2 for t in range(30)]
    # Between the looks after 10 and 20 steps, at the losses before the last of them
    fell = (path[9] - path[19]) / path[19]
    for tol, steps in ((0.99 * fell, 30), (1.01 * fell, 20)):
        loss = Watched()
        descend(loss, start, 30, 0.05, (target,), tol=tol)
        assert len(loss.n_rows) == steps


def test_steps_that_are_no_multiple_of_the_interval_are_all_taken():
    loss = Watched()
    descend(loss, START, 25, 0.05, (TARGETS,), tol=1e-9)
    assert loss.n_rows == [3] * 25


def test_rows_that_go_on_take_the_steps_they_would_take_without_a_tolerance():
    # Regression: moments or their decays that start anew at a look.
    with_looks = descend(Watched(), START, 25, 0.05, (TARGETS,), tol=1e-9)
    assert torch.equal(with_looks, descend(Watched(), START, 25, 0.05, (TARGETS,)))


@pytest.fixture
def many():
    """Starts at all distances, so that rows rest at different looks, and targets."""
    rng = torch.Generator().manual_seed(0)
    targets = 3 * torch.randn(12, 2, generator=rng, dtype=torch.float64)
    away = torch.randn(12, 2, generator=rng, dtype=torch.float64)
    return targets + torch.linspace(0, 3, 12)[:, None] * away, targets


def test_a_row_alone_rests_where_it_rests_among_others(many):
    start, targets = many
    loss = Watched()
    together = descend(loss, start, 300, 0.05, (targets,), tol=0.05)
    assert len(set(loss.n_rows)) > 3
    for i in range(12):
        row = slice(i, i + 1)
        alone = descend(Watched(), start[row], 300, 0.05, (targets[row],), tol=0.05)
        assert torch.equal(alone[0], together[i])


def test_targets_follow_their_rows_when_others_leave(many):
    start, targets = many
    # Two targets a row, one of them of more dimensions, with the minimum between
    pair = (targets + 1, (targets - 1)[:, :, None])
    found = descend(Watched(), start, 400, 0.05, pair, tol=1e-6)
    torch.testing.assert_close(found, targets, rtol=0, atol=0.02)


def test_a_row_that_momentum_carries_past_its_minimum_comes_back():
    start, target = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    found = descend(Watched(), start, 200, 0.05, (target,), tol=1e-6)
    assert found.abs().item() < 1e-3


def test_a_settled_row_keeps_the_latent_it_had_when_it_left():
    start = START.clone()
    start[1] = TARGETS[1]
    found = descend(Watched(), start, 200, 0.05, (TARGETS,), tol=1e-3)
    assert torch.equal(found[1], TARGETS[1])
    assert not torch.equal(found[0], start[0])


def test_the_start_is_left_as_it_is_where_rows_rest(many):
    start, targets = many
    before = start.clone()
    descend(Watched(), start, 50, 0.05, (targets,), tol=0.05)
    assert torch.equal(start, before)


# On CUDA ----------------------------------------------------------------------

on_cuda = pytest.mark.skipif(
    "cuda" not in available_devices(), reason="no cuda device on this machine"
)


@pytest.mark.cuda
@on_cuda
def test_steps_that_are_captured_are_those_that_are_not():
    start, targets = START.cuda(), (TARGETS.cuda(),)
    eager = _Adam(Watched(), start.clone(), targets, 0.05)
    for _ in range(12):
        eager._step()
    loss = Watched()
    captured = _Adam(loss, start.clone(), targets, 0.05)
    captured.run(12)
    # Warming up and the capture call the loss; the twelve replays do not.
    assert len(loss.n_rows) < 12
    torch.testing.assert_close(captured.z, eager.z, rtol=1e-10, atol=1e-12)


@pytest.mark.cuda
@on_cuda
def test_a_loss_that_waits_for_the_host_is_searched_without_a_capture():
    def waiting(z, targets):
        return (z - targets).square().sum(1) * float(z.detach().isfinite().all())

    found = descend(waiting, START.cuda(), 12, 0.05, (TARGETS.cuda(),))
    expected = descend(squared(TARGETS), START, 12, 0.05)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-10, atol=1e-12)

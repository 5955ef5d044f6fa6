"""Members of one method, trained as one network, and a nearest real row."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skanogan.models import Ensemble, Model
from skanogan.nn import Scaling, adam, build, mlp_generator


class Plain(Model):
    """A linear map that learns to repeat its rows. Its training has no noise."""

    trains_row_by_row = True

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.scaling = Scaling(torch.tensor(0.0).double(), torch.tensor(2.0).double())

    def start_training(self, rng):
        self._optimizer = adam(self.network, 1e-2)

    def train_step(self, x):
        error = self.validation_error(x).mean()
        self._optimizer.zero_grad()
        error.backward()
        self._optimizer.step()
        return {"error": error.detach()}

    def validation_error(self, x):
        scaled = self._scaled(x)
        return (scaled - self.network(scaled)).square().mean(1)

    def training_parts(self):
        return {"optimizer": self._optimizer}

    def finish_training(self):
        del self._optimizer
        self.rest()

    def prepare_scoring(self, x, rng):
        self.floats = len(x)

    @property
    def scores_are_lengths(self):
        return True

    def score(self, x):
        return self.validation_error(x)

    def reconstruct(self, x):
        return self.scaling.inverse(self.network(self._scaled(x)))

    def residual_map(self, x):
        return (self._scaled(x) - self.network(self._scaled(x))).abs()

    def embed(self, x):
        return self._scaled(x)

    def sample(self, n_samples, rng):
        return torch.randn(n_samples, 3, generator=rng).double()

    floats_per_row = 7

    def collapse(self, x):
        return float(self.network[0].bias[0].detach())


class OneByOne(Plain):
    trains_row_by_row = False


def make(kind=Plain, n=3, n_neighbors=0):
    rng = torch.Generator().manual_seed(0)
    networks = [build(lambda: mlp_generator(3, (3,), (8,)), rng) for _ in range(n)]
    return Ensemble([kind(network) for network in networks], n_neighbors)


def rows(n=24, seed=1):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).double()


def trained(ensemble, steps=20, n=24):
    ensemble.train()
    ensemble.start_training(torch.Generator())
    losses = [ensemble.train_step(rows(n, seed)) for seed in range(steps)]
    ensemble.finish_training()
    return ensemble, losses


def prepared(ensemble, n=40):
    ensemble.eval().double()
    ensemble.prepare_scoring(rows(n), torch.Generator())
    if ensemble.n_neighbors:
        ensemble.store(rows(n))
    ensemble.fit_scales(rows(30, 2))
    return ensemble


# Training -----------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [24, 25, 2])
def test_members_trained_as_one_network_are_those_trained_one_by_one(n_rows):
    together, losses = trained(make(Plain), n=n_rows)
    apart, others = trained(make(OneByOne), n=n_rows)
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-4)
    found, expected = (torch.stack([x["error"] for x in y]) for y in (losses, others))
    assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_each_member_is_trained_on_its_own_rows():
    ensemble, _ = trained(make(Plain), steps=3, n=24)
    alone = make(Plain).members[1]
    alone.start_training(torch.Generator())
    for seed in range(3):
        alone.train_step(rows(24, seed)[1::3])
    expected = alone.network.state_dict()
    for name, value in ensemble.members[1].network.state_dict().items():
        assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [Plain, OneByOne])
def test_the_validation_error_of_a_row_is_the_mean_of_the_members(kind):
    ensemble = make(kind)
    ensemble.start_training(torch.Generator())
    x = rows(5)
    expected = torch.stack([m.validation_error(x) for m in ensemble.members]).mean(0)
    assert_close(ensemble.validation_error(x), expected)


def test_one_by_one_each_optimiser_is_a_part_of_the_training():
    ensemble = make(OneByOne)
    ensemble.start_training(torch.Generator())
    names = ["optimizer", "optimizer_1", "optimizer_2"]
    assert list(ensemble.training_parts()) == names


def test_after_the_training_an_ensemble_has_the_state_of_a_new_one():
    ensemble, _ = trained(make())
    assert set(ensemble.state_dict()) == set(make().state_dict())
    assert not any(weight.requires_grad for weight in ensemble.parameters())


# Scoring ------------------------------------------------------------------------


def test_the_score_is_the_mean_of_scaled_scores():
    ensemble, x = prepared(make()), rows(6, 3)
    parts = zip(ensemble.scales, ensemble.members, strict=True)
    expected = sum(scale(member.score(x)) for scale, member in parts) / 3
    assert_close(ensemble.score(x), expected)


@pytest.mark.parametrize("n", [1, 3])
def test_the_nearest_rows_make_half_of_the_score(n):
    with_rows, x = prepared(make(n=n, n_neighbors=2)), rows(6, 3)
    without = prepared(make(n=n)).score(x)
    distances = with_rows.neighbors(with_rows._scaled(x))
    expected = (without + with_rows.scales[-1](distances)) / 2
    assert_close(with_rows.score(x), expected)


def test_a_published_score_of_one_member_is_not_scaled():
    class Published(Plain):
        scores_are_lengths = False

    ensemble, x = prepared(make(Published, n=1)), rows(6)
    assert torch.equal(ensemble.score(x), ensemble.members[0].score(x))


def test_the_reconstruction_is_the_closest_of_all():
    ensemble, x = prepared(make(n_neighbors=1)), rows(6, 3)
    options = [member.reconstruct(x) for member in ensemble.members]
    stored = ensemble.neighbors.closest(ensemble._scaled(x))
    options.append(ensemble.scaling.inverse(stored))
    distances = [(x - option).square().sum(1) for option in options]
    found = (x - ensemble.reconstruct(x)).square().sum(1)
    assert_close(found, torch.stack(distances).min(0).values)
    residual = (ensemble._scaled(x) - ensemble._scaled(ensemble.reconstruct(x))).abs()
    assert_close(ensemble.residual_map(x), residual)


def test_the_feature_map_is_that_of_the_member_with_the_lowest_score():
    ensemble, x = prepared(make()), rows(6, 3)
    parts = zip(ensemble.scales, ensemble.members, strict=True)
    scores = torch.stack([scale(member.score(x)) for scale, member in parts])
    found = ensemble.feature_map(x)
    for i, e in enumerate(scores.argmin(0)):
        assert_close(found[i : i + 1], ensemble.members[e].feature_map(x[i : i + 1]))


def test_samples_come_from_all_members_in_turns():
    ensemble = make()
    found = ensemble.sample(7, torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(0)
    each = [member.sample(3, rng) for member in ensemble.members]
    assert len(found) == 7
    for i in range(7):
        assert torch.equal(found[i], each[i % 3][i // 3])


def test_collapse_is_that_of_the_member_that_collapsed_most():
    ensemble = make()
    assert ensemble.collapse(rows()) == min(
        m.collapse(rows()) for m in ensemble.members
    )


def test_an_ensemble_can_be_copied_while_it_trains():
    ensemble = make()
    ensemble.start_training(torch.Generator())
    ensemble.train_step(rows())
    stopped = copy.deepcopy(ensemble)
    stopped.finish_training()
    ensemble.finish_training()
    for a, b in zip(stopped.parameters(), ensemble.parameters(), strict=True):
        assert torch.equal(a, b)


def test_members_of_other_layers_train_one_by_one():
    members = [
        Plain(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))) for _ in range(2)
    ]
    ensemble = Ensemble(members)
    ensemble.start_training(torch.Generator())
    assert len(ensemble.training_parts()) == 2

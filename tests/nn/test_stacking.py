"""Networks of several members as one, on rows in turns."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skanogan.nn import (
    AutoEncoder,
    build,
    convolutional_generator,
    mlp_decoder,
    mlp_discriminator,
    mlp_encoder,
    mlp_generator,
)
from skanogan.nn._stacking import in_turns, stacked

MLPS = {
    "generator": (lambda: mlp_generator(4, (5,), (6, 7)), (4,)),
    "generator of images": (lambda: mlp_generator(4, (3, 2, 2), (6,)), (4,)),
    "discriminator": (lambda: mlp_discriminator((5,), (6, 7)), (5,)),
    "discriminator of images": (lambda: mlp_discriminator((3, 2, 2), (6,)), (2, 3, 2)),
    "auto-encoder": (
        lambda: AutoEncoder(
            mlp_encoder((5,), 2, (6,), "none"), mlp_decoder(2, (5,), (6,), "none")
        ),
        (5,),
    ),
}


def members(make, n=3):
    rng = torch.Generator().manual_seed(0)
    return [build(make, rng) for _ in range(n)]


@pytest.mark.parametrize("kind", MLPS)
def test_each_row_passes_the_network_of_its_member(kind):
    make, shape = MLPS[kind]
    networks = members(make)
    whole, x = stacked(networks), torch.randn(12, *shape)
    out = whole(x)
    for e, network in enumerate(networks):
        assert_close(out[e::3], network(x[e::3]))


@pytest.mark.parametrize("kind", ["discriminator", "discriminator of images"])
def test_each_row_has_the_features_of_its_member(kind):
    make, shape = MLPS[kind]
    networks = members(make)
    x = torch.randn(6, *shape)
    features = stacked(networks).features(x)
    for e, network in enumerate(networks):
        assert_close(features[e::3], network.features(x[e::3]))


def test_gradients_are_those_of_each_member():
    networks = members(MLPS["discriminator"][0])
    whole, x = stacked(networks), torch.randn(12, 5)
    whole(x).square().sum().backward()
    gradients = {name: weight.grad for name, weight in whole.named_parameters()}
    for e, network in enumerate(networks):
        network(x[e::3]).square().sum().backward()
        for name, weight in network.named_parameters():
            assert_close(gradients[name][e], weight.grad)


def test_the_state_has_the_names_of_one_network_and_copies_of_the_weights():
    networks = members(MLPS["auto-encoder"][0])
    state = stacked(networks).state_dict()
    assert set(state) == set(networks[0].state_dict())
    for e, network in enumerate(networks):
        for name, value in network.state_dict().items():
            assert torch.equal(state[name][e], value)
            assert state[name].data_ptr() != value.data_ptr()


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: convolutional_generator(4, (8, 8, 1), 2),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)),
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3)),
        lambda: Doubled(nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))),
    ],
    ids=["convolutions", "batch norm", "dropout", "a subclass", "spectral norm"],
)
def test_other_layers_are_not_stacked(make):
    assert stacked([make(), make()]) is None


@pytest.mark.parametrize(("n", "expected"), [(6, 6), (7, 9), (1, 3), (2, 3)])
def test_a_batch_is_completed_by_its_first_rows(n, expected):
    x = torch.arange(n)
    rows = in_turns(x, 3)
    assert len(rows) == expected
    assert rows.tolist() == [i % n for i in range(expected)]

import copy

import pytest
import torch
from torch import nn

from skanogan.nn import build, convolutional_generator, mlp_generator
from skanogan.nn._folding import folded


def generator(shape=(9, 12, 1), n_filters=4):
    """In eval mode, in float64, with running statistics other than the initial ones."""
    rng = torch.Generator().manual_seed(0)
    network = build(lambda: convolutional_generator(5, shape, n_filters), rng).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight.data, module.bias.data):
                values.uniform_(0.5, 2, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
    return network.eval().requires_grad_(False)


@pytest.fixture
def latents():
    rng = torch.Generator().manual_seed(1)
    return torch.randn(6, 5, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (9, 12, 1), (13, 8, 3), (28, 28, 1), (33, 32, 2)]
)
def test_folded_generators_draw_the_same_images(shape, latents):
    network = generator(shape)
    drawn = folded(network)(latents)
    torch.testing.assert_close(drawn, network(latents), rtol=1e-10, atol=1e-12)


def test_folded_generators_have_the_same_gradients(latents):
    network = generator()
    gradients = []
    for g in (network, folded(network)):
        z = latents.clone().requires_grad_(True)
        (g(z).square() * torch.arange(108).view(1, 1, 9, 12)).sum().backward()
        gradients.append(z.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


def test_folded_generators_have_no_batch_normalisation():
    network = folded(generator((28, 28, 1)))
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_network_itself_is_not_changed(latents):
    network = generator()
    before = copy.deepcopy(network.state_dict())
    folded(network)(latents)
    assert not any(p.requires_grad for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_biases_before_the_normalisation_are_also_folded(latents):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 12),
        nn.Unflatten(1, (3, 2, 2)),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.ConvTranspose2d(3, 9, 3),
        nn.BatchNorm2d(9, affine=False),
        nn.Tanh(),
    )
    for norm in (network[2], network[5]):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    network.double().eval()
    torch.testing.assert_close(folded(network)(latents), network(latents))
    assert len(list(folded(network))) == 5


def test_a_normalisation_of_the_input_or_after_another_layer_is_not_folded(latents):
    network = nn.Sequential(
        nn.Unflatten(1, (5, 1, 1)),
        nn.BatchNorm2d(5),
        nn.Conv2d(5, 2, 1),
        nn.BatchNorm2d(2),
    )
    network[1].running_mean.fill_(3)
    network[3].running_var.fill_(4)
    network.double().eval()
    torch.testing.assert_close(folded(network)(latents), network(latents))


def test_grouped_and_dilated_convolutions_draw_the_same(latents):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 16),
        nn.Unflatten(1, (4, 2, 2)),
        nn.ConvTranspose2d(4, 4, 2, groups=2),
        nn.BatchNorm2d(4),
        nn.ConvTranspose2d(4, 1, 3, stride=2, dilation=2, padding=1, output_padding=1),
    )
    network[3].running_mean.fill_(0.3)
    network.double().eval()
    torch.testing.assert_close(folded(network)(latents), network(latents))


def test_networks_that_are_not_a_plain_sequence_are_not_folded():
    class Own(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + 1

    own = Own(nn.Linear(2, 2)).eval()
    assert folded(own) is own
    training = generator().train()
    assert folded(training) is training


def test_an_mlp_draws_the_same_rows(latents):
    rng = torch.Generator().manual_seed(0)
    network = build(lambda: mlp_generator(5, (7,), (8,)), rng).double().eval()
    assert torch.equal(folded(network)(latents), network(latents))

import itertools

import pytest
import torch
from torch import nn

from skanogan import nn as networks
from skanogan.nn._networks import hidden_outputs

SIZES = [*itertools.product(range(8, 19), range(8, 19)), (28, 28), (33, 64), (8, 65)]


def generator(shape, seed=0, n_filters=2, latent_dim=3):
    rng = torch.Generator().manual_seed(seed)
    return networks.build(
        lambda: networks.convolutional_generator(latent_dim, shape, n_filters), rng
    )


def discriminator(shape, seed=0, n_filters=2):
    rng = torch.Generator().manual_seed(seed)
    return networks.build(
        lambda: networks.convolutional_discriminator(shape, n_filters), rng
    )


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_convolutional_networks_take_images_of_every_size_from_8_by_8(channels):
    for height, width in SIZES:
        shape = (height, width, channels)
        drawn = generator(shape).eval()(torch.zeros(2, 3))
        assert drawn.shape == (2, channels, height, width), shape
        network = discriminator(shape)
        assert network(drawn).shape == (2,), shape
        assert network.features(drawn).ndim == 2, shape


@pytest.mark.parametrize(
    ("size", "smallest"),
    [((8, 8), (4, 4)), ((28, 28), (7, 7)), ((9, 17), (4, 8)), ((64, 64), (4, 4))],
)
def test_images_are_halved_until_a_side_is_7_or_less(size, smallest):
    network = discriminator((*size, 1))
    n_maps = network.features(torch.zeros(1, 1, *size)).shape[1] / (
        smallest[0] * smallest[1]
    )
    assert n_maps == 2 * 2 ** (len(network.blocks) - 1)


def test_drawn_pixels_lie_between_minus_1_and_1():
    drawn = generator((8, 8, 1))(100 * torch.randn(50, 3))
    assert drawn.abs().max() <= 1


def test_logits_are_not_bounded_by_a_sigmoid():
    network = discriminator((8, 8, 1))
    logits = network(1e4 * torch.randn(20, 1, 8, 8))
    assert logits.abs().max() > 1


@pytest.mark.parametrize("row_shape", [(5,), (4, 6, 2)])
def test_mlp_networks_take_tables_and_images(row_shape):
    shape = row_shape if len(row_shape) == 1 else (2, 4, 6)
    drawn = networks.mlp_generator(3, row_shape, (7, 8))(torch.zeros(2, 3))
    assert drawn.shape == (2, *shape)
    network = networks.mlp_discriminator(row_shape, (7, 8))
    assert network(drawn).shape == (2,)
    assert network.features(drawn).shape == (2, 7 + 8)


@pytest.mark.parametrize("row_shape", [(16,), (2, 4, 2)])
def test_rows_with_more_columns_than_hidden_units_are_features_too(row_shape):
    x = torch.randn(3, *((16,) if len(row_shape) == 1 else (2, 2, 4)))
    encoder = networks.mlp_encoder(row_shape, 2, (7, 8), "none")
    for network in (encoder, networks.mlp_discriminator(row_shape, (7, 8))):
        hidden = torch.cat(hidden_outputs(network, x), 1)
        # Images do not need it: most of their features would be pixels.
        expected = torch.cat([x, hidden], 1) if len(row_shape) == 1 else hidden
        assert torch.equal(network.features(x), expected)
    asked = networks.mlp_discriminator(row_shape, (7, 8), "all")
    assert asked.features(x).shape == (3, 7 + 8)


def test_mlp_without_hidden_layers_is_linear():
    network = networks.mlp_generator(3, (5,), ())
    assert [type(layer) for layer in network] == [nn.Linear]


def test_same_seed_means_same_weights_and_another_seed_others():
    for make in (generator, discriminator):
        first, again, other = (weights(make((9, 8, 2), seed=s)) for s in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_building_draws_nothing_from_the_global_random_state():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    generator((8, 8, 1))
    discriminator((8, 8, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_do_not_depend_on_the_global_random_state():
    torch.manual_seed(0)
    first = weights(generator((8, 8, 1)))
    torch.manual_seed(1)
    assert torch.equal(weights(generator((8, 8, 1))), first)


def test_weights_are_finite_and_within_the_bounds_of_torch():
    network = networks.build(
        lambda: nn.Sequential(nn.Linear(16, 50), nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3)),
        torch.Generator().manual_seed(0),
    )
    linear, convolution, norm = network
    # torch's default is uniform on +-1/sqrt(fan_in): 16 inputs, and 4 x 2 x 2 pixels
    for layer in (linear, convolution):
        assert layer.weight.abs().max() <= 1 / 4
        assert layer.weight.abs().max() > 0.2
        assert layer.bias.abs().max() <= 1 / 4
    assert torch.equal(norm.weight, torch.ones(3))
    assert torch.equal(norm.running_var, torch.ones(3))


def test_networks_are_in_float32_with_any_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert weights(generator((8, 8, 1))).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_features_are_the_outputs_of_the_hidden_layers_computed_by_hand():
    # Regression: PyOD's AnoGAN compared the output of a wrong layer.
    network = networks.mlp_discriminator((3,), (4, 2))
    x = torch.randn(5, 3)
    (first, second), head = ((b[1] for b in network.blocks), network.head)

    def leaky(a):
        return torch.where(a > 0, a, 0.2 * a)

    a = leaky(x @ first.weight.T + first.bias)
    b = leaky(a @ second.weight.T + second.bias)
    torch.testing.assert_close(network.features(x), torch.cat([a, b], dim=1))
    logits = (b @ head.weight.T + head.bias)[:, 0]
    torch.testing.assert_close(network(x), logits)


def test_features_of_images_are_the_last_convolution_before_the_head():
    network = discriminator((8, 8, 1))
    x = torch.randn(3, 1, 8, 8)
    by_hand = x
    for block in network.blocks:
        convolution = block[0]
        by_hand = nn.functional.conv2d(
            by_hand, convolution.weight, convolution.bias, stride=2, padding=1
        )
        by_hand = torch.where(by_hand > 0, by_hand, 0.2 * by_hand)
    torch.testing.assert_close(network.features(x), by_hand.flatten(1))
    torch.testing.assert_close(network(x), network.head(by_hand.flatten(1))[:, 0])


def test_a_discriminators_logit_does_not_depend_on_the_rest_of_the_batch_in_training():
    network = discriminator((8, 8, 1)).train()
    x = torch.randn(6, 1, 8, 8)
    # float32 products over 1 and 6 rows round differently
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-5, atol=1e-6)


def test_features_of_a_sequential_come_from_all_modules_but_the_last():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    wrapped = networks.as_discriminator(network)
    x = torch.randn(5, 3)
    torch.testing.assert_close(wrapped.features(x), network[1](network[0](x)))
    torch.testing.assert_close(wrapped(x), network(x)[:, 0])


def test_features_of_an_own_module_come_from_its_method():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def features(self, x):
            return x * 2

        def forward(self, x):
            return self.layer(x)

    own = Own()
    wrapped = networks.as_discriminator(own)
    x = torch.randn(5, 3)
    assert torch.equal(wrapped.features(x), x * 2)
    assert torch.equal(wrapped(x), own(x)[:, 0])
    assert len(list(wrapped.parameters())) == 2


@pytest.mark.parametrize("network", [nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 1))])
def test_a_discriminator_without_features_is_refused(network):
    with pytest.raises(ValueError, match=r"neither .* features\(x\) .* Add a method"):
        networks.as_discriminator(network)

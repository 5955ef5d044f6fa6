import copy
import itertools

import pytest
import torch
from torch import nn

from skanogan.nn import (
    AutoEncoder,
    MovingAverage,
    build,
    convolutional_decoder,
    convolutional_encoder,
    mlp_decoder,
    mlp_encoder,
)
from skanogan.nn._autoencoder import (
    NORMALIZATIONS,
    statistics_kept,
    strided_discriminator,
)
from skanogan.nn._networks import widest_output

SIZES = [
    *itertools.product(range(8, 19), range(8, 19)),
    (28, 28),
    (33, 64),
    (8, 65),
    (64, 64),
]
D = 3
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def encoder(shape, seed=0, n_filters=2, normalization="group"):
    return build(
        lambda: convolutional_encoder(shape, D, n_filters, normalization),
        generator(seed),
    )


def decoder(shape, seed=0, n_filters=2, normalization="group"):
    return build(
        lambda: convolutional_decoder(D, shape, n_filters, normalization),
        generator(seed),
    )


def discriminator(shape, seed=0, n_filters=2):
    return build(lambda: strided_discriminator(shape, n_filters), generator(seed))


def mlp(shape=(5,), sizes=(7, 6), normalization="group", seed=0):
    return tuple(
        build(lambda make=make: make(), generator(seed))
        for make in (
            lambda: mlp_encoder(shape, D, sizes, normalization),
            lambda: mlp_decoder(D, shape, sizes, normalization),
        )
    )


def images(n, channels=1, height=8, width=8, seed=0):
    return torch.randn(n, channels, height, width, generator=generator(seed))


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def of_type(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


# Shapes -----------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_convolutional_networks_take_images_of_every_size_from_8_by_8(channels):
    for height, width in SIZES:
        shape = (height, width, channels)
        codes = encoder(shape)(torch.zeros(2, channels, height, width))
        assert codes.shape == (2, D), shape
        drawn = decoder(shape)(codes)
        assert drawn.shape == (2, channels, height, width), shape
        network = discriminator(shape)
        assert network(drawn).shape == (2,), shape
        assert network.features(drawn).ndim == 2, shape


@pytest.mark.parametrize(
    ("size", "smallest", "n_layers"),
    [
        ((8, 8), (2, 2), 2),
        ((28, 28), (4, 4), 3),
        ((9, 17), (3, 5), 2),
        ((32, 32), (4, 4), 3),
        ((64, 64), (8, 8), 3),
        ((65, 65), (5, 5), 4),
        ((256, 256), (8, 8), 5),
    ],
)
def test_images_are_halved_three_times_where_that_fits_and_more_where_large(
    size, smallest, n_layers
):
    shape = (*size, 1)
    seen = []
    network = encoder(shape)
    network.blocks[-1].register_forward_hook(
        lambda module, args, made: seen.append(made.shape)
    )
    network(torch.zeros(1, 1, *size))
    assert seen == [(1, 2 * 2 ** (n_layers - 1), *smallest)]
    assert len(network.blocks) == n_layers
    assert len(discriminator(shape).blocks) == n_layers
    assert len(of_type(decoder(shape), nn.ConvTranspose2d)) == n_layers


def test_images_of_28_by_28_have_the_three_layers_of_the_paper():
    shape = (28, 28, 1)
    down, up, critic = (
        of_type(encoder(shape, n_filters=64), nn.Conv2d),
        of_type(decoder(shape, n_filters=64), nn.ConvTranspose2d),
        of_type(discriminator(shape, n_filters=12), nn.Conv2d),
    )
    for layers in (down, up, critic):
        assert [layer.kernel_size for layer in layers] == [(5, 5)] * 3
        assert [layer.stride for layer in layers] == [(2, 2)] * 3
    assert [layer.out_channels for layer in down] == [64, 128, 256]
    assert [layer.out_channels for layer in up] == [128, 64, 1]
    assert [layer.out_channels for layer in critic] == [12, 24, 48]


@pytest.mark.parametrize("row_shape", [(5,), (4, 6, 2)])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_mlp_networks_take_tables_and_images(row_shape, normalization):
    shape = row_shape if len(row_shape) == 1 else (2, 4, 6)
    en, de = mlp(row_shape, (7, 8), normalization)
    x = torch.randn(4, *shape, generator=generator())
    assert en(x).shape == (4, D)
    assert de(en(x)).shape == (4, *shape)
    assert en.features(x).shape == (4, 7 + 8)


def test_the_mlp_decoder_mirrors_the_encoder():
    en, de = mlp(sizes=(9, 7))
    widths = [
        (layer.in_features, layer.out_features) for layer in of_type(en, nn.Linear)
    ]
    mirrored = [(o, i) for i, o in reversed(widths)]
    assert mirrored == [
        (layer.in_features, layer.out_features) for layer in of_type(de, nn.Linear)
    ]


@pytest.mark.parametrize(
    ("n_filters", "groups"), [(1, [1, 2]), (4, [4, 8]), (12, [4, 8]), (16, [8, 8])]
)
def test_channels_are_normalised_in_up_to_8_groups_that_divide_them(n_filters, groups):
    network = encoder((8, 8, 1), n_filters=n_filters)
    norms = of_type(network, nn.GroupNorm)
    assert [norm.num_groups for norm in norms] == groups
    assert [norm.num_channels for norm in norms] == [n_filters, 2 * n_filters]


@pytest.mark.parametrize("n_filters", [1, 3, 4, 12])
def test_any_number_of_filters_can_be_normalised_in_groups(n_filters):
    shape = (8, 8, 1)
    rebuilt = decoder(shape, n_filters=n_filters)(
        encoder(shape, n_filters=n_filters)(images(3))
    )
    assert torch.isfinite(rebuilt).all()


# Ranges -----------------------------------------------------------------------


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_codes_of_images_lie_in_the_box(normalization):
    network = encoder((8, 8, 1), normalization=normalization)
    assert network(images(50)).abs().max() < 1
    assert network(1e4 * images(50)).abs().max() <= 1


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_codes_of_tables_lie_in_the_box(normalization):
    network, _ = mlp(normalization=normalization)
    x = torch.randn(50, 5, generator=generator())
    assert network(x).abs().max() < 1
    assert network(1e4 * x).abs().max() <= 1


def test_codes_reach_the_walls_of_the_box():
    # Regression: without a tanh, or with two of them, the range is another one.
    network, _ = mlp()
    with torch.no_grad():
        network.head.weight *= 100
        codes = network(torch.randn(50, 5, generator=generator()))
    assert codes.min() < -0.99
    assert codes.max() > 0.99


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_decoded_pixels_lie_between_minus_1_and_1(normalization):
    network = decoder((8, 8, 1), normalization=normalization)
    with torch.no_grad():
        of_type(network, nn.ConvTranspose2d)[-1].weight *= 100
        drawn = network(torch.rand(50, D, generator=generator()) * 2 - 1)
    assert drawn.abs().max() <= 1
    assert drawn.min() < -0.99
    assert drawn.max() > 0.99


def test_decoded_columns_are_not_bounded():
    _, network = mlp()
    with torch.no_grad():
        network[-1].weight *= 100
        rows = network(torch.rand(50, D, generator=generator()) * 2 - 1)
    assert rows.abs().max() > 10


# Normalisation ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["table", "images"])
@pytest.mark.parametrize("normalization", ["group", "none"])
def test_without_batch_normalisation_outputs_in_training_depend_on_the_row_alone(
    kind, normalization
):
    if kind == "table":
        network, _ = mlp(normalization=normalization)
        x = torch.randn(6, 5, generator=generator())
    else:
        network, x = encoder((8, 8, 1), normalization=normalization), images(6)
    network.train()
    # float32 products over 1 and 6 rows round differently
    torch.testing.assert_close(network(x)[:2], network(x[:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_batch_normalisation_makes_training_depend_on_the_batch(kind):
    if kind == "table":
        network = mlp(normalization="batch")[0]
        x = torch.randn(6, 5, generator=generator())
    else:
        network, x = encoder((8, 8, 1), normalization="batch"), images(6)
    network.train()
    assert (network(x)[:2] - network(x[:2])).abs().max() > 1e-3
    network.eval()
    torch.testing.assert_close(network(x)[:2], network(x[:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("normalization", "counts"),
    [("group", (2, 0)), ("batch", (0, 2)), ("none", (0, 0))],
)
def test_every_hidden_layer_of_the_auto_encoder_is_normalised_as_asked(
    normalization, counts
):
    for network in (
        *mlp(normalization=normalization),
        encoder((8, 8, 1), normalization=normalization),
        decoder((8, 8, 1), normalization=normalization),
    ):
        found = of_type(network, nn.GroupNorm), of_type(network, BATCH_NORMS)
        assert tuple(map(len, found)) == counts
        assert len(of_type(network, nn.LeakyReLU)) == 2


def test_the_strided_discriminator_has_no_normalisation():
    network = discriminator((8, 8, 1)).train()
    x = images(6)
    # float32 products over 1 and 6 rows round differently
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-5, atol=1e-6)
    assert not of_type(network, (nn.GroupNorm, *BATCH_NORMS))


# Features ---------------------------------------------------------------------


def test_features_of_tables_are_all_hidden_layers_in_order_by_hand():
    network, _ = mlp()
    x = torch.randn(4, 5, generator=generator())
    hidden = []
    for block in network.blocks:
        _, linear, norm, _ = block
        a = (hidden or [x])[-1] @ linear.weight.T + linear.bias
        a = (a - a.mean(1, keepdim=True)) / (
            a.var(1, correction=0, keepdim=True) + norm.eps
        ).sqrt()
        hidden.append(torch.where(a > 0, a, 0.2 * a))
    torch.testing.assert_close(network.features(x), torch.cat(hidden, dim=1))
    code = torch.tanh(hidden[-1] @ network.head.weight.T + network.head.bias)
    torch.testing.assert_close(network(x), code)


def test_features_of_images_are_the_last_maps_only():
    network, x = encoder((8, 8, 1)), images(3)
    last = network.blocks[1](network.blocks[0](x)).flatten(1)
    assert torch.equal(network.features(x), last)
    assert last.shape == (3, 4 * 2 * 2)


def test_an_auto_encoder_decodes_the_codes_of_its_encoder():
    en, de = mlp()
    x = torch.randn(4, 5, generator=generator())
    assert torch.equal(AutoEncoder(en, de)(x), de(en(x)))


@pytest.mark.parametrize(
    ("network", "x", "widest"),
    [
        (lambda: mlp(sizes=(7, 9))[0], torch.zeros(1, 5), 9),
        (lambda: mlp(sizes=(2, 3))[0], torch.zeros(1, 5), 5),
        (lambda: encoder((8, 8, 1), n_filters=8), images(1), 8 * 4 * 4),
    ],
)
def test_widest_returns_the_size_of_the_largest_output_or_of_the_row(
    network, x, widest
):
    assert widest_output(network(), x) == widest


# Statistics kept --------------------------------------------------------------


@pytest.fixture
def with_statistics():
    """A decoder with batch normalisation after its first batch."""
    network = decoder((8, 8, 1), normalization="batch").train()
    network(torch.rand(30, D, generator=generator()))
    return network


def running(network):
    return {k: b.clone() for k, b in network.named_buffers() if "running" in k}


def momenta(network):
    return [layer.momentum for layer in of_type(network, nn.BatchNorm2d)]


def test_statistics_kept_does_not_change_the_running_statistics(with_statistics):
    before = running(with_statistics)
    assert len(before) == 4
    with statistics_kept(with_statistics):
        with_statistics(torch.rand(30, D, generator=generator(1)))
    after = running(with_statistics)
    assert all(torch.equal(after[name], before[name]) for name in before)
    with_statistics(torch.rand(30, D, generator=generator(1)))
    after = running(with_statistics)
    assert not any(torch.equal(after[name], before[name]) for name in before)


def test_statistics_kept_normalises_by_the_batch(with_statistics):
    z = torch.rand(30, D, generator=generator(1))
    with statistics_kept(with_statistics):
        kept = with_statistics(z)
        assert with_statistics.training
    assert torch.equal(kept, with_statistics(z))
    assert not torch.allclose(kept, with_statistics.eval()(z), atol=1e-3)


def test_statistics_kept_restores_the_momentum_after_an_exception_as_well(
    with_statistics,
):
    first, second = of_type(with_statistics, nn.BatchNorm2d)
    first.momentum, second.momentum = 0.3, None
    with statistics_kept(with_statistics):
        assert momenta(with_statistics) == [0, 0]
    assert momenta(with_statistics) == [0.3, None]
    with pytest.raises(KeyError), statistics_kept(with_statistics):
        raise KeyError
    assert momenta(with_statistics) == [0.3, None]


def test_statistics_kept_does_nothing_without_batch_normalisation():
    network = decoder((8, 8, 1))
    z = torch.rand(5, D, generator=generator())
    with statistics_kept(network):
        kept = network(z)
    assert torch.equal(kept, network(z))


# Seeds ------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("make", [encoder, decoder])
def test_same_seed_means_same_weights_and_another_seed_others(make, normalization):
    first, again, other = (
        weights(make((9, 8, 2), seed=s, normalization=normalization)) for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_same_seed_means_same_discriminator_and_mlp():
    for make in (
        lambda s: weights(discriminator((9, 8, 2), seed=s)),
        lambda s: torch.cat([weights(network) for network in mlp(seed=s)]),
    ):
        first, again, other = (make(seed) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_building_draws_nothing_from_the_global_random_state():
    before = torch.get_rng_state()
    for make in (encoder, decoder, discriminator):
        make((8, 8, 1))
    mlp()
    assert torch.equal(torch.get_rng_state(), before)


# The average ------------------------------------------------------------------


def moved(network, seed):
    """The same network with other weights, in place."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator(seed)))
    return network


def test_an_average_of_decay_0_is_a_plain_copy():
    network = encoder((8, 8, 1), normalization="batch").train()
    average = MovingAverage(network, 0.0)
    for seed in range(3):
        moved(network, seed)(images(4, seed=seed))
        average.update(network)
        copied = average.network.state_dict()
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                assert torch.equal(copied[name], value), name


def test_the_average_of_constant_weights_is_these_weights():
    network = encoder((8, 8, 1))
    average = MovingAverage(network, 0.9)
    for _ in range(5):
        average.update(network)
    assert torch.equal(weights(average.network), weights(network))


def test_an_average_starts_as_a_copy_and_follows_the_network_by_hand():
    network = nn.Linear(1, 1)
    average = MovingAverage(network, 0.5)
    expected = weights(network)
    assert torch.equal(weights(average.network), expected)
    for t in range(1, 20):
        moved(network, t)
        average.update(network)
        # The first update keeps 1 / 10 of the average, the second 2 / 11.
        keep = min(0.5, t / (t + 9))
        expected = keep * expected + (1 - keep) * weights(network)
        torch.testing.assert_close(weights(average.network), expected)


def test_an_average_needs_no_gradient_and_changes_no_weight_of_its_network():
    network = encoder((8, 8, 1))
    average = MovingAverage(network, 0.9)
    moved(network, 1)
    before = copy.deepcopy(network.state_dict())
    average.update(network)
    assert not any(weight.requires_grad for weight in average.parameters())
    assert all(weight.requires_grad for weight in network.parameters())
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_an_average_shares_no_weight_with_its_network():
    network = encoder((8, 8, 1))
    average = MovingAverage(network, 0.9)
    before = weights(average.network)
    moved(network, 1)
    assert torch.equal(weights(average.network), before)

import torch
from torch import nn

from skanogan.nn import chunked, floats_kept, share_of_variance

ROWS = torch.zeros(3, 5)


def network(width=7, frozen=True):
    layers = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 4))
    return layers.requires_grad_(not frozen)


def test_floats_kept_are_those_counted_by_hand():
    # With frozen weights only the ReLU keeps something, its 7 outputs. There are also
    # the 4 outputs with their gradient, and a gradient of 7.
    assert floats_kept(network(), ROWS) == 7 + 2 * 4 + 7


def test_a_tensor_that_two_layers_keep_is_counted_once():
    # Trainable weights keep the inputs of their layers, 5 and the same 7.
    assert floats_kept(network(frozen=False), ROWS) == 5 + 7 + 2 * 4 + 7


def test_floats_kept_do_not_depend_on_the_number_of_rows():
    assert floats_kept(network(), torch.zeros(2, 5)) == floats_kept(network(), ROWS)


def test_floats_kept_grow_with_the_network():
    widths = [floats_kept(network(width), ROWS) for width in (7, 70, 700)]
    assert widths == [7 + 8 + 7, 70 + 8 + 70, 700 + 8 + 700]


def test_floats_kept_are_counted_without_grad_mode():
    with torch.no_grad():
        counted = floats_kept(network(), ROWS)
        assert not torch.is_grad_enabled()
    assert counted == floats_kept(network(), ROWS)


def test_a_linear_layer_keeps_only_its_output_and_the_gradient():
    assert floats_kept(nn.Linear(5, 4).requires_grad_(False), ROWS) == 2 * 4


def test_weights_are_not_counted_if_they_are_as_many_as_the_rows():
    for n in (2, 3, 4):
        layer = nn.Linear(3, 1000).requires_grad_(False)
        assert floats_kept(layer, torch.zeros(n, 3)) == 2 * 1000


def test_chunks_are_joined_in_order():
    sizes = []

    def double(rows):
        sizes.append(len(rows))
        return 2 * rows

    rows = torch.arange(600.0)
    assert torch.equal(chunked(double, rows), 2 * rows)
    assert sizes == [256, 256, 88]


def test_share_of_variance_is_the_ratio_of_total_variances_by_hand():
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randn(50, 3, generator=rng)
    x = 5 + torch.randn(700, 3, generator=rng).double()
    scaled = (x / 2).var(0, correction=0).sum()
    expected = float(drawn.var(0, correction=0).sum() / scaled)
    found = share_of_variance(drawn, x, lambda rows: rows / 2)
    assert abs(found / expected - 1) < 1e-9

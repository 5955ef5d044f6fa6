import torch
from torch import nn

from skanogan.models._model import floats_kept

ROWS = torch.zeros(3, 5)


def network(width=7, frozen=True):
    layers = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 4))
    return layers.requires_grad_(not frozen)


def test_numbers_kept_for_a_row_are_those_counted_by_hand():
    # At rest only the ReLU keeps something, its 7 outputs: these, the 4 outputs and
    # their gradient, and a gradient of 7.
    assert floats_kept(network(), ROWS) == 7 + 2 * 4 + 7


def test_what_two_layers_keep_of_one_tensor_is_counted_once():
    # Weights that train keep the inputs of their layers, 5 and the same 7.
    assert floats_kept(network(frozen=False), ROWS) == 5 + 7 + 2 * 4 + 7


def test_numbers_kept_do_not_depend_on_the_rows_it_is_tried_on():
    assert floats_kept(network(), torch.zeros(2, 5)) == floats_kept(network(), ROWS)


def test_numbers_kept_grow_with_the_network():
    widths = [floats_kept(network(width), ROWS) for width in (7, 70, 700)]
    assert widths == [7 + 8 + 7, 70 + 8 + 70, 700 + 8 + 700]


def test_numbers_kept_are_counted_where_gradients_are_off():
    with torch.no_grad():
        counted = floats_kept(network(), ROWS)
        assert not torch.is_grad_enabled()
    assert counted == floats_kept(network(), ROWS)


def test_a_linear_map_keeps_its_output_and_the_gradient_alone():
    assert floats_kept(nn.Linear(5, 4).requires_grad_(False), ROWS) == 2 * 4


def test_weights_are_not_taken_for_rows_where_they_are_as_many():
    for n in (2, 3, 4):
        layer = nn.Linear(3, 1000).requires_grad_(False)
        assert floats_kept(layer, torch.zeros(n, 3)) == 2 * 1000

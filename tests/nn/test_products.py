"""Products and sums of a row are equal to the bit, whatever rows are beside it."""

import pytest
import torch
from torch import nn

from skanogan.nn._products import ROWS, rows_alike, rows_of_tile

CPU = torch.device("cpu")

each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def drawn(*shape, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=rng, dtype=dtype)


def results(function, x):
    """The results of all rows at once, of one after the other, and in other sizes."""
    with rows_alike(CPU):
        yield function(x)
        for size in (1, 2, 3, 7, 10):
            yield torch.cat([function(part) for part in torch.split(x, size)])
        yield function(x.flip(0)).flip(0)


def assert_rows_are_alike(function, x):
    first, *others = results(function, x)
    for other in others:
        assert torch.equal(other, first)


@each_dtype
@pytest.mark.parametrize("sizes", [(5, 16), (33, 1), (128, 7), (6, 10), (257, 255)])
def test_a_row_has_one_product_in_any_batch(dtype, sizes):
    k, m = sizes
    x, matrix, bias = (drawn(*s, dtype=dtype) for s in ((41, k), (k, m), (m,)))
    assert_rows_are_alike(lambda x: x @ matrix, x)
    assert_rows_are_alike(lambda x: torch.mm(x, matrix.T.contiguous().T), x)
    assert_rows_are_alike(lambda x: torch.addmm(bias, x, matrix, alpha=-2), x)
    assert_rows_are_alike(lambda x: nn.functional.linear(x, matrix.T, bias), x)


@each_dtype
@pytest.mark.parametrize("sizes", [(256, 33), (264, 256), (784, 64), (1280, 300)])
def test_wide_rows_have_one_product_with_any_threads_and_rows(dtype, sizes):
    # Regression: on AVX-512 the order of sums changed at 192 rows, and with threads.
    k, m = sizes
    x, weight, bias = (drawn(*s, dtype=dtype) for s in ((200, k), (m, k), (m,)))
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            with rows_alike(CPU):
                found.append(nn.functional.linear(x, weight, bias))
                parts = [nn.functional.linear(r, weight, bias) for r in x.split(150)]
                found.append(torch.cat(parts))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(other, found[0])
    wanted = nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(found[0], wanted, rtol=1e-4, atol=1e-4)


@each_dtype
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.Conv2d(3, 6, 1, groups=3),
        nn.Conv2d(3, 8, 3, stride=2, dilation=2, bias=False),
        nn.ConvTranspose2d(3, 4, 4, 2, 1),
    ],
    ids=str,
)
def test_an_image_has_one_convolution_in_any_batch(dtype, layer):
    # Regression: torch took another algorithm for a few small images.
    layer = layer.to(dtype)
    images = drawn(41, 3, 12, 10, dtype=dtype)
    with torch.no_grad():
        if layer.padding != "same":
            assert_rows_are_alike(layer, images)
        with rows_alike(CPU):
            found = layer(images)
        torch.testing.assert_close(found, layer(images))


def test_the_number_of_rows_suits_this_processor():
    assert rows_of_tile() in ROWS


@each_dtype
def test_a_row_has_one_gradient_in_any_batch(dtype):
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)

    def gradient(x):
        x = x.clone().requires_grad_(True)
        return torch.autograd.grad(network(x).square().sum(), x)[0]

    assert_rows_are_alike(gradient, drawn(41, 5, dtype=dtype))


def test_products_are_those_of_torch():
    x, matrix, bias = drawn(11, 5), drawn(5, 7), drawn(7)
    layer = nn.Linear(5, 7).double()
    with rows_alike(CPU):
        found = [
            x @ matrix,
            torch.addmm(bias, x, matrix, beta=3, alpha=-2),
            layer(x),
            layer(x[0]),
            layer(x.expand(2, 3, 11, 5)),
            x @ matrix[:, 0],
            torch.matmul(x.expand(2, 11, 5), matrix),
        ]
    wanted = [
        x @ matrix,
        torch.addmm(bias, x, matrix, beta=3, alpha=-2),
        layer(x),
        layer(x[0]),
        layer(x.expand(2, 3, 11, 5)),
        x @ matrix[:, 0],
        torch.matmul(x.expand(2, 11, 5), matrix),
    ]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)


def test_a_long_row_has_one_sum_alone_and_beside_another_with_several_threads():
    x, before = drawn(2, 2**16, dtype=torch.float32), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with rows_alike(CPU):
            assert torch.equal(x[:1].sum(1), x.sum(1)[:1])
            assert torch.equal(x[:1].mean(1), x.mean(1)[:1])
    finally:
        torch.set_num_threads(before)


def test_other_devices_are_left_as_they_are():
    x, weight = (torch.empty(3, 5, device="meta") for _ in range(2))
    with rows_alike(torch.device("cuda")):
        assert (x @ weight.T).shape == (3, 3)
    assert type(rows_alike(torch.device("cuda"))) is not type(rows_alike(CPU))

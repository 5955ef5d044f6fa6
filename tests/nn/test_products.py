"""Products and sums of a row are equal to the bit, whatever rows are beside it."""

import pytest
import torch
from torch import nn

from skanogan.nn._products import rows_alike

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

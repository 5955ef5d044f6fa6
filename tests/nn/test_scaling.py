import numpy as np
import torch

from skanogan.nn._scaling import LIMIT, Scaling


def test_the_inverse_returns_the_rows():
    x = torch.from_numpy(np.random.RandomState(0).normal(5, 3, size=(20, 12)))
    scaling = Scaling(x.mean(0), x.std(0))
    torch.testing.assert_close(scaling.inverse(scaling(x, torch.float64)), x)


def test_scaled_values_are_bounded():
    scaling = Scaling.to_unit_box(0, 1)
    scaled = scaling(torch.tensor([-1e300, 1e300], dtype=torch.float64), torch.float32)
    assert scaled.tolist() == [-LIMIT, LIMIT]


def test_a_scaling_stays_in_float64_if_the_networks_are_cast():
    scaling = Scaling.to_unit_box(1e9, 1e9 + 2)
    for cast in (scaling.float, scaling.half, lambda: scaling.to(torch.float32)):
        cast()
        scaled = scaling(torch.tensor([1e9 + 0.5], dtype=torch.float64), torch.float32)
        assert scaled.item() == -0.5

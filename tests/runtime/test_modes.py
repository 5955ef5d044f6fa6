"""Modes of torch that the caller has set."""

import pytest
import torch

from skanogan._runtime.modes import own_modes


@pytest.mark.parametrize("enter", [torch.device("meta"), torch.autocast("cpu")])
def test_modes_are_undone_inside_and_hold_outside(enter):
    a = torch.ones(2, 2, device="cpu")

    def kind():
        return torch.ones(1).device.type, (a @ a).dtype

    plain = kind()
    with enter:
        outside = kind()
        with own_modes():
            assert kind() == plain == ("cpu", torch.float32)
        assert kind() == outside != plain
    assert kind() == plain


def test_a_default_device_for_the_process_is_undone_and_kept():
    torch.set_default_device("meta")
    try:
        with own_modes():
            assert torch.ones(1).device.type == "cpu"
        assert torch.ones(1).device.type == "meta"
    finally:
        torch.set_default_device(None)

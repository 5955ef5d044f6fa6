"""Values as JSON knows them, and values as annotations say they are."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from skanogan._persistence.values import Network, decoded, encoded, matches


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**63),
        0.1,
        5e-324,
        "a\ud800é\n",
        (1, (2.0, [None, "x"])),
        [],
        (),
        {"a": 1, "tuple": (1,)},
        torch.device("cuda", 1),
    ],
    ids=str,
)
def test_values_come_back_as_they_were(value):
    found = decoded(json.loads(json.dumps(encoded(value, "it"), allow_nan=False)))
    assert found == value
    assert type(found) is type(value)


def test_names_come_back_as_an_array_of_objects():
    names = np.array(["a", "b c"], dtype=object)
    found = decoded(encoded(names, "it"))
    assert found.dtype == object
    assert found.tolist() == ["a", "b c"]


def test_of_a_network_there_is_a_name():
    assert decoded(encoded(nn.Linear(1, 1), "it")) == Network("Linear")


@pytest.mark.parametrize(
    "value",
    [2**63, np.inf, np.nan, {1: 2}, {1, 2}, len, np.ones(2), np.random.RandomState(0)],
    ids=str,
)
def test_what_only_pickle_could_store_is_refused_by_name(value):
    with pytest.raises(TypeError, match="alpha cannot be stored without pickle"):
        encoded((value,), "alpha")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"tuple": 1},
        {"tuple": [], "list": []},
        {"names": ["a", 1]},
        {"device": "nowhere"},
        {"dict": []},
        [{"eval": "1"}],
    ],
    ids=str,
)
def test_objects_that_are_no_values_are_refused(value):
    with pytest.raises(ValueError, match=r"no value|not a device"):
        decoded(value)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (True, float, False),
        ("1", float, False),
        (None, int | None, True),
        ((1, 2, 3), tuple[int, int, int] | None, True),
        ((1, 2), tuple[int, int, int] | None, False),
        ((1, 2), tuple[int, ...], True),
        ([1, 2], tuple[int, ...], False),
        ([{"a": 1, "b": 0.5}], list[dict[str, float]], True),
        ([{"a": "1"}], list[dict[str, float]], False),
        ([["a"]], list[dict[str, float]], False),
        (np.array(["a"], dtype=object), np.ndarray, True),
        (["a"], np.ndarray, False),
        (1, Any, True),
        (1, "int", False),
    ],
    ids=str,
)
def test_a_value_is_what_its_annotation_says_or_not(value, hint, expected):
    assert matches(value, hint) is expected

"""Values as JSON, and values and their annotations."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from skanogan._persistence.values import decoded, encoded, is_reference, matches


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
        np.dtype("uint8"),
        np.dtype(">f4"),
    ],
    ids=str,
)
def test_decoded_values_equal_the_encoded_ones(value):
    found = decoded(json.loads(json.dumps(encoded(value, "it"), allow_nan=False)))
    assert found == value
    assert type(found) is type(value)


def test_names_are_decoded_as_an_array_of_objects():
    names = np.array(["a", "b c"], dtype=object)
    found = decoded(encoded(names, "it"))
    assert found.dtype == object
    assert found.tolist() == ["a", "b c"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"detector": {}}, True),
        ({"tensor": "a"}, True),
        ({"tuple": []}, False),
        ({"detector": {}, "tensor": "a"}, False),
        ({}, False),
        (["detector"], False),
        ("detector", False),
    ],
    ids=str,
)
def test_references_are_told_from_values(value, expected):
    assert is_reference(value) is expected


@pytest.mark.parametrize("kind", ["detector", "frozen", "network", "tensor"])
def test_a_reference_within_a_value_is_not_decoded(kind):
    with pytest.raises(ValueError, match="is not a value"):
        decoded([{kind: {}}])


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        np.inf,
        np.nan,
        {1: 2},
        {1, 2},
        len,
        np.ones(2),
        np.random.RandomState(0),
        np.dtype("U3"),
        np.dtype([("a", int)]),
        torch.nn.Linear(1, 1),
    ],
    ids=str,
)
def test_a_value_that_only_pickle_can_store_is_refused_by_name(value):
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
        {"dtype": "O"},
        {"dtype": "float64"},
        {"dtype": "<f99"},
        {"dtype": "(1000,1000,1000)f8"},
        {"dtype": 8},
        {"dict": []},
        [{"eval": "1"}],
    ],
    ids=str,
)
def test_objects_that_encoded_does_not_make_are_refused(value):
    with pytest.raises(ValueError, match=r"not a value|not a device|not a dtype"):
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
        (np.ones(2), NDArray[np.float64], True),
        (np.ones(2, np.float32), NDArray[np.float64], False),
        (np.array(["a"], dtype=object), NDArray[np.float64], False),
        ([1.0], NDArray[np.float64], False),
        (np.dtype("uint8"), np.dtype[Any], True),
        (np.dtype("uint8"), np.dtype[np.uint8], True),
        (np.dtype("uint8"), np.dtype[np.float64], False),
        ("uint8", np.dtype[Any], False),
        (1, Any, True),
        (1, "int", False),
    ],
    ids=str,
)
def test_matches_compares_values_with_annotations(value, hint, expected):
    assert matches(value, hint) is expected

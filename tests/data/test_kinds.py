"""Objects that hold no rows, and tensors that NumPy cannot read."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from skanogan._data.kinds import columns_of, refuse_kinds, without_gradients

FRAME = pl.DataFrame({"a": [1.0], "b": [2.0]})
DATASET = TensorDataset(torch.ones(3, 2))


@pytest.mark.parametrize(
    ("X", "remedy"),
    [
        (None, "Pass the rows"),
        (DATASET, r"Pass its rows: \[item\[0\] for item in X\]"),
        (DataLoader(DATASET), r"torch\.cat\(\[batch\[0\] for batch in X\]\)"),
        (FRAME.lazy(), r"Pass X\.collect\(\)"),
        ({"a": [1.0]}, r"Pass pandas\.DataFrame\(X\)"),
    ],
)
def test_what_holds_no_rows_is_refused_with_the_call_that_gives_them(X, remedy):
    for takes_files in (False, True):
        with pytest.raises(TypeError, match=rf"X is a {type(X).__name__}, .*{remedy}"):
            refuse_kinds(X, takes_files=takes_files)


def test_one_picture_is_refused():
    picture = pytest.importorskip("PIL.Image").new("L", (4, 4))
    with pytest.raises(
        TypeError, match=r"one picture\. Pass numpy\.asarray\(X\)\[None\]"
    ):
        refuse_kinds(picture)
    refuse_kinds([picture])


@pytest.mark.parametrize(
    ("X", "remedy"),
    [
        ("a.png", "PatchDetector"),
        (Path("a.csv"), r"pandas\.read_csv"),
        (["a.png", "b.png"], "PatchDetector"),
        (iter([[1.0]]), r"list\(X\)"),
        ({1.0}, r"list\(X\)"),
    ],
)
def test_paths_and_generators_are_refused_where_no_files_are_read(X, remedy):
    with pytest.raises(TypeError, match=remedy):
        refuse_kinds(X)
    refuse_kinds(X, takes_files=True)


@pytest.mark.parametrize(
    "X", [np.ones((2, 2)), [[1.0]], (), FRAME, pd.DataFrame([[1]])]
)
def test_rows_pass(X):
    refuse_kinds(X)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensors_that_need_gradients_become_arrays(dtype):
    tensor = torch.tensor([[0.5, -3.0]], dtype=dtype, requires_grad=True)
    for found in (without_gradients(tensor), *without_gradients([tensor, tensor])):
        assert np.array_equal(np.asarray(found), [[0.5, -3.0]])
    assert tensor.requires_grad
    assert without_gradients(X := [[1.0]]) is X


def test_frames_have_columns_and_arrays_have_none():
    assert [name for name, _ in columns_of(FRAME)] == ["a", "b"]
    assert [str(t) for _, t in columns_of(pd.DataFrame({"a": [1.0]}))] == ["float64"]
    assert columns_of(np.ones((2, 2))) is None
    assert columns_of([[1.0]]) is None

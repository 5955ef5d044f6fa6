"""Images as flat rows, and their shapes. tests/test_bad_input.py has the errors."""

import numpy as np
import pytest

from skanogan._data.validation import flatten_images, with_channels


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2)])
def test_images_are_flattened_with_channels_last(shape):
    images = np.arange(np.prod(shape)).reshape(shape)
    for X in (images, images.tolist()):
        flat, found = flatten_images(X)
        assert found == shape[1:]
        np.testing.assert_array_equal(flat, images.reshape(5, -1))


@pytest.mark.parametrize("X", [np.zeros((3, 2)), [[1, 2], [3, 4]], [[1, 2], [3]], "a"])
def test_rows_that_are_not_images_pass_through(X):
    rows, shape = flatten_images(X)
    assert shape is None
    assert np.array_equal(rows, X) if isinstance(X, np.ndarray) else len(rows) == len(X)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (None, None),
        ((8, 9), (8, 9, 1)),
        ([8, 9], (8, 9, 1)),
        ((8, 9, 3), (8, 9, 3)),
        ((np.int64(8), 9), (8, 9, 1)),
    ],
)
def test_a_shape_without_channels_has_one_channel(shape, expected):
    assert with_channels(shape) == expected


@pytest.mark.parametrize("shape", [(8,), (8, 8, 1, 1), (8, 0), (8, -1), (8, 8.0)])
def test_a_shape_that_is_not_an_image_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"image_shape=.* is not \(height, width\) or"):
        with_channels(shape)

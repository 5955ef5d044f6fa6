import mmap
import sys

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from skanogan import _inputs
from skanogan._inputs import Rows, flatten_images, with_channels
from skanogan._labels import normal_rows
from skanogan.models._scaling import LIMIT, Scaling

CPU = torch.device("cpu")


@pytest.fixture
def table():
    return np.random.RandomState(0).normal(5, 3, size=(20, 12))


@pytest.mark.parametrize("resident", [True, False])
def test_batches_hold_the_rows_asked_for(table, resident, monkeypatch):
    if not resident:
        monkeypatch.setattr(_inputs, "RESIDENT_BYTES", {"cpu": 0})
    rows = Rows(table, None, CPU, np.array([3, 5, 7, 11]))
    assert len(rows) == 4
    batch = rows.batch(torch.tensor([2, 0]))
    np.testing.assert_array_equal(batch.numpy(), table[[7, 3]])


def test_images_come_out_channels_first(table):
    images = table.reshape(20, 2, 3, 2)
    batch = Rows(table, (2, 3, 2), CPU).batch(torch.arange(20))
    np.testing.assert_array_equal(batch.numpy(), images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.uint8, torch.uint8),
        (np.int16, torch.float32),
        (np.float16, torch.float32),
        (np.float32, torch.float32),
        (np.int32, torch.float64),
        (np.int64, torch.float64),
        (np.float64, torch.float64),
        (np.bool_, torch.float32),
        (np.uint32, torch.float64),
    ],
)
def test_no_dtype_loses_a_digit(dtype, expected):
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    if np.dtype(dtype).itemsize > 2 and np.dtype(dtype).kind in "iu":
        values[0, 0] = np.iinfo(np.int32).max
    batch = Rows(values, None, CPU).batch(torch.arange(3))
    assert batch.dtype == expected
    np.testing.assert_array_equal(batch.numpy(), values.astype(float))


def test_a_batch_is_a_copy_of_read_only_rows(table):
    table.setflags(write=False)
    batch = Rows(table, None, CPU).batch(torch.arange(20))
    batch += 1
    assert table.max() + 1 == batch.max()


def test_a_memmap_is_read_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(_inputs, "RESIDENT_BYTES", {"cpu": 0})
    values = np.arange(60, dtype=np.uint8).reshape(10, 6)
    np.save(tmp_path / "rows.npy", values)
    rows = Rows(np.load(tmp_path / "rows.npy", mmap_mode="r"), None, CPU)
    np.testing.assert_array_equal(rows.batch(torch.tensor([4])).numpy(), values[4:5])
    expected = StandardScaler().fit(values.astype(float))
    np.testing.assert_allclose(rows.scaling().shift, expected.mean_)


@pytest.mark.parametrize("indices", [None, np.arange(19, -1, -1)])
def test_stretches_cover_all_rows_in_order(table, indices):
    rows = Rows(table, None, CPU, indices, resident=False)
    stretches = [rows.stretch(at, at + 7) for at in (0, 7, 14)]
    assert [len(stretch) for stretch in stretches] == [7, 7, 6]
    expected = table if indices is None else table[indices]
    assert np.array_equal(torch.cat(stretches), expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int64])
def test_tensors_share_no_memory_with_x(dtype):
    values = np.arange(12).reshape(4, 3).astype(dtype)
    for resident in (True, False):
        rows = Rows(values, None, CPU, resident=resident)
        for tensor in (rows.stretch(0, 4), rows.all(), rows.batch(torch.arange(4))):
            tensor.zero_()
    assert values[3, 2] == 11


def test_rows_read_once_read_no_more_than_asked_for(tmp_path):
    class Counting(np.ndarray):
        asked = 0

        def __getitem__(self, key):
            found = super().__getitem__(key)
            Counting.asked += len(found)
            return np.asarray(found)

    values = np.zeros((1000, 3)).view(Counting)
    rows = Rows(values, None, CPU, resident=False)
    rows.stretch(10, 20)
    assert Counting.asked == 10


def test_some_rows_are_a_random_subset(table):
    rows = Rows(table, None, CPU)
    found = rows.some(5, np.random.RandomState(0)).numpy()
    assert len({tuple(row) for row in found} & {tuple(row) for row in table}) == 5
    assert len(rows.some(100, np.random.RandomState(0))) == 20


@pytest.mark.parametrize("chunk_bytes", [1, 500, 16 * 2**20])
def test_columns_are_standardised_as_scikit_learn_does(table, chunk_bytes, monkeypatch):
    monkeypatch.setattr(_inputs, "CHUNK_BYTES", chunk_bytes)
    table[:, 0] = 3.0  # a constant column is not divided by 0
    kept = np.arange(5, 20)
    scaling = Rows(table, None, CPU, kept).scaling()
    expected = StandardScaler().fit(table[kept])
    scaled = scaling(torch.from_numpy(table), torch.float64)
    np.testing.assert_allclose(scaled, expected.transform(table), atol=1e-12)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.full((4, 4), 7, np.uint8), 0, 255),
        (np.arange(16.0).reshape(4, 4), 0, 15),
        (np.full((4, 4), 3.0), 2, 4),
    ],
)
def test_pixels_go_to_minus_1_to_1(values, low, high):
    scaling = Rows(values, (2, 2, 1), CPU).scaling()
    ends = scaling(torch.tensor([low, high]).double(), torch.float64)
    assert ends.tolist() == [-1, 1]


@pytest.mark.parametrize("exponent", [-300, -160, 160, 298])
def test_columns_of_any_size_are_standardised(table, exponent):
    # Regression: squares that overflow made a scale of infinity, and those that vanish
    # a column that counts as constant.
    table[:, 3] *= 10.0**exponent
    scaling = Rows(table, None, CPU).scaling()
    scaled = scaling(torch.from_numpy(table), torch.float64)
    zero, one = torch.zeros(12).double(), torch.ones(12).double()
    torch.testing.assert_close(scaled.mean(0), zero, atol=1e-12, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), one)


@pytest.mark.parametrize("n_rows", [3, 7, 8, 1000])
@pytest.mark.parametrize("value", [2.2697546239876075e20, -1e16, 1e99, 1e-99, 1.7e308])
def test_a_constant_column_of_any_size_is_zero(value, n_rows):
    # Regression: its mean was off by a rounding, which is 32,768 at 2e20.
    rows = np.full((n_rows, 2), value)
    scaling = Rows(rows, None, CPU).scaling()
    assert not scaling(torch.from_numpy(rows), torch.float64).any()
    assert (scaling.inverse(torch.zeros(1, 2)).numpy() == value).all()


@pytest.mark.parametrize("unit", [1, 2, 3, 1e-200, 1e200])
def test_a_column_whose_deviation_is_one_varies(unit):
    # Regression: it was taken for constant, and scaled by its range.
    rows = unit * np.array([[1.0], [3.0], [1.0], [3.0]])
    scaling = Rows(rows, None, CPU).scaling()
    scaled = scaling(torch.from_numpy(rows), torch.float64)
    np.testing.assert_allclose(scaled[:, 0], [-1, 1, -1, 1])


def test_a_column_that_varies_by_rounding_is_not_blown_up():
    rows = np.full((9, 1), 1e20)
    rows[4] = np.nextafter(1e20, 2e20)
    scaling = Rows(rows, None, CPU).scaling()
    assert scaling(torch.from_numpy(rows), torch.float64).abs().max() <= 1


def test_powers_of_two_change_no_bit_of_scaled_columns(table):
    exponents = np.array([-900, -400, -1, 0, 1, 2, 30, 300, 600, 800, 900, 980])
    stretched = np.ldexp(table, exponents)
    one, other = (
        Rows(X, None, CPU).scaling()(torch.from_numpy(X), torch.float64)
        for X in (table, stretched)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("value", [5e-324, 1e-310, 2e-308])
@pytest.mark.parametrize("image_shape", [None, (2, 6, 1)])
def test_numbers_without_all_digits_are_scaled_by_the_smallest_that_has_them(
    value, image_shape
):
    # Regression: half of 5e-324 is 0, and a division by it NaN.
    values = np.zeros((4, 12))
    values[::2] = value
    scaling = Rows(values, image_shape, CPU).scaling()
    scaled = scaling(torch.tensor([0, value, 1.0]).double()[:, None], torch.float64)
    assert torch.isfinite(scaled).all()
    assert scaled[:2].abs().max() <= 1
    assert scaled[2].min() == LIMIT


@pytest.mark.parametrize("image_shape", [None, (2, 6, 1)])
def test_numbers_whose_sums_overflow_are_scaled_like_small_ones(image_shape):
    small = np.linspace(-1, 1, 48).reshape(4, 12)
    small[0], small[-1] = -1, 1  # twice the largest number apart
    small[1:3, :6] = -1
    large = small * np.finfo(float).max
    one, other = (Rows(X, image_shape, CPU).scaling() for X in (small, large))
    expected = one(torch.from_numpy(small), torch.float64)
    found = other(torch.from_numpy(large), torch.float64)
    torch.testing.assert_close(found, expected)
    back = other.inverse(2 * expected)
    assert torch.isfinite(back).all()
    torch.testing.assert_close(other.inverse(found), torch.from_numpy(large))


def test_the_order_of_memory_changes_no_bit_of_the_scaling():
    table = np.random.RandomState(0).normal(size=(999, 7))
    orders = table, np.asfortranarray(table)
    one, other = (Rows(X, None, CPU).scaling() for X in orders)
    assert torch.equal(one.shift, other.shift)
    assert torch.equal(one.scale, other.scale)


def test_scaling_and_its_inverse_agree(table):
    scaling = Rows(table, None, CPU).scaling()
    x = torch.from_numpy(table)
    torch.testing.assert_close(scaling.inverse(scaling(x, torch.float64)), x)


def test_scaled_values_are_bounded():
    scaling = Scaling.to_unit_box(0, 1)
    scaled = scaling(torch.tensor([-1e300, 1e300], dtype=torch.float64), torch.float32)
    assert scaled.tolist() == [-LIMIT, LIMIT]


def test_scaling_keeps_float64_whatever_the_networks_are_cast_to():
    scaling = Scaling.to_unit_box(1e9, 1e9 + 2)
    for cast in (scaling.float, scaling.half, lambda: scaling.to(torch.float32)):
        cast()
        scaled = scaling(torch.tensor([1e9 + 0.5], dtype=torch.float64), torch.float32)
        assert scaled.item() == -0.5


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2)])
def test_images_are_flattened_with_channels_last(shape):
    images = np.arange(np.prod(shape)).reshape(shape)
    for X in (images, images.tolist()):
        flat, found = flatten_images(X)
        assert found == shape[1:]
        np.testing.assert_array_equal(flat, images.reshape(5, -1))


@pytest.mark.parametrize("X", [np.zeros((3, 2)), [[1, 2], [3, 4]], [[1, 2], [3]], "a"])
def test_what_is_no_image_is_passed_on(X):
    assert flatten_images(X)[1] is None


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
def test_a_shape_without_channels_has_one(shape, expected):
    assert with_channels(shape) == expected


@pytest.mark.parametrize("shape", [(8,), (8, 8, 1, 1), (8, 0), (8, -1), (8, 8.0)])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ValueError, match=r"image_shape=.*\(height, width\) or"):
        with_channels(shape)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (None, [0, 1, 2]),
        ([1, 1, 1], [0, 1, 2]),
        ([1, -1, 1], [0, 2]),
        ([[1], [-1], [1]], [0, 2]),
        (np.array([1.0, -1.0, 1.0]), [0, 2]),
        ([-1, -1, -1], []),
    ],
)
def test_rows_to_learn_from(y, expected):
    assert normal_rows(y, 3).tolist() == expected


def on_disk(folder, mode):
    path = folder / "rows.npy"
    np.save(path, np.arange(60_000, dtype=np.uint8).reshape(-1, 6))
    return np.load(path, mmap_mode=mode)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_rows_of_a_memmap_are_read_right_however_it_is_cut_or_changed(tmp_path, mode):
    values = on_disk(tmp_path, mode)
    if mode != "r":
        values[5] = 77
    for cut in (values, values[3:], values[::-1], np.asarray(values)[::2]):
        rows = Rows(cut, None, CPU, resident=False)
        for start in (0, 1000):
            found = rows.stretch(start, start + 500)
            assert np.array_equal(found, cut[start : start + 500])
    if mode != "r":
        assert (values[5] == 77).all()


advised = pytest.mark.skipif(
    not hasattr(mmap, "MADV_DONTNEED"), reason="pages cannot be let go here"
)


@advised
def test_pages_of_a_memmap_are_let_go_after_reading(tmp_path, monkeypatch):
    values = on_disk(tmp_path, "r")
    asked = []

    class Mapping:
        def madvise(self, advice):
            asked.append(advice)

    monkeypatch.setattr(_inputs, "shared_mapping", lambda values: Mapping())
    rows = Rows(values, None, CPU, resident=False)
    assert np.array_equal(rows.stretch(5, 9), values[5:9])
    assert asked == [mmap.MADV_DONTNEED]
    rows.batch(torch.arange(3 * _inputs.PAGED_ROWS))
    assert asked == [mmap.MADV_DONTNEED] * 4


@advised
@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize(
    "cut",
    [
        lambda values: values,
        lambda values: values[100:],
        lambda values: values[3],
        lambda values: values[::-2, 1:],
        lambda values: values.reshape(-1, 3, 2),
        lambda values: values.T.view(np.int8),
        lambda values: np.asarray(values),
        lambda values: np.asarray(values)[5:].reshape(-1, 2),
        lambda values: values.view(np.ndarray)[1:][::2],
    ],
    ids=["whole", "rows", "row", "steps", "shape", "dtype", "array", "both", "views"],
)
def test_the_mapping_is_found_behind_any_view_of_it(tmp_path, mode, cut):
    values = on_disk(tmp_path, mode)
    found = _inputs.shared_mapping(cut(values))
    assert isinstance(found, mmap.mmap)
    assert found is _inputs.shared_mapping(values)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_copy_of_mapped_rows_has_no_mapping(tmp_path, mode):
    values = on_disk(tmp_path, mode)
    for copy in (values.copy(), values[[2, 3]], np.array(values), values + 1):
        assert _inputs.shared_mapping(copy) is None


LEFT_RESIDENT = """
import sys
import numpy as np
import torch
from skanogan._inputs import Rows
from skanogan.benchmark._memory import memory_of_process

rows = Rows(np.load(sys.argv[1], mmap_mode="r"), None, torch.device("cpu"))
rows.stretch(0, 10)
before = memory_of_process("VmRSS")
for at in torch.arange(len(rows)).split(500):
    assert not rows.batch(at).any()
print(memory_of_process("VmRSS", before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says what is resident")
def test_mapped_rows_do_not_stay_in_memory_once_they_are_read(tmp_path, printed_by):
    path = tmp_path / "rows.npy"
    # 200 MB, of which the file system keeps none
    np.lib.format.open_memmap(path, "w+", np.uint8, (50_000, 4000))
    assert float(printed_by(LEFT_RESIDENT, path)) < 50e6


def test_changes_that_only_memory_holds_are_never_let_go(tmp_path):
    values = on_disk(tmp_path, "c")
    for cut in (values, values[3:], np.asarray(values)):
        assert _inputs.shared_mapping(cut) is None
    assert _inputs.shared_mapping(np.zeros((3, 2))) is None


@pytest.mark.parametrize(("dtype", "held"), [(np.uint8, True), (np.bool_, False)])
def test_rows_are_held_by_what_they_take_as_tensors(dtype, held, monkeypatch):
    # Regression: booleans were counted as bytes, and held as floats of four.
    monkeypatch.setitem(_inputs.RESIDENT_BYTES, "cpu", 1000)
    rows = Rows(np.zeros((100, 9), dtype), None, CPU)
    assert (rows._resident is not None) is held

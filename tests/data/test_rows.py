"""`Rows`: batches of X as tensors, the scaling, and mapped files."""

import mmap
import sys

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from skanogan._data import rows as rows_module
from skanogan._data.rows import Rows
from skanogan.nn._scaling import LIMIT

CPU = torch.device("cpu")


@pytest.fixture
def table():
    return np.random.RandomState(0).normal(5, 3, size=(20, 12))


@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_holds_the_rows_at_the_positions(table, resident, monkeypatch):
    if not resident:
        monkeypatch.setattr(rows_module, "RESIDENT_BYTES", {"cpu": 0})
    rows = Rows(table, None, CPU, np.array([3, 5, 7, 11]))
    assert len(rows) == 4
    batch = rows.batch(torch.tensor([2, 0]))
    np.testing.assert_array_equal(batch.numpy(), table[[7, 3]])


def test_batches_of_images_have_channels_first(table):
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
def test_the_dtype_of_tensors_holds_every_value(dtype, expected):
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    if np.dtype(dtype).itemsize > 2 and np.dtype(dtype).kind in "iu":
        values[0, 0] = np.iinfo(np.int32).max
    batch = Rows(values, None, CPU).batch(torch.arange(3))
    assert batch.dtype == expected
    np.testing.assert_array_equal(batch.numpy(), values.astype(float))


def test_a_batch_of_read_only_rows_is_a_writable_copy(table):
    table.setflags(write=False)
    batch = Rows(table, None, CPU).batch(torch.arange(20))
    batch += 1
    assert table.max() + 1 == batch.max()


def test_a_memmap_is_read_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "RESIDENT_BYTES", {"cpu": 0})
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
def test_tensors_share_no_memory_with_X(dtype):
    values = np.arange(12).reshape(4, 3).astype(dtype)
    for resident in (True, False):
        rows = Rows(values, None, CPU, resident=resident)
        for tensor in (rows.stretch(0, 4), rows.all(), rows.batch(torch.arange(4))):
            tensor.zero_()
    assert values[3, 2] == 11


def test_a_stretch_reads_only_its_own_rows():
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
    monkeypatch.setattr(rows_module, "CHUNK_BYTES", chunk_bytes)
    table[:, 0] = 3.0  # a constant column has the scale 1
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
def test_pixels_are_scaled_to_minus_1_to_1(values, low, high):
    scaling = Rows(values, (2, 2, 1), CPU).scaling()
    ends = scaling(torch.tensor([low, high]).double(), torch.float64)
    assert ends.tolist() == [-1, 1]


@pytest.mark.parametrize("exponent", [-300, -160, 160, 298])
def test_columns_of_any_size_are_standardised(table, exponent):
    # Regression: squares that overflowed gave an infinite scale. Squares that vanished
    # made the column constant.
    table[:, 3] *= 10.0**exponent
    scaling = Rows(table, None, CPU).scaling()
    scaled = scaling(torch.from_numpy(table), torch.float64)
    zero, one = torch.zeros(12).double(), torch.ones(12).double()
    torch.testing.assert_close(scaled.mean(0), zero, atol=1e-12, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), one)


@pytest.mark.parametrize("n_rows", [3, 7, 8, 1000])
@pytest.mark.parametrize("value", [2.2697546239876075e20, -1e16, 1e99, 1e-99, 1.7e308])
def test_a_constant_column_of_any_size_is_scaled_to_zero(value, n_rows):
    # Regression: the mean was off by one unit of rounding, which is 32,768 at 2e20.
    rows = np.full((n_rows, 2), value)
    scaling = Rows(rows, None, CPU).scaling()
    assert not scaling(torch.from_numpy(rows), torch.float64).any()
    assert (scaling.inverse(torch.zeros(1, 2)).numpy() == value).all()


@pytest.mark.parametrize("unit", [1, 2, 3, 1e-200, 1e200])
def test_a_column_of_two_values_is_not_constant(unit):
    # Regression: a deviation of 1 was taken for that of a constant column.
    rows = unit * np.array([[1.0], [3.0], [1.0], [3.0]])
    scaling = Rows(rows, None, CPU).scaling()
    scaled = scaling(torch.from_numpy(rows), torch.float64)
    np.testing.assert_allclose(scaled[:, 0], [-1, 1, -1, 1])


def test_rounding_in_a_constant_column_is_not_amplified():
    rows = np.full((9, 1), 1e20)
    rows[4] = np.nextafter(1e20, 2e20)
    scaling = Rows(rows, None, CPU).scaling()
    assert scaling(torch.from_numpy(rows), torch.float64).abs().max() <= 1


def test_a_power_of_two_as_unit_changes_no_bit_of_scaled_columns(table):
    exponents = np.array([-900, -400, -1, 0, 1, 2, 30, 300, 600, 800, 900, 980])
    stretched = np.ldexp(table, exponents)
    one, other = (
        Rows(X, None, CPU).scaling()(torch.from_numpy(X), torch.float64)
        for X in (table, stretched)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("value", [5e-324, 1e-310, 2e-308])
@pytest.mark.parametrize("image_shape", [None, (2, 6, 1)])
def test_subnormal_numbers_are_scaled_to_finite_values(value, image_shape):
    # Regression: half of 5e-324 is 0, and a division by 0 gives NaN.
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
    small[0], small[-1] = -1, 1  # a range of twice the largest number
    small[1:3, :6] = -1
    large = small * np.finfo(float).max
    one, other = (Rows(X, image_shape, CPU).scaling() for X in (small, large))
    expected = one(torch.from_numpy(small), torch.float64)
    found = other(torch.from_numpy(large), torch.float64)
    torch.testing.assert_close(found, expected)
    back = other.inverse(2 * expected)
    assert torch.isfinite(back).all()
    torch.testing.assert_close(other.inverse(found), torch.from_numpy(large))


def test_the_memory_order_of_X_changes_no_bit_of_the_scaling():
    table = np.random.RandomState(0).normal(size=(999, 7))
    orders = table, np.asfortranarray(table)
    one, other = (Rows(X, None, CPU).scaling() for X in orders)
    assert torch.equal(one.shift, other.shift)
    assert torch.equal(one.scale, other.scale)


def on_disk(folder, mode):
    path = folder / "rows.npy"
    np.save(path, np.arange(60_000, dtype=np.uint8).reshape(-1, 6))
    return np.load(path, mmap_mode=mode)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_any_view_of_a_memmap_is_read_correctly(tmp_path, mode):
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


can_release_pages = pytest.mark.skipif(
    not hasattr(mmap, "MADV_DONTNEED"), reason="this system cannot release pages"
)


@can_release_pages
def test_pages_of_a_memmap_are_released_after_reading(tmp_path, monkeypatch):
    values = on_disk(tmp_path, "r")
    asked = []

    class Mapping:
        def madvise(self, advice):
            asked.append(advice)

    monkeypatch.setattr(rows_module, "shared_mapping", lambda values: Mapping())
    rows = Rows(values, None, CPU, resident=False)
    assert np.array_equal(rows.stretch(5, 9), values[5:9])
    assert asked == [mmap.MADV_DONTNEED]
    rows.batch(torch.arange(3 * rows_module.PAGED_ROWS))
    assert asked == [mmap.MADV_DONTNEED] * 4


@can_release_pages
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
def test_the_mapping_behind_any_view_is_found(tmp_path, mode, cut):
    values = on_disk(tmp_path, mode)
    found = rows_module.shared_mapping(cut(values))
    assert isinstance(found, mmap.mmap)
    assert found is rows_module.shared_mapping(values)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_copy_of_mapped_rows_has_no_mapping(tmp_path, mode):
    values = on_disk(tmp_path, mode)
    for copy in (values.copy(), values[[2, 3]], np.array(values), values + 1):
        assert rows_module.shared_mapping(copy) is None


LEFT_RESIDENT = """
import sys
import numpy as np
import torch
from skanogan._data.rows import Rows

def resident():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])

rows = Rows(np.load(sys.argv[1], mmap_mode="r"), None, torch.device("cpu"))
rows.stretch(0, 10)
before = resident()
for at in torch.arange(len(rows)).split(500):
    assert not rows.batch(at).any()
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is that of Linux")
def test_mapped_rows_do_not_stay_in_memory_after_reading(tmp_path, printed_by):
    path = tmp_path / "rows.npy"
    # A sparse file of 200 MB, which takes no space on the disk.
    np.lib.format.open_memmap(path, "w+", np.uint8, (50_000, 4000))
    assert int(printed_by(LEFT_RESIDENT, path)) < 50e6


def test_pages_with_changes_that_the_file_lacks_are_never_released(tmp_path):
    values = on_disk(tmp_path, "c")
    for cut in (values, values[3:], np.asarray(values)):
        assert rows_module.shared_mapping(cut) is None
    assert rows_module.shared_mapping(np.zeros((3, 2))) is None


@pytest.mark.parametrize(("dtype", "resident"), [(np.uint8, True), (np.bool_, False)])
def test_rows_are_resident_if_their_tensors_are_small_enough(
    dtype, resident, monkeypatch
):
    # Regression: a boolean was counted as one byte, but is kept as a float of four.
    monkeypatch.setitem(rows_module.RESIDENT_BYTES, "cpu", 1000)
    rows = Rows(np.zeros((100, 9), dtype), None, CPU)
    assert (rows._resident is not None) is resident

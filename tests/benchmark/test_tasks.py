import gzip
import struct

import numpy as np
import pytest

from skanogan.benchmark import UsageError, load_tasks
from skanogan.benchmark._sources import read_idx


def row_set(X):
    return {row.tobytes() for row in X}


def numbered_images(n, dtype=np.uint8):
    """Images which all differ, so that a row can be recognised."""
    images = np.zeros((n, 4, 4), dtype=dtype)
    images[:, 0, 0], images[:, 0, 1] = np.arange(n) % 256, np.arange(n) // 256
    return images


@pytest.fixture
def images(tmp_path):
    """40 training and 20 test images of the classes 0 to 3."""
    path = tmp_path / "shirts.npz"
    X = numbered_images(60)
    y = np.arange(60) % 4
    np.savez(path, x_train=X[:40], y_train=y[:40], x_test=X[40:], y_test=y[40:])
    return path


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("task", load_tasks(), ids=lambda task: task.name)
def test_embedded_tasks_train_on_normal_rows_that_are_not_tested(task, seed):
    X_train, X_test, y_test = task.split(seed)
    assert set(y_test) == {1, -1}
    assert len(X_test) == len(y_test)
    assert not row_set(X_train) & row_set(X_test)


def test_embedded_data_are_digits_and_tables():
    names = [task.name for task in load_tasks()]
    assert names[:2] == ["digits 0", "digits 1"]
    assert names[-4:] == ["breast_cancer", "wine 0", "wine 1", "wine 2"]


def test_digits_train_on_70_percent_and_test_as_many_others():
    (task,) = load_tasks("digits", classes=["3"])
    X_train, X_test, y_test = task.split(0)
    assert task.protocol == "p1-70"
    assert X_train.shape[1:] == X_test.shape[1:] == (8, 8)
    assert len(X_train) == int(0.7 * 183)
    assert np.sum(y_test == 1) == np.sum(y_test == -1) == 183 - len(X_train)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    (task,) = load_tasks("digits", classes=[3])
    for again, first in zip(task.split(7), task.split(7), strict=True):
        np.testing.assert_array_equal(again, first)
    assert not np.array_equal(task.split(7).X_train, task.split(8).X_train)


def test_tables_train_on_half_of_the_normal_rows_and_test_all_others(table):
    (task,) = load_tasks(str(table))
    X_train, X_test, y_test = task.split(0)
    assert (task.name, task.protocol) == ("blob", "table")
    assert (len(X_train), np.sum(y_test == 1), np.sum(y_test == -1)) == (30, 30, 20)
    assert not row_set(X_train) & row_set(X_test)


def test_tables_are_standardised_with_the_training_rows(table):
    X_train, X_test, _ = load_tasks(str(table))[0].split(0)
    np.testing.assert_allclose(X_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X_train.std(axis=0), 1)
    assert X_test.mean() > 1


def test_tables_are_capped_at_5000_rows_of_each_kind(tmp_path):
    np.savez(
        tmp_path / "large.npz",
        X=np.arange(24_000.0).reshape(-1, 1),
        y=np.repeat([0, 1], [12_000, 12_000]),
    )
    X_train, X_test, y_test = load_tasks(str(tmp_path / "large.npz"))[0].split(0)
    assert len(X_train) == np.sum(y_test == 1) == np.sum(y_test == -1) == 5_000
    assert len(row_set(X_train) | row_set(X_test)) == 15_000


def test_labels_1_and_minus_1_mean_what_they_mean_in_scikit_learn(tmp_path):
    y = np.repeat([1, -1], [30, 10])
    np.savez(tmp_path / "signed.npz", X=np.arange(40.0).reshape(-1, 1), y=y)
    X_train, _, y_test = load_tasks(str(tmp_path / "signed.npz"))[0].split(0)
    assert len(X_train) == 15
    assert np.sum(y_test == -1) == 10


def test_a_folder_gives_one_task_for_each_file(table):
    np.savez(table.with_name("another.npz"), **np.load(table))
    assert [task.name for task in load_tasks(str(table.parent))] == ["another", "blob"]


def test_class_labels_need_a_protocol(tmp_path):
    path = tmp_path / "three.npz"
    np.savez(path, X=np.arange(30.0).reshape(-1, 1), y=np.arange(30) % 3)
    with pytest.raises(UsageError, match=r"3 classes.*--protocol p1.*y = \(labels"):
        load_tasks(str(path))
    tasks = load_tasks(str(path), protocol="p1")
    assert [task.name for task in tasks] == ["three 0", "three 1", "three 2"]
    X_train, X_test, y_test = tasks[1].split(0)
    assert (len(X_train), len(X_test), y_test.sum()) == (8, 4, 0)


def test_classes_choose_the_normal_label_of_class_labels(tmp_path):
    path = tmp_path / "three.npz"
    np.savez(path, X=np.arange(30.0).reshape(-1, 1), y=np.arange(30) % 3)
    assert [task.name for task in load_tasks(str(path), classes=[2])] == ["three 2"]


@pytest.mark.parametrize("y", [np.linspace(0, 1, 30), np.array(["a", "b"] * 15)])
def test_labels_that_are_not_classes_are_refused(tmp_path, y):
    np.savez(tmp_path / "bad.npz", X=np.zeros((30, 2)), y=y)
    with pytest.raises(UsageError, match=r"expected 0 \(normal\) and 1 \(anomaly\)"):
        load_tasks(str(tmp_path / "bad.npz"))


def test_pickled_content_is_not_loaded(tmp_path):
    np.savez(tmp_path / "pickled.npz", X=np.array([{}] * 3), y=np.array([0, 1, 0]))
    with pytest.raises(UsageError, match="cannot be read"):
        load_tasks(str(tmp_path / "pickled.npz"))


def test_other_arrays_are_named_in_the_error(tmp_path):
    np.savez(tmp_path / "other.npz", data=np.zeros((3, 2)))
    with pytest.raises(UsageError, match="holds the arrays data; expected X and y"):
        load_tasks(str(tmp_path / "other.npz"))


def test_official_parts_train_on_one_class_and_test_on_all(images):
    task = load_tasks(str(images), classes=[2])[0]
    X_train, X_test, y_test = task.split(0)
    assert (task.name, task.protocol) == ("shirts 2", "p2")
    assert X_train.dtype == X_test.dtype == np.uint8
    np.testing.assert_array_equal(
        X_train[:, 0, 0], np.arange(40)[np.arange(40) % 4 == 2]
    )
    np.testing.assert_array_equal(X_test[:, 0, 0], np.arange(40, 60))
    np.testing.assert_array_equal(y_test == 1, np.arange(40, 60) % 4 == 2)


def test_protocol_p1_pools_the_official_parts(images):
    X_train, X_test, y_test = load_tasks(str(images), protocol="p1")[0].split(0)
    assert (len(X_train), len(X_test), y_test.sum()) == (12, 6, 0)
    assert not row_set(X_train) & row_set(X_test)


def test_images_with_anomaly_labels_keep_their_pixels(tmp_path):
    path = tmp_path / "tiles.npz"
    np.savez(path, x=numbered_images(30), y=np.repeat([False, True], [20, 10]))
    (task,) = load_tasks(str(path))
    assert task.protocol == "p1"
    assert task.split(0).X_train.dtype == np.uint8


def test_protocol_p2_needs_an_official_test_part(table):
    with pytest.raises(UsageError, match="p2 needs an official test part"):
        load_tasks(str(table), protocol="p2")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_folders_are_read_like_npz_with_parts(images, tmp_path, suffix):
    folder = tmp_path / "idx"
    folder.mkdir()
    arrays = np.load(images)
    for idx, npz in {
        "train-images-idx3-ubyte": "x_train",
        "train-labels-idx1-ubyte": "y_train",
        "t10k-images-idx3-ubyte": "x_test",
        "t10k-labels-idx1-ubyte": "y_test",
    }.items():
        write_idx(folder / f"{idx}{suffix}", arrays[npz])
    from_idx, from_npz = load_tasks(str(folder)), load_tasks(str(images))
    assert [task.name for task in from_idx] == ["idx 0", "idx 1", "idx 2", "idx 3"]
    for a, b in zip(from_idx[1].split(0), from_npz[1].split(0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_incomplete_idx_file_is_refused(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((3, 2, 2)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        UsageError, match=r"11 bytes .* expected 12 .* Copy the file again"
    ):
        read_idx(path)


def test_idx_reads_big_endian_numbers(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(struct.pack(">BBBBI3i", 0, 0, 12, 1, 3, 1, -2, 300))
    np.testing.assert_array_equal(read_idx(path), [1, -2, 300])


def test_a_limit_caps_both_parts_and_keeps_both_kinds(table):
    X_train, _, y_test = load_tasks(str(table), limit=8)[0].split(0)
    assert (len(X_train), len(y_test)) == (8, 8)
    assert 0 < np.sum(y_test == -1) < 8


def test_openml_gives_one_task_for_each_class(monkeypatch):
    def fetch(name, **options):
        assert (name, options["version"]) == ("somewhere", 2)
        return np.arange(40.0).reshape(-1, 1), np.array(["a", "b"] * 20, dtype=object)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    tasks = load_tasks("openml:somewhere:2")
    assert [task.normal for task in tasks] == ["a", "b"]
    assert len(tasks[0].split(0).X_train) == 10


def test_openml_without_a_network_is_an_error(monkeypatch):
    def fetch(name, **options):
        raise OSError("name resolution failed")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(UsageError, match=r"Without a network, pass a \.npz file"):
        load_tasks("openml:unreachable")


def test_changed_data_have_another_digest(table):
    before = load_tasks(str(table))[0].digest
    arrays = dict(np.load(table))
    arrays["X"][0, 0] += 1
    np.savez(table.with_name("changed.npz"), **arrays)
    assert load_tasks(str(table.with_name("changed.npz")))[0].digest != before


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("nowhere.npz", {}, "does not exist"),
        ("digits", {"protocol": "p9"}, "unknown protocol"),
        ("digits", {"classes": [11]}, "no task has one of the classes 11"),
        ("digits", {"limit": 1}, "expected 2 rows or more"),
    ],
)
def test_bad_arguments_are_refused_with_a_reason(data, options, message):
    with pytest.raises(UsageError, match=message):
        load_tasks(data, **options)


# Unlabelled rows -------------------------------------------------------------------


@pytest.mark.parametrize("source", ["wine", "digits"])
def test_unlabelled_rows_are_fitted_and_scored_with_a_tenth_of_others(source):
    task = load_tasks(source, protocol="unlabelled")[0]
    X_train, X_test, y_test = task.split(0)
    np.testing.assert_array_equal(X_train, X_test)
    assert np.mean(y_test == -1) == pytest.approx(0.1, abs=0.01)
    if X_train.ndim == 2:
        np.testing.assert_allclose(X_train.mean(0), 0, atol=1e-9)


def test_a_table_with_two_labels_is_taken_as_it_is(tmp_path):
    X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 4 == 0
    np.savez(tmp_path / "all.npz", X=X, y=y.astype(int))
    (task,) = load_tasks(str(tmp_path / "all.npz"), protocol="unlabelled")
    X_train, _, y_test = task.split(0)
    assert len(X_train) == 20
    assert np.sum(y_test == -1) == 5


def test_a_limit_bounds_unlabelled_rows():
    task = load_tasks("wine", protocol="unlabelled", limit=30)[0]
    assert len(task.split(0).X_train) == 30


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("source", ["breast_cancer", "digits"])
def test_contamination_puts_untested_anomalies_among_the_training_rows(source, seed):
    clean = load_tasks(source)[0].split(seed)
    mixed = load_tasks(source, contamination=0.1)[0].split(seed)
    added = len(mixed.X_train) - len(clean.X_train)
    assert added / len(mixed.X_train) == pytest.approx(0.1, abs=0.01)
    assert np.sum(mixed.y_test == 1) == np.sum(clean.y_test == 1)
    assert np.sum(mixed.y_test == -1) == np.sum(clean.y_test == -1) - added
    assert not row_set(mixed.X_train) & row_set(mixed.X_test)


def test_contamination_takes_at_most_half_of_the_anomalies():
    clean, mixed = (load_tasks("wine", contamination=c)[0].split(0) for c in (0, 0.49))
    n_anomalies = np.sum(clean.y_test == -1)
    assert np.sum(mixed.y_test == -1) >= n_anomalies / 2


def test_contamination_of_the_official_training_part_leaves_all_test_rows(images):
    clean, mixed = (
        load_tasks(str(images), classes=["1"], contamination=c)[0].split(0)
        for c in (0, 0.2)
    )
    assert len(mixed.X_train) > len(clean.X_train)
    np.testing.assert_array_equal(np.sort(mixed.y_test), np.sort(clean.y_test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contamination": 0.5}, "contamination is 0.5"),
        ({"contamination": -0.1}, "contamination is -0.1"),
        ({"contamination": 0.1, "protocol": "unlabelled"}, "takes the rows as they"),
    ],
)
def test_another_contamination_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_tasks("wine", **arguments)

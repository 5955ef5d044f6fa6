"""The study of one class of CIFAR-10, on artificial images and an untrained network."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from studies import cifar
from torch import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore::skanogan.exceptions.CalibrationWarning"
)

N_EACH = 24


@pytest.fixture
def photographs():
    """Images of noise whose mean grey level is that of their class."""
    rng = np.random.RandomState(0)
    levels = 20 * np.repeat(np.arange(len(cifar.CLASSES)), N_EACH)
    noise = rng.randint(0, 40, (len(levels), 32, 32, 3))
    return (levels[:, None, None, None] + noise).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path, photographs):
    """The folder of the images as PNG files."""
    for part in ("train", "test"):
        for k, name in enumerate(cifar.CLASSES):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(N_EACH):
                image = Image.fromarray(photographs[k * N_EACH + i])
                image.save(folder / f"{i:04}.png")
    return tmp_path


@pytest.fixture(autouse=True)
def untrained_network(monkeypatch):
    """A convolution with fixed weights in place of the pretrained network."""
    convolution = nn.Conv2d(3, 8, 8, 8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in convolution.parameters():
            weights.normal_(0, 0.1, generator=generator)
    monkeypatch.setattr(cifar, "network", lambda: nn.Sequential(convolution))
    monkeypatch.setattr(cifar, "LAYERS", ["0"])


def test_the_study_prints_a_row_for_each_method_and_input(pictures, rows_printed):
    size = ["--train", "20", "--test", "100", "--seeds", "0,1"]
    size += ["--inputs", "features,directions,pixels"]
    classes = ["--classes", "airplane,truck"]
    assert cifar.main([str(pictures), *size, *classes, "--only", "5-NN"]) == 0
    head, _, *found = rows_printed()
    assert head == ["input", "method", "airplane", "truck", "mean", "s"]
    assert [row[0] for row in found] == ["features", "directions", "pixels"]
    assert {row[1] for row in found} == {"5-NN"}
    assert min(float(row[4]) for row in found) > 0.9


def test_no_features_are_computed_for_pixels_alone(pictures, monkeypatch, rows_printed):
    monkeypatch.setattr(cifar, "network", lambda: pytest.fail("not needed"))
    size = ["--train", "20", "--test", "50", "--seeds", "0", "--only", "5-NN"]
    assert cifar.main([str(pictures), *size, "--inputs", "pixels"]) == 0
    assert [row[0] for row in rows_printed()[2:]] == ["pixels"]


def test_features_are_kept_for_the_next_call(pictures, monkeypatch, tmp_path, capsys):
    arguments = [str(pictures), "--cache", str(tmp_path / "cache"), "--seeds", "0"]
    arguments += ["--train", "20", "--test", "50", "--only", "5-NN"]
    cifar.main(arguments)
    first = capsys.readouterr().out.splitlines()[1:]
    monkeypatch.setattr(cifar, "network", lambda: pytest.fail("computed again"))
    cifar.main(arguments)
    # All but the seconds.
    again = capsys.readouterr().out.splitlines()[1:]
    assert [r.rsplit("|", 2)[0] for r in again] == [r.rsplit("|", 2)[0] for r in first]


def test_the_original_files_hold_the_same_images(tmp_path, photographs):
    order = np.random.RandomState(1).permutation(len(photographs))
    numbers = np.repeat(np.arange(len(cifar.CLASSES)), N_EACH)
    pixels = photographs.transpose(0, 3, 1, 2).reshape(len(photographs), -1)
    for k, part in enumerate(np.array_split(order, 2), 1):
        batch = {b"data": pixels[part], b"labels": numbers[part].tolist()}
        (tmp_path / f"data_batch_{k}").write_bytes(pickle.dumps(batch))
    images, labels = cifar.read(tmp_path, "train", ["ship", "cat"])
    assert labels.tolist() == ["ship"] * N_EACH + ["cat"] * N_EACH
    for found, k in ((images[:N_EACH], 8), (images[N_EACH:], 3)):
        expected = photographs[k * N_EACH : (k + 1) * N_EACH]
        assert {x.tobytes() for x in found} == {x.tobytes() for x in expected}


def test_as_many_test_images_of_each_class_are_drawn():
    labels = np.repeat(["a", "b"], [30, 60])
    rows = cifar.draw(labels, 41, np.random.RandomState(0))
    assert (labels[rows] == "a").sum() == (labels[rows] == "b").sum() == 20
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("name", [n for n in cifar.METHODS if "untrained" in n])
def test_untrained_detectors_make_no_update(name):
    X = np.random.RandomState(0).normal(size=(60, 5))
    assert cifar.METHODS[name](0).fit(X).n_iter_ == 0

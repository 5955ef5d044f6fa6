"""``python -m skanogan mark``: what it accepts, refuses, writes and draws."""

import csv
import functools
import re
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from skanogan import OCGANDetector
from skanogan.__main__ import main
from skanogan._mark import command, detection
from skanogan._mark.pictures import LONGEST_SIDE, Scale, marked_picture
from skanogan.exceptions import CalibrationWarning

# Folders of a few tiny images are too small to calibrate a threshold.
pytestmark = pytest.mark.filterwarnings(
    "ignore::skanogan.exceptions.CalibrationWarning"
)

BYTES = np.dtype("uint8")

RECIPE = """
import torch
from torch import nn
from skanogan.features import NetworkFeatures

def features():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU())
    return NetworkFeatures(network, pooling=None, mean=0.5, std=0.5)

def broken():
    return 1 / 0

def nothing():
    return None
"""


def stripes(rng, shape=(24, 30)):
    image = 120 + 60 * np.sin(np.arange(shape[0]))[:, None] + rng.normal(0, 5, shape)
    return image.clip(0, 255).astype(np.uint8)


def save(image, path):
    Image.fromarray(image).save(path)


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    cheap = functools.partial(OCGANDetector, backbone="mlp", max_iter=2)
    monkeypatch.setattr(detection, "OCGANDetector", cheap)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Make ten normal images, and a normal and an unusual image to check."""
    rng = np.random.RandomState(0)
    for name in ("normal", "check"):
        (tmp_path / name).mkdir()
    for i in range(10):
        save(stripes(rng), tmp_path / "normal" / f"{i}.png")
    save(stripes(rng), tmp_path / "check" / "fine.png")
    unusual = stripes(rng)
    unusual[8:16, 10:20] = 255
    save(unusual, tmp_path / "check" / "unusual.png")
    (tmp_path / "recipe.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "recipe", raising=False)
    return tmp_path


def mark(*options, out="report"):
    return main(["mark", "normal", "check", "--out", out, *options])


def table(folder):
    with (folder / "scores.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def row(folder, name):
    (found,) = [r for r in table(folder) if r["file"] == name]
    return found


def refused(capsys, *options, out="report"):
    """Run the command, and return its one line of error."""
    with pytest.raises(SystemExit) as error:
        mark(*options, out=out)
    assert error.value.code == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if ": error: " in x]
    assert len(lines) == 1
    return lines[0].partition("error: ")[2]


def test_a_report_has_a_page_a_table_and_pictures(folders, capsys):
    assert mark() == 0
    report = folders / "report"
    assert sorted(p.name for p in report.iterdir()) == [
        "index.html",
        "marked",
        "scores.csv",
    ]
    assert re.search(
        r"of 2 files are called anomalies\. Report: ", capsys.readouterr().out
    )
    for r in table(report):
        with Image.open(report / r["picture"]) as picture:
            assert picture.mode == "RGBA"


def test_pictures_are_numbered_from_the_lowest_decision_on(folders):
    mark()
    rows = table(folders / "report")
    decisions = [float(r["decision"]) for r in rows]
    assert decisions == sorted(decisions)
    assert [r["picture"][:13] for r in rows] == ["marked/00001-", "marked/00002-"]


def test_features_of_a_function_mark_the_unusual_place(folders):
    assert mark("--features", "recipe:features") == 0
    first, last = table(folders / "report")
    assert (first["file"], first["label"]) == ("unusual.png", "anomaly")
    assert last["file"] == "fine.png"
    page = (folders / "report" / "index.html").read_text(encoding="utf-8")
    assert "PositionDetector" in page
    with Image.open(folders / "report" / first["picture"]) as picture:
        outlined = (np.asarray(picture)[..., :3] == (255, 176, 0)).all(-1)
    half = outlined[:, -30 * 9 :]  # 30 pixels are drawn nine times as large
    rows, columns = np.nonzero(half)
    assert abs(rows.mean() / 9 - 12) < 3
    assert abs(columns.mean() / 9 - 15) < 3


def test_features_of_another_dtype_are_not_compared(folders):
    make_deep(folders / "check" / "deep.png")
    assert mark("--features", "recipe:features") == 0
    assert row(folders / "report", "deep.png")["label"] == "not checked"


def test_normal_images_of_two_dtypes_are_refused(folders, capsys):
    make_deep(folders / "normal" / "deep.png")
    assert "deep.png) has dtype uint16" in refused(
        capsys, "--features", "recipe:features"
    )


def test_names_with_spaces_umlauts_and_quotes_are_written_and_linked(folders):
    name = 'ein "Teil" & größer #1%20.png'
    (folders / "check" / "fine.png").rename(folders / "check" / name)
    mark()
    assert (folders / "report" / row(folders / "report", name)["picture"]).exists()
    page = (folders / "report" / "index.html").read_text(encoding="utf-8")
    assert "ein &quot;Teil&quot; &amp; größer #1%20.png" in page
    assert "%22Teil%22%20%26%20gr%C3%B6%C3%9Fer%20%231%2520.png" in page


def test_files_that_differ_in_their_suffix_alone_have_their_own_pictures(folders):
    save(stripes(np.random.RandomState(5)), folders / "check" / "fine.bmp")
    mark()
    pictures = {r["picture"] for r in table(folders / "report")}
    assert len(pictures) == 3
    assert all((folders / "report" / picture).exists() for picture in pictures)


def test_a_very_long_name_is_shortened_in_that_of_the_picture(folders):
    name = "ü" * 120 + ".png"
    (folders / "check" / "fine.png").rename(folders / "check" / name)
    mark()
    assert (folders / "report" / row(folders / "report", name)["picture"]).exists()


def make_broken(path):
    path.write_bytes(b"no image")


def make_colour(path):
    save(np.zeros((24, 30, 3), np.uint8), path)


def make_small(path):
    save(np.zeros((24, 9), np.uint8), path)


def make_deep(path):
    save(np.full((24, 30), 4000, np.uint16), path)


def make_transparent(path):
    pixels = np.zeros((24, 30, 2), np.uint8)
    pixels[:5, :, 1] = 255
    save(pixels, path)


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (make_broken, "The image cannot be read: its content is not that of an image."),
        (make_colour, "The image has shape (24, 30, 3), but the first image of NORMAL"),
        (make_small, "The image has shape (24, 9), which is smaller than a patch"),
        (make_deep, "The image has dtype uint16, but the first image of NORMAL"),
        (make_transparent, "The image has an alpha channel that varies"),
    ],
)
def test_a_file_that_cannot_be_checked_is_noted_and_others_are_checked(
    folders, make, note
):
    make(folders / "check" / "wrong.png")
    assert mark() == 0
    report = folders / "report"
    wrong = row(report, "wrong.png")
    assert wrong["note"].startswith(note)
    assert (wrong["label"], wrong["score"], wrong["picture"]) == ("not checked", "", "")
    assert table(report)[-1] == wrong
    assert len(list((report / "marked").iterdir())) == 2
    assert "1 could not be checked" in (report / "index.html").read_text("utf-8")


def test_a_constant_alpha_channel_is_noted_in_the_table(folders):
    pixels = np.dstack(
        [stripes(np.random.RandomState(5)), np.full((24, 30), 255, "u1")]
    )
    save(pixels, folders / "check" / "alpha.png")
    mark()
    noted = row(folders / "report", "alpha.png")
    assert noted["label"] != "not checked"
    assert noted["note"].startswith("The image has an alpha channel that is 255")
    page = (folders / "report" / "index.html").read_text(encoding="utf-8")
    assert "scores.csv has notes on 1 checked file(s)." in page


def test_an_upright_photograph_is_drawn_by_its_orientation(folders):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(stripes(np.random.RandomState(5)))
    picture.save(folders / "check" / "turned.png", exif=exif)
    mark()
    with Image.open(
        folders / "report" / row(folders / "report", "turned.png")["picture"]
    ) as drawn:
        assert drawn.height == 30 * 9


def test_patches_fit_into_the_smallest_normal_image(folders, capsys):
    save(stripes(np.random.RandomState(5), (11, 40)), folders / "normal" / "small.png")
    assert mark() == 0
    assert "Patches have 11 x 11 pixels" in capsys.readouterr().err


def test_normal_images_of_a_few_pixels_are_refused(folders, capsys):
    save(np.zeros((5, 40), np.uint8), folders / "normal" / "small.png")
    message = refused(capsys)
    assert "small.png" in message
    assert "a side of 5 pixels" in message


def test_damaged_normal_files_are_left_out_and_named(folders, capsys):
    make_broken(folders / "normal" / "broken.png")
    assert mark() == 0
    said = "1 of 11 files of NORMAL cannot be read and are left out: broken.png."
    assert said in capsys.readouterr().err
    assert said in (folders / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [(), ("--contamination", "0.05")])
def test_the_note_on_few_normal_images_has_the_remedies_of_the_command(
    folders, capsys, options
):
    with warnings.catch_warnings():
        warnings.simplefilter("always", CalibrationWarning)
        assert mark(*options) == 0
    said = capsys.readouterr().err
    assert "Put more images into NORMAL, or pass --contamination." in said
    assert "offset_" not in said


def test_one_folder_can_be_both_and_the_report_says_so(folders):
    assert main(["mark", "normal", "normal", "--out", "report"]) == 0
    page = (folders / "report" / "index.html").read_text(encoding="utf-8")
    assert "NORMAL and CHECK are one folder." in page


def test_a_report_inside_the_checked_folder_is_not_checked_itself(folders):
    assert mark(out="check/report") == 0
    assert mark(out="check/again") == 0
    assert len(table(folders / "check" / "again")) == 2


def test_an_empty_folder_is_accepted_for_the_report(folders):
    (folders / "report").mkdir()
    assert mark() == 0
    assert (folders / "report" / "index.html").exists()


def test_a_folder_with_files_is_refused_and_stays_as_it_is(folders, capsys):
    (folders / "report").mkdir()
    (folders / "report" / "mine.txt").write_text("mine")
    assert refused(capsys).startswith("--out report exists and is not an empty folder.")
    assert [p.name for p in (folders / "report").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--contamination", "0.7"], "0.7 is no share above 0 and up to 0.5"),
        (["--contamination", "much"], "much is no share above 0 and up to 0.5"),
        (["--features", "recipe"], "--features recipe is not MODULE:FUNCTION"),
        (["--features", "missing_file:f"], "No module named 'missing_file'"),
        (["--features", "recipe:missing"], "has no attribute 'missing'"),
        (["--features", "recipe:broken"], "ZeroDivisionError: division by zero"),
        (["--features", "recipe:nothing"], "returns NoneType, which has no fit"),
        (["--seed", "-1"], "random_state"),
    ],
)
def test_wrong_arguments_are_one_line_and_nothing_is_written(
    folders, capsys, options, message
):
    assert message in refused(capsys, *options)
    assert not (folders / "report").exists()


def test_the_line_in_which_a_function_fails_is_named(folders, capsys):
    line = RECIPE.splitlines().index("    return 1 / 0") + 1
    assert f"recipe.py, line {line})" in refused(capsys, "--features", "recipe:broken")


@pytest.mark.parametrize("name", ["normal", "check"])
def test_a_folder_without_images_is_refused(folders, capsys, name):
    for path in (folders / name).iterdir():
        path.unlink()
    assert refused(capsys).startswith(f"{name.upper()} is '{name}', in which no file")


def test_a_folder_that_does_not_exist_is_refused(folders, capsys):
    (folders / "check").rename(folders / "other")
    assert refused(capsys).startswith("CHECK is 'check', which is not a folder")


def test_no_report_is_written_if_no_file_can_be_checked(folders, capsys):
    for name in ("fine.png", "unusual.png"):
        make_broken(folders / "check" / name)
    message = refused(capsys)
    assert message.startswith("None of the 2 images of CHECK could be checked.")
    assert not (folders / "report").exists()


def test_an_interruption_leaves_nothing(folders, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "scale_of", interrupted)
    assert mark() == 130
    assert not (folders / "report").exists()
    assert "nothing was written" in capsys.readouterr().err


def test_maps_below_zero_are_marked_by_their_distance_from_the_median():
    image = np.full((256, 256), 100, np.uint8)
    found = np.full((256, 256), -50.0)
    found[100:120, 100:120] = -10
    scale = Scale(-50, -20, BYTES, (0, 255))
    pixels = np.asarray(marked_picture(image, found, scale)).astype(int)
    marked = pixels[:, -256:]
    assert marked[110, 110, 0] > marked[110, 110, 1] + 40  # red
    assert (marked[10, 10, :3] == 100).all()


def test_a_thin_scratch_of_a_large_photograph_stays_outlined():
    image = np.zeros((2000, 1000, 3), np.uint8)
    found = np.zeros((2000, 1000))
    found[:, 500] = 1
    picture = marked_picture(image, found, Scale(0, 0.5, BYTES, (0, 255)))
    assert picture.height <= LONGEST_SIDE
    outlined = (np.asarray(picture)[..., :3] == (255, 176, 0)).all(-1)
    assert outlined.any(axis=1).all()


def test_pixels_of_16_bits_are_drawn_on_the_range_of_normal_images():
    dark = np.full((300, 300), 1000, np.uint16)
    picture = marked_picture(
        dark, np.zeros((300, 300)), Scale(0, 1, dark.dtype, (1000, 5000))
    )
    assert np.asarray(picture)[0, 0].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize("n_channels", [2, 3, 5])
def test_images_of_any_number_of_channels_are_drawn(n_channels):
    image = np.zeros((40, 30, n_channels), np.uint8)
    picture = marked_picture(image, np.zeros((40, 30)), Scale(0, 1, BYTES, (0, 255)))
    assert picture.height == 40 * 7

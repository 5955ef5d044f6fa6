"""Images from files and folders, and the masks that are read with them."""

import io
import sys
import warnings

import numpy as np
import pytest

from skanogan._data.image_files import FileReader, UnreadableImageError
from skanogan._data.images import as_images, mask_of, only_readable, read_image
from skanogan.exceptions import ImageFileWarning, MaskWarning

Image = pytest.importorskip("PIL.Image")


def pixels(*shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def read(path):
    """Read a file and let no warning pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_image(path, "images[0]", FileReader())


def saved(folder, image, name="a.png", **options):
    """Save an array or a picture of Pillow."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(folder / name, **options)
    return folder / name


# Kinds of files ---------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "jpg"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_grey_and_colour_files_have_the_pixels_of_pillow(tmp_path, suffix, shape):
    path = saved(tmp_path, pixels(*shape), f"a.{suffix}")
    with Image.open(path) as opened:
        expected = np.array(opened)
    found = read(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_files_of_16_bits_are_uint16(tmp_path, name):
    stored = pixels(9, 7).astype(np.uint16) * 257
    if name == "a.pgm":  # Pillow 10 does not write it
        content = b"P5 7 9 65535\n" + stored.astype(">u2").tobytes()
        (tmp_path / name).write_bytes(content)
    else:
        saved(tmp_path, stored, name)
    found = read(tmp_path / name)
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    assert np.array_equal(found, stored)


def test_files_of_16_bits_in_the_other_order_of_bytes_are_native(tmp_path):
    stored = pixels(9, 7).astype(np.uint16) * 200
    picture = Image.frombytes("I;16B", (7, 9), stored.astype(">u2").tobytes())
    found = read(saved(tmp_path, picture, "a.tif"))
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    assert np.array_equal(found, stored)


def test_files_of_float32_and_of_int32_keep_their_pixels(tmp_path):
    for stored in (pixels(9, 7) / np.float32(7), pixels(9, 7).astype(np.int32) - 70000):
        found = read(saved(tmp_path, stored, "a.tif"))
        assert found.dtype == stored.dtype
        assert np.array_equal(found, stored)


def test_a_palette_becomes_its_colours(tmp_path):
    colours = pixels(9, 7, 3) // 128 * 255
    picture = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
    assert picture.mode == "P"
    assert np.array_equal(read(saved(tmp_path, picture)), colours)


def test_single_bits_become_0_and_255(tmp_path):
    bits = pixels(9, 7) > 99
    found = read(saved(tmp_path, Image.fromarray(bits)))
    assert found.dtype == np.uint8
    assert np.array_equal(found, 255 * bits)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colours_become_rgb(tmp_path, mode):
    red = Image.new("RGB", (7, 9), (250, 30, 20))
    if mode == "LAB":
        picture = Image.new("LAB", (7, 9), (53, 80, 67))
        expected = np.array(picture.convert("RGB"))
    else:
        picture = red.convert(mode)
        expected = np.array(red)
    path = saved(tmp_path, picture, "a.tif")
    with Image.open(path) as opened:
        if opened.mode != mode:
            pytest.skip("Pillow 10 does not read the YCbCr files that it writes")
    found = read(path)
    assert found.shape == (9, 7, 3)
    # Conversions to and from YCbCr round.
    assert np.abs(found.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda image: image),
        (3, lambda image: image[::-1, ::-1]),
        (6, lambda image: np.rot90(image, -1)),
        (8, lambda image: np.rot90(image)),
    ],
)
def test_pictures_are_upright_by_their_exif_orientation(
    tmp_path, name, orientation, turned
):
    # A JPEG file keeps squares of 8 pixels of one grey.
    stored = np.kron(pixels(2, 3), np.ones((8, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read(saved(tmp_path, stored, name, exif=exif))
    expected = turned(stored)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_are_upright_too(tmp_path, name):
    stored = pixels(4, 6).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    found = read(saved(tmp_path, stored, name, exif=exif))
    assert np.array_equal(found, np.rot90(stored, -1))


def test_previews_beside_the_picture_of_a_camera_are_ignored(tmp_path):
    picture, preview = Image.new("L", (16, 24), 90), Image.new("L", (8, 12), 200)
    path = saved(
        tmp_path,
        picture,
        "a.jpg",
        format="MPO",
        save_all=True,
        append_images=[preview],
    )
    found = read(path)
    assert found.shape == (24, 16)
    assert np.abs(found.astype(int) - 90).max() <= 1


def test_arrays_stay_as_they_are():
    for image in (pixels(9, 7, 4), pixels(9, 7, 2), pixels(9, 7).astype(">u2")):
        assert read(image) is image


# Alpha ------------------------------------------------------------------------


def with_alpha(folder, mode, alpha):
    """Save a picture with alpha, and return its path and what should be read."""
    if mode == "LA":
        picture = Image.merge("LA", [Image.fromarray(pixels(9, 7)), alpha])
        return saved(folder, picture), pixels(9, 7)
    colours = pixels(9, 7, 3) // 128 * 255
    picture = Image.fromarray(colours)
    if mode == "RGBA":
        picture.putalpha(alpha)
        return saved(folder, picture), colours
    if mode == "PA":
        picture = picture.convert("P", palette=Image.Palette.ADAPTIVE)
        picture = picture.convert("PA")
        picture.putalpha(alpha)
        # PNG files store PA as a palette with transparency.
        return saved(folder, picture, "a.tif"), colours
    raise AssertionError(mode)


@pytest.mark.parametrize("value", [255, 128, 0])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_a_constant_alpha_channel_is_left_out_with_a_warning(tmp_path, mode, value):
    path, expected = with_alpha(tmp_path, mode, Image.new("L", (7, 9), value))
    with pytest.warns(
        ImageFileWarning, match=rf"images\[2\] \(.*has an alpha .* is {value} every"
    ) as caught:
        found = read_image(path, "images[2]", FileReader())
    assert caught[0].filename == __file__
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_one_reader_warns_once(tmp_path):
    path, _ = with_alpha(tmp_path, "RGBA", Image.new("L", (7, 9), 255))
    reader = FileReader()
    with pytest.warns(ImageFileWarning):
        read_image(path, "images[0]", reader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path, "images[1]", reader)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_an_alpha_channel_that_varies_is_refused(tmp_path, mode):
    alpha = np.full((9, 7), 255, np.uint8)
    alpha[0, 0] = 7
    path, _ = with_alpha(tmp_path, mode, Image.fromarray(alpha))
    with pytest.raises(
        ValueError, match=r"images\[0\] \(.*varies from 7 to 255.*background.*mask"
    ):
        read(path)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_an_alpha_channel(tmp_path, mode):
    grey = np.zeros((9, 7), np.uint8)
    grey[2] = 200
    transparent = (0, 0, 0) if mode == "RGB" else 0
    picture = Image.fromarray(grey).convert(mode)
    path = saved(tmp_path, picture, transparency=transparent)
    with pytest.raises(ValueError, match="varies from 0 to 255"):
        read(path)
    # No pixel has this colour.
    unused = (9, 9, 9) if mode == "RGB" else 9
    path = saved(tmp_path, picture, transparency=unused)
    with pytest.warns(ImageFileWarning, match="is 255 everywhere"):
        found = read_image(path, "images[0]", FileReader())
    assert np.array_equal(found, np.array(picture.convert(found.ndim == 3 and "RGB")))


# Files that cannot be read ----------------------------------------------------


def png():
    stream = io.BytesIO()
    Image.fromarray(pixels(40, 40)).save(stream, "png")
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, pixels(40, 40))
    return stream.getvalue()


BROKEN = {
    "truncated.png": lambda: png()[:-400],
    "empty.png": lambda: b"",
    "text.jpg": lambda: b"This is a text.",
    "damaged.png": lambda: png()[:60] + bytes(500) + png()[560:],
    "damaged.tif": lambda: b"II*\0" + bytes(99),
    "truncated.npy": lambda: npy()[:-400],
    "empty.npy": lambda: b"",
    "text.npy": lambda: b"This is a text.",
}
"""The contents of files that cannot be read."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_named_with_its_position(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name]())
    message = rf"images\[0\] \(.*{name}\) cannot be read: .+\. Repair the file or"
    with pytest.raises(UnreadableImageError, match=message):
        read(tmp_path / name)


def test_the_error_for_very_large_pictures_names_the_limit(tmp_path, monkeypatch):
    path = saved(tmp_path, pixels(9, 7))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(ValueError, match=r"a\.png\) has more.*MAX_IMAGE_PIXELS") as e:
        read(path)
    assert not isinstance(e.value, UnreadableImageError)


def test_files_of_several_images_are_refused(tmp_path):
    frames = [Image.fromarray(pixels(9, 7, seed=k)) for k in range(3)]
    path = saved(tmp_path, frames[0], "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"images\[0\] \(.*a\.tif\) holds 3 images\."):
        read(path)


def test_files_that_are_not_there_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images\[0\] \(.*b\.png\) does not"):
        read(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"images\[0\] \(.*\) is a folder\. Pass the"):
        read(tmp_path)


def test_only_readable_images_are_kept_with_one_warning(tmp_path):
    images = [saved(tmp_path, pixels(9, 7), f"{i}.png") for i in range(9)]
    for i in (1, 2, 4, 5, 7):
        images[i].write_bytes(b"")
    images[2] = pixels(9, 7)
    images[7].unlink()
    with pytest.warns(ImageFileWarning) as caught:
        found = only_readable(images, None, range(1, 9), FileReader())
    assert found.tolist() == [2, 3, 6, 8]
    (message,) = [str(each.message) for each in caught]
    assert message.startswith("fit leaves out 4 of 8 images, because their files")
    for i in (1, 4, 5):
        assert f"images[{i}] ({images[i]})" in message
    assert message.endswith(", and 1 more. Repair these files or leave them out.")


def test_images_whose_mask_cannot_be_read_are_not_kept(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    masks = [None, tmp_path / "a.png", pixels(9, 7)]
    with pytest.warns(ImageFileWarning, match=r"The mask of images\[1\]|a\.png"):
        found = only_readable([pixels(9, 7)] * 3, masks, range(3), FileReader())
    assert found.tolist() == [0, 2]


def test_readable_images_cause_no_warning(tmp_path):
    path = saved(tmp_path, pixels(9, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = only_readable([path, pixels(9, 7)], None, [0, 1], FileReader())
    assert found.tolist() == [0, 1]


# Folders ----------------------------------------------------------------------


def test_a_folder_is_its_image_files_by_name(tmp_path):
    names = ["B.PNG", "a.jpg", "a10.npy", "a2.tif", "c.JPEG", "d.webp", "e.gif"]
    names += ["f.pgm", "g.bmp", "h.tiff"]
    others = [".hidden.png", "notes.txt", "no_suffix", "data.h5", "film.mpg"]
    for name in names + others:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.png").touch()
    expected = [tmp_path / name for name in sorted(names)]
    assert as_images(tmp_path) == expected
    assert as_images(str(tmp_path)) == expected


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "inside").mkdir()
    with pytest.raises(
        ValueError, match=r"folder '.*', in which none of 1 files.*\.npy.*list of paths"
    ):
        as_images(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'.*nowhere', which does not exist"):
        as_images(tmp_path / "nowhere")
    path = saved(tmp_path, pixels(9, 7))
    with pytest.raises(ValueError, match=r"a\.png', which is not a folder.*in a list"):
        as_images(path)


def test_without_pillow_a_folder_holds_arrays(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r'pip install "skanogan\[image\]"'):
        as_images(tmp_path)
    (tmp_path / "a.npy").touch()
    assert as_images(tmp_path) == [tmp_path / "a.npy"]


# Masks ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_mask_in_a_file_may_be_in_any_mode(tmp_path, mode):
    inside = pixels(9, 7) > 99
    path = saved(tmp_path, Image.fromarray(255 * inside.astype(np.uint8)).convert(mode))
    found = mask_of(pixels(9, 7, 3), path, "images[0]", FileReader())
    assert found.dtype == bool
    assert np.array_equal(found, inside)


def test_a_mask_in_a_file_is_turned_like_its_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, 255 * np.eye(4, 6, dtype=np.uint8), exif=exif)
    found = mask_of(pixels(6, 4), path, "images[0]", FileReader())
    assert np.array_equal(found, np.rot90(np.eye(4, 6), -1))


def test_a_mask_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"The mask of images\[3\] \(.*a\.png\) cannot be read"
    ):
        mask_of(pixels(6, 4), tmp_path / "a.png", "images[3]", FileReader())


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_mask_saved_as_jpeg_causes_a_warning(tmp_path, suffix):
    # JPEG writes 1 to 254 around the edge of a mask, and most of them are not inside.
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 12:33] = 255
    path = saved(tmp_path, mask, f"a.{suffix}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = mask_of(np.zeros((40, 40)), path, "images[0]", FileReader())
    assert [each.category for each in caught] == [MaskWarning] * (suffix == "jpg")
    assert np.array_equal(inside, mask > 0) == (suffix == "png")


@pytest.mark.parametrize(
    ("mask", "warns"),
    [
        (np.linspace(0, 1, 9), True),
        (np.array([0, 0.25, 0.5, 1]), True),
        (np.array([0, 0.3]), False),
        (np.array([0.0, 1.0, 2.0]), False),
        (np.arange(9), False),
        (np.arange(10), True),
        (np.arange(10) > 3, False),
    ],
)
def test_masks_of_two_values_or_a_few_labels_cause_no_warning(mask, warns):
    reader = FileReader()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            mask_of(np.zeros((1, len(mask))), mask[None], "images[0]", reader)
    assert [each.category for each in caught] == [MaskWarning] * warns

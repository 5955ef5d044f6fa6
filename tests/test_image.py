"""PatchDetector: patches, scores, masks, maps, thresholds and errors."""

import mmap
import pickle
import re
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import estimator_checks, get_tags

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan._data import patches as patches_module
from skanogan._data.blending import blend, pool
from skanogan._data.patches import Patched, covered, grid
from skanogan._training import progress
from skanogan.conformal import ConformalDetector
from skanogan.detectors._patch_budget import with_short_training
from skanogan.detectors._thresholds import score_at_false_alarm_rate
from skanogan.exceptions import CalibrationWarning, ImageFileWarning, LongRunWarning
from skanogan.image import PatchDetector
from skanogan.metrics import outlier_roc_auc_scorer
from skanogan.model_selection import NoveltyKFold


class Flat(OutlierMixin, BaseEstimator):
    """A detector of flat rows that scores the distance of means."""

    def fit(self, X, y=None):
        self.seen_ = X
        self.mean_ = float(X.mean())
        return self

    def score_samples(self, X):
        assert np.ndim(X) == 2
        return -np.abs(X.mean(1) - self.mean_)


class Framed(OutlierMixin, BaseEstimator):
    """A detector of images whose map is the image times `gain`."""

    def __init__(self, gain=1):
        self.gain = gain

    def fit(self, X, y=None):
        self.seen_ = X
        return self

    def score_samples(self, X):
        assert np.ndim(X) >= 3
        return -self.gain * X.reshape(len(X), -1).max(1).astype(float)

    def anomaly_map(self, X, kind="residual"):
        maps = self.gain * X.astype(float)
        maps = maps if maps.ndim == 3 else maps.mean(-1)
        return maps + {"residual": 0, "other": 100}[kind]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class Decides(OutlierMixin, BaseEstimator):
    """A detector of flat rows that has only `decision_function`."""

    def fit(self, X, y=None):
        return self

    def decision_function(self, X):
        return 3 - X.max(1)


def lower_half(image):
    """A mask function."""
    inside = np.zeros(image.shape[:2], bool)
    inside[image.shape[0] // 2 :] = True
    return inside


def noise(n=12, shape=(12, 16), seed=0):
    return np.random.RandomState(seed).normal(size=(n, *shape))


def small(estimator=None, **parameters):
    given = {"patch_size": 4, "patches_per_image": 8, "random_state": 0}
    estimator = Framed() if estimator is None else estimator
    return PatchDetector(estimator, **{**given, **parameters})


# Positions --------------------------------------------------------------------


def test_the_grid_equals_a_grid_computed_by_hand():
    found = grid((9, 6), (4, 3), (3, 2))
    # 0, 3 and then 5, not 6: the last row of patches ends at the border.
    assert np.unique(found[:, 0]).tolist() == [0, 3, 5]
    assert np.unique(found[:, 1]).tolist() == [0, 2, 3]
    assert len(found) == 9
    assert found[:4].tolist() == [[0, 0], [0, 2], [0, 3], [3, 0]]


def test_a_grid_that_fits_has_no_patch_twice():
    assert grid((8, 4), (4, 4), (4, 4)).tolist() == [[0, 0], [4, 0]]
    assert grid((4, 4), (4, 4), (1, 1)).tolist() == [[0, 0]]


@pytest.mark.parametrize("shape", [(5, 5), (9, 13), (16, 7), (17, 23)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (5, 4)])
def test_every_pixel_is_covered(shape, stride):
    times = np.zeros(shape, int)
    for y, x in grid(shape, (5, 4), stride):
        assert y + 5 <= shape[0]
        assert x + 4 <= shape[1]
        times[y : y + 5, x : x + 4] += 1
    assert times.min() >= 1


def test_covered_counts_the_pixels_inside_the_mask_for_every_patch():
    inside = np.random.RandomState(0).uniform(size=(9, 11)) < 0.4
    found = covered(inside, (4, 3))
    assert found.shape == (6, 9)
    for y in range(6):
        for x in range(9):
            assert found[y, x] == inside[y : y + 4, x : x + 3].sum()


def test_patches_on_the_grid_are_parts_of_the_image():
    image = np.arange(9 * 8 * 2).reshape(9, 8, 2)
    patched = Patched(image, None, (4, 3), "image")
    (corners, patches), *more = patched.on_grid((3, 2), 0)
    assert not more
    assert patches.shape == (len(corners), 4, 3, 2)
    for (y, x), patch in zip(corners, patches, strict=True):
        assert np.array_equal(patch, image[y : y + 4, x : x + 3])


# Blending ---------------------------------------------------------------------


def test_blend_equals_weights_computed_by_hand():
    # Weights sin(pi / 6)^2, 1, sin(5 pi / 6)^2 = 1/4, 1, 1/4
    parts = [((0, 0), np.full((1, 3), 0.0)), ((0, 1), np.full((1, 3), 10.0))]
    found = blend(parts, (1, 4), (1, 3))
    np.testing.assert_allclose(found, [[0, 2, 8, 10]], rtol=1e-15)


@pytest.mark.parametrize("stride", [(1, 1), (3, 2), (6, 5)])
def test_blend_is_the_weighted_mean_of_the_maps_that_contain_a_pixel(stride):
    rng = np.random.RandomState(0)
    size, shape = (6, 5), (17, 19)
    rise = np.sin(np.pi * (np.arange(6) + 0.5) / 6) ** 2
    window = rise[:, None] * np.sin(np.pi * (np.arange(5) + 0.5) / 5) ** 2
    corners = grid(shape, size, stride)
    maps = rng.uniform(size=(len(corners), *size))
    total, weights = np.zeros(shape), np.zeros(shape)
    for (y, x), part in zip(corners, maps, strict=True):
        total[y : y + 6, x : x + 5] += window * part
        weights[y : y + 6, x : x + 5] += window
    found = blend(zip(corners, maps, strict=True), shape, size)
    np.testing.assert_allclose(found, total / weights, rtol=1e-12)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 12345.678])
@pytest.mark.parametrize("stride", [1, 3, 8])
def test_blended_constants_are_bitwise_equal(value, stride):
    corners = grid((21, 30), (8, 8), (stride, stride))
    parts = ((corner, np.full((8, 8), value)) for corner in corners)
    assert np.unique(blend(parts, (21, 30), (8, 8))).tolist() == [value]


def test_a_blended_map_begins_and_ends_without_a_seam():
    # Two maps, of zeros and of ones.
    corners = grid((64, 96), (64, 64), (16, 16))
    parts = [(c, np.full((64, 64), float(c[1] == 16))) for c in corners]
    found = blend(parts, (64, 96), (64, 64))
    jump = np.abs(np.diff(found, axis=1))
    # The map of ones begins at 16 and ends at 80.
    assert jump[:, [15, 79]].max() < 0.002
    assert found.max() > 0.45


# Patches that are not square --------------------------------------------------


@pytest.fixture
def oblong():
    """A detector with patches of 3 x 5 pixels and a stride of (2, 4)."""
    detector = small(
        Flat(), patch_size=(3, 5), stride=(2, 4), pooling="mean", contamination=0.1
    )
    return detector.fit(np.zeros((2, 12, 16)))


@pytest.fixture
def spotted():
    """An image of zeros and one pixel of 15, so that patches of 3 x 5 have mean 1."""
    image = np.zeros((12, 16))
    image[5, 8] = 15
    return image


def test_patches_have_the_height_and_width_of_patch_size():
    images = np.arange(2 * 12 * 16).reshape(2, 12, 16)
    detector = small(patch_size=(3, 5), patches_per_image=999, contamination=0.1)
    seen = detector.fit(images).estimator_.seen_
    assert detector.patch_size_ == (3, 5)
    assert seen.shape == (2 * 10 * 12, 3, 5)
    possible = {
        images[i, y : y + 3, x : x + 5].tobytes()
        for i in range(2)
        for y in range(10)
        for x in range(12)
    }
    assert {patch.tobytes() for patch in seen} == possible


def test_a_stride_is_down_and_across(oblong, spotted):
    assert oblong.stride_ == (2, 4)
    # Patches from rows 0, 2, 4, 6, 8, 9 and columns 0, 4, 8, 11; rows from 4 and
    # columns from 4 and 8 hold the pixel.
    assert oblong.score_samples([spotted])[0] == pytest.approx(-2 / 24)


def test_the_map_of_oblong_patches_equals_one_computed_by_hand(oblong, spotted):
    # In rows 4 and 6 two patches weigh the same; in columns 11 and 12 those from 8
    # weigh sin(7 pi / 10)^2 and sin(pi / 10)^2, and those from 11 the other.
    most, least = np.sin(0.7 * np.pi) ** 2, np.sin(0.1 * np.pi) ** 2
    share = most / (most + least)
    down = [0, 0, 0, 0, 0.5, 1, 0.5, 0, 0, 0, 0, 0]
    across = [0, 0, 0, 0, 0.5, 1, 1, 1, 1, 1, 1, share, 1 - share, 0, 0, 0]
    found = oblong.anomaly_map(spotted)
    np.testing.assert_allclose(found, np.outer(down, across), atol=1e-15)


@pytest.mark.parametrize(
    ("size", "stride"),
    [(4, (2, 2)), (5, (2, 2)), ((3, 8), (1, 4)), ([1, 2], (1, 1))],
)
def test_the_default_stride_is_half_a_patch(size, stride):
    assert small(patch_size=size).fit(noise()).stride_ == stride


# Scores -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "size", "expected"),
    [
        ("max", 0.1, -8),
        ("mean", 0.1, -3.6),
        ("top", 2, -7),
        ("top", 0.4, -7),
        ("top", 0.41, -17 / 3),
        ("top", 1, -8),
        ("top", 1.0, -3.6),
        ("top", 99, -3.6),
        ("quantile", 0.25, -6),
        ("quantile", 0.5, -3),
    ],
)
def test_pooled_scores_equal_those_computed_by_hand(pooling, size, expected):
    scores = np.array([-1.0, -8, -3, 0, -6])
    assert pool(scores, pooling, size) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pooling", "size", "expected"),
    [
        ("max", 0.1, -8),
        ("max", 3, -8),
        ("mean", 0.1, -3.6),
        ("mean", 2, -3.6),
        ("top", 0.1, -8),
        ("top", 0.4, -7),
        ("top", 0.41, -17 / 3),
        ("top", 3, -17 / 3),
        ("quantile", 0.25, -6),
        ("quantile", 0.5, -3),
    ],
)
def test_the_score_of_an_image_follows_pooling_and_pooling_size(
    pooling, size, expected
):
    # Side by side, five patches whose scores are -1, -8, -3, 0 and -6
    image = np.repeat([1.0, 8, 3, 0, 6], 4) * np.ones((4, 1))
    detector = small(
        stride=4, pooling=pooling, pooling_size=size, contamination=0.1
    ).fit([image])
    assert detector.score_samples([image])[0] == pytest.approx(expected)
    assert detector.offset_ == pytest.approx(expected)


def test_the_score_is_pooled_over_the_grid():
    image = np.zeros((12, 16))
    image[5, 6] = 4
    detector = small(pooling="mean", contamination=0.1).fit(noise())
    # Strides of 2: the pixel is in rows 2 and 4, columns 4 and 6, of 5 x 7 patches
    assert detector.score_samples(image[None])[0] == pytest.approx(-4 * 4 / 35)


def test_images_of_several_sizes_have_the_scores_they_have_alone():
    images = [noise(1, shape)[0] for shape in [(4, 4), (12, 16), (9, 31), (20, 5)]]
    detector = small(contamination=0.1).fit(images)
    together = detector.score_samples(images)
    assert together.dtype == np.float64
    alone = [detector.score_samples([image])[0] for image in images]
    assert together.tolist() == alone


def test_scores_and_maps_depend_on_the_image_alone_to_the_bit(make_detector):
    images = noise(10, (24, 40)).astype(np.float32)
    detector = PatchDetector(
        make_detector(), patch_size=16, stride=4, patches_per_image=10, random_state=0
    ).fit(images)
    order = np.random.RandomState(0).permutation(10)
    scores = detector.score_samples(images)
    assert np.array_equal(detector.score_samples(images[order]), scores[order])
    assert np.array_equal(detector.score_samples(list(images[:1])), scores[:1])
    assert np.array_equal(
        detector.anomaly_map(images[3]), [*detector.anomaly_maps(images)][3]
    )


@pytest.mark.parametrize(
    "estimator",
    [
        LocalOutlierFactor(novelty=True),
        IsolationForest(n_estimators=10, random_state=0),
        make_pipeline(
            StandardScaler(), IsolationForest(n_estimators=10, random_state=0)
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_detectors_of_flat_rows_get_flat_patches(estimator):
    images = noise(30, (12, 16, 3))
    detector = small(estimator, pooling="max").fit(images)
    assert detector.estimator_.n_features_in_ == 4 * 4 * 3
    spotted = images[0].copy()
    spotted[4:8, 4:8] = 6
    assert detector.predict([spotted]) == [-1]
    assert detector.decision_function([spotted])[0] == (
        detector.score_samples([spotted])[0] - detector.offset_
    )


def test_a_detector_without_score_samples_is_used_by_its_decision_function():
    image = np.zeros((4, 8))
    image[:, 4:] = 5
    detector = small(Decides(), stride=4, pooling="mean", contamination=0.1)
    detector.fit([image])
    assert detector.score_samples([image]).tolist() == [(3 - 2) / 2]
    assert detector.offset_ == pytest.approx(0.5)
    assert detector.anomaly_map(image).tolist() == [[-3] * 4 + [2] * 4] * 4


def test_score_samples_is_preferred_to_decision_function():
    detector = small(IsolationForest(random_state=0), contamination=0.1)
    image = noise(1)
    inner = detector.fit(image).estimator_
    patch = image[:, :4, :4]
    expected = inner.score_samples(patch.reshape(1, -1))
    assert np.array_equal(detector.score_samples(patch), expected)


# What is learned from ---------------------------------------------------------


def test_training_patches_are_parts_of_the_images_in_their_dtype():
    images = np.arange(3 * 6 * 7, dtype=np.uint8).reshape(3, 6, 7)
    detector = small(contamination=0.1).fit(images)
    seen = detector.estimator_.seen_
    assert seen.dtype == np.uint8
    assert seen.shape == (24, 4, 4)
    assert detector.n_patches_ == 24
    possible = {
        images[i, y : y + 4, x : x + 4].tobytes()
        for i in range(3)
        for y in range(3)
        for x in range(4)
    }
    assert {patch.tobytes() for patch in seen} <= possible


def test_no_patch_of_an_image_is_drawn_twice():
    image = np.arange(36.0).reshape(1, 6, 6)
    detector = small(patches_per_image=50, contamination=0.1).fit(image)
    assert len(np.unique(detector.estimator_.seen_[:, 0, 0])) == 9
    assert detector.n_patches_ == 9


def test_training_patches_of_an_image_depend_on_the_image_alone():
    a, b, c, d = noise(4)
    few = small(contamination=0.1).fit([c, a]).estimator_.seen_
    many = small(contamination=0.1).fit([a, b, c, d]).estimator_.seen_
    assert np.array_equal(few[:8], many[16:24])
    assert np.array_equal(few[8:], many[:8])
    other = small(contamination=0.1, random_state=1).fit([c, a]).estimator_.seen_
    assert not np.array_equal(other, few)


def test_images_of_one_size_give_patches_at_different_positions():
    images = np.tile(np.arange(12 * 16.0).reshape(12, 16), (2, 1, 1))
    images[1] += 0.5
    first, second = (
        small(contamination=0.1).fit(images).estimator_.seen_.reshape(2, 8, 4, 4)
    )
    assert not np.array_equal(first, second - 0.5)


def test_images_in_colour_and_of_one_channel():
    colour = noise(6, (12, 16, 3))
    detector = small(contamination=0.1).fit(colour)
    assert detector.estimator_.seen_.shape == (48, 4, 4, 3)
    assert detector.n_channels_ == 3
    assert detector.anomaly_map(colour[0]).shape == (12, 16)
    grey = small(contamination=0.1).fit(colour[..., :1])
    assert grey.n_channels_ is None
    same = small(contamination=0.1).fit(colour[..., 0])
    assert np.array_equal(
        grey.score_samples(colour[..., 0]), same.score_samples(colour[..., :1])
    )


def test_images_labelled_as_anomalies_are_not_read():
    images = [*noise(3), "not there.npy"]
    detector = small(contamination=0.1).fit(images, [1, 1, 1, -1])
    alone = small(contamination=0.1).fit(images[:3])
    assert np.array_equal(detector.estimator_.seen_, alone.estimator_.seen_)


def test_a_mapped_file_is_not_loaded_as_a_whole(tmp_path):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 255, (40, 256, 256)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        detector = small(contamination=0.1, stride=4).fit(mapped)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < images.nbytes / 4
    plain = small(contamination=0.1, stride=4).fit(images)
    assert np.array_equal(detector.estimator_.seen_, plain.estimator_.seen_)
    assert detector.offset_ == plain.offset_


# Files ------------------------------------------------------------------------


def test_paths_of_arrays_are_images(tmp_path):
    images = [noise(1, shape)[0] for shape in [(12, 16), (9, 31)] * 3]
    for i, image in enumerate(images):
        np.save(tmp_path / f"{i}.npy", image)
    paths = [tmp_path / f"{i}.npy" for i in range(6)]
    detector = small().fit([str(path) for path in paths])
    plain = small().fit(images)
    assert detector.offset_ == plain.offset_
    assert np.array_equal(detector.score_samples(paths), plain.score_samples(images))
    assert np.array_equal(detector.anomaly_map(paths[1]), plain.anomaly_map(images[1]))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P", "1"])
def test_paths_of_pictures_are_read_by_pillow(tmp_path, mode):
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.RandomState(0).randint(0, 256, (12, 16)).astype(np.uint8)
    if mode == "I;16":
        stored = pixels.astype(np.uint16) * 200
        image_module.fromarray(stored).save(tmp_path / "a.png")
    elif mode == "P":
        palette = image_module.fromarray(255 - pixels).convert("P")
        palette.save(tmp_path / "a.png")
        stored = np.stack([255 - pixels] * 3, -1)
    else:
        picture = image_module.fromarray(pixels).convert(mode)
        picture.save(tmp_path / "a.png")
        stored = np.array(picture.convert("L") if mode == "1" else picture)
    detector = small(contamination=0.1, patches_per_image=999)
    seen = detector.fit([tmp_path / "a.png"]).estimator_.seen_
    assert seen.dtype == stored.dtype
    plain = clone(detector).fit([stored]).estimator_.seen_
    assert np.array_equal(seen, plain)


def test_without_pillow_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    needed = r'a\.png needs Pillow: pip install "skanogan\[image\]"'
    with pytest.raises(ImportError, match=needed):
        small().fit([tmp_path / "a.png", tmp_path / "a.png"])


def test_files_of_several_images_and_of_objects_are_refused(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    frames = [image_module.fromarray(np.full((9, 9), k, np.uint8)) for k in range(2)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"a\.tif\) holds 2 images"):
        small().fit([tmp_path / "a.tif"] * 2)
    np.save(tmp_path / "a.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects"):
        small().fit([tmp_path / "a.npy"] * 2)


@pytest.fixture
def folder(tmp_path):
    """A folder of 12 pictures of different sizes, and a text."""
    image_module = pytest.importorskip("PIL.Image")
    rng = np.random.RandomState(0)
    for i in range(12):
        stored = rng.randint(0, 256, (8 + i % 3, 9)).astype(np.uint8)
        image_module.fromarray(stored).save(tmp_path / f"{i:02}.png")
    (tmp_path / "notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_a_folder_is_the_list_of_its_images(folder, as_path):
    paths = sorted(folder.glob("*.png"))
    plain = small().fit(paths)
    detector = small().fit(as_path(folder))
    assert detector.offset_ == plain.offset_
    assert np.array_equal(detector.estimator_.seen_, plain.estimator_.seen_)
    for method in ("score_samples", "decision_function", "predict"):
        found = getattr(detector, method)(as_path(folder))
        assert np.array_equal(found, getattr(plain, method)(paths))
    maps = list(detector.anomaly_maps(as_path(folder)))
    assert len(maps) == 12
    for found, expected in zip(maps, plain.anomaly_maps(paths), strict=True):
        assert np.array_equal(found, expected)


def test_labels_and_masks_of_a_folder_are_in_the_order_of_its_files(folder):
    paths = sorted(folder.glob("*.png"))
    y = np.array([1, -1] * 6)
    masks = [None] * 6 + [folder / "00.png"] + [None] * 5
    detector = small(contamination=0.1).fit(folder, y, masks=masks)
    plain = small(contamination=0.1).fit(paths[::2], masks=masks[::2])
    assert np.array_equal(detector.estimator_.seen_, plain.estimator_.seen_)
    with pytest.raises(ValueError, match="Found 11 masks for 12 images"):
        small().fit(folder, masks=masks[1:])


@pytest.fixture
def with_alpha(folder):
    """Paths of the pictures of `folder`, all with an alpha channel of 255."""
    image_module = pytest.importorskip("PIL.Image")
    paths = sorted(folder.glob("*.png"))
    for path in paths:
        picture = image_module.open(path).convert("LA")
        picture.save(path)
    return paths


def test_each_call_warns_once_of_alpha_channels(with_alpha):
    detector = small(contamination=0.1)

    def maps(images):
        return list(detector.anomaly_maps(images))

    for call in (detector.fit, detector.score_samples, detector.predict, maps):
        with pytest.warns(ImageFileWarning, match="is 255 everywhere") as caught:
            call(with_alpha)
        assert [each.category for each in caught] == [ImageFileWarning]
        assert caught[0].filename == __file__
    assert detector.n_channels_ is None


def damage(paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("unreadable", ["raise", "skip"])
@pytest.mark.parametrize("method", ["score_samples", "predict", "anomaly_maps"])
def test_files_that_cannot_be_read_are_not_scored(folder, unreadable, method):
    detector = small(contamination=0.1, unreadable=unreadable).fit(folder)
    damage([folder / "05.png"])
    with pytest.raises(ValueError, match=r"images\[5\] \(.*05\.png\) cannot be read"):
        list(getattr(detector, method)(folder))


def test_by_default_a_file_that_cannot_be_read_is_an_error_of_fit(folder):
    damage([folder / "05.png"])
    with pytest.raises(ValueError, match=r"images\[5\] \(.*05\.png\) cannot be read"):
        small().fit(folder)


def test_unreadable_files_are_skipped_on_request(folder):
    paths = sorted(folder.glob("*.png"))
    damage(paths[3:9:5])
    detector = small(unreadable="skip")
    with pytest.warns(ImageFileWarning, match="leaves out 2 of 12 images") as caught:
        detector.fit(folder)
    kinds = [each.category for each in caught]
    assert kinds == [ImageFileWarning, CalibrationWarning]
    assert caught[0].filename == __file__
    for i in (3, 8):
        assert f"images[{i}] ({paths[i]})" in str(caught[0].message)
    readable = [path for path in paths if path not in paths[3:9:5]]
    # The split is that of the readable images.
    plain = small().fit(readable)
    assert detector.offset_ == plain.offset_
    assert np.array_equal(detector.estimator_.seen_, plain.estimator_.seen_)


def test_masks_stay_with_their_images_if_others_are_skipped(folder):
    paths = sorted(folder.glob("*.png"))
    masks = [np.arange(9) < 5 + np.zeros((8 + i % 3, 1)) + i % 4 for i in range(12)]
    damage(paths[:1])
    detector = small(unreadable="skip", contamination=0.1)
    with pytest.warns(ImageFileWarning, match="leaves out 1 of 12 images"):
        detector.fit(folder, masks=masks)
    plain = small(contamination=0.1).fit(paths[1:], masks=masks[1:])
    assert np.array_equal(detector.estimator_.seen_, plain.estimator_.seen_)
    assert detector.offset_ == plain.offset_


def test_too_few_readable_images_are_refused(folder):
    damage(sorted(folder.glob("*.png"))[1:])
    with (
        pytest.warns(ImageFileWarning, match="leaves out 11 of 12 images"),
        pytest.raises(ValueError, match=r"Found 1 normal image\(s\) while a minimum"),
    ):
        small(unreadable="skip").fit(folder)


def test_with_readable_files_skip_changes_nothing(folder):
    plain, detector = small().fit(folder), small(unreadable="skip").fit(folder)
    assert detector.offset_ == plain.offset_


# Masks ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_patches_are_drawn_inside_masks_only(share):
    images = np.ones((5, 12, 16))
    masks = np.random.RandomState(0).uniform(size=images.shape) < 0.2
    masks[:, 5:, 7:] = True
    images[~masks] = 0
    detector = small(contamination=0.1, min_coverage=share, patches_per_image=999)
    detector.fit(images, masks=masks)
    inside = detector.estimator_.seen_.mean((1, 2))
    assert inside.min() >= share
    # All patches with this share are there.
    expected = sum((covered(mask, (4, 4)) >= 16 * share).sum() for mask in masks)
    assert len(inside) == expected


def test_with_a_small_mask_the_patches_with_the_largest_share_are_used():
    mask = np.zeros((12, 16), bool)
    mask[3:5, 8] = True
    image = np.where(mask, 1.0, 0.0)
    detector = small(contamination=0.1, patches_per_image=999)
    detector.fit([image], masks=[mask])
    # 3 rows of corners hold both pixels, and 4 columns
    assert detector.estimator_.seen_.sum((1, 2)).tolist() == [2] * 12
    assert detector.score_samples([image], [mask]).tolist() == [-1]


def test_only_patches_inside_are_scored():
    image = np.zeros((12, 16))
    image[0:3, 0] = 5
    detector = small(pooling="max", contamination=0.1).fit(noise())
    assert detector.score_samples([image]).tolist() == [-5]
    assert detector.score_samples([image], [lower_half(image)]).tolist() == [0]
    assert detector.score_samples([image], [None]).tolist() == [-5]
    assert detector.score_samples([image], lower_half).tolist() == [0]


def test_with_min_coverage_zero_a_patch_needs_one_pixel_inside():
    mask = np.zeros((12, 16), bool)
    mask[7:] = True
    image = np.zeros((12, 16))
    image[0, 0], image[4, 0] = 9, 5
    parameters = {"pooling": "max", "contamination": 0.1, "patches_per_image": 999}
    detector = small(min_coverage=0, **parameters).fit([image], masks=[mask])
    # Corners in rows 4 to 8 of 13 columns; by half a patch, those in rows 5 to 8
    assert detector.n_patches_ == 5 * 13
    assert detector.score_samples([image], [mask]).tolist() == [-5]
    half = small(**parameters).fit([image], masks=[mask])
    assert half.n_patches_ == 4 * 13
    assert half.score_samples([image], [mask]).tolist() == [0]


def test_a_mask_function_given_to_fit_is_applied_to_new_images():
    images = np.abs(noise())
    images[:, :6] = 50
    detector = small(pooling="max", min_coverage=1).fit(images, masks=lower_half)
    assert detector.estimator_.seen_.max() < 50
    assert detector.masks_ is lower_half
    scores = detector.score_samples(images)
    assert scores.min() > -50
    masks = [lower_half(image) for image in images]
    assert np.array_equal(scores, detector.score_samples(images, masks))
    found = detector.anomaly_map(images[0])
    assert found[:6].max() == 0
    assert np.array_equal(found, detector.anomaly_map(images[0], masks[0]))
    whole = detector.anomaly_map(images[0], np.ones((12, 16)))
    assert whole[:6].min() == 50
    again = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(again.score_samples(images), scores)


def test_none_in_a_list_of_masks_is_the_whole_image():
    image = np.zeros((12, 16))
    image[0, 0] = 5
    detector = small(pooling="max").fit(noise(), masks=lower_half)
    assert detector.score_samples([image], [None]).tolist() == [-5]
    assert next(detector.anomaly_maps([image], [None])).max() == 5
    assert next(detector.anomaly_maps([image])).max() == 0


def test_after_a_fit_with_an_array_of_masks_scoring_needs_masks():
    images = noise()
    masks = [lower_half(image) for image in images]
    detector = small().fit(images, masks=masks)
    for method in (detector.score_samples, detector.predict):
        with pytest.raises(ValueError, match="masks is None, but fit had masks"):
            method(images)
    assert detector.score_samples(images, [None] * 12).shape == (12,)
    assert detector.fit(images).score_samples(images).shape == (12,)


def test_fit_predict_equals_fit_and_predict_with_the_same_masks():
    images = noise()
    masks = np.stack([lower_half(image) for image in images])
    y = [1] * 11 + [-1]
    labels = small().fit_predict(images, y, masks=masks)
    expected = small().fit(images, y, masks=masks).predict(images, masks)
    assert np.array_equal(labels, expected)


def test_masks_may_be_files(tmp_path):
    images = noise()
    np.save(tmp_path / "mask.npy", 255 * lower_half(images[0]))
    detector = small().fit(images, masks=[tmp_path / "mask.npy"] * 12)
    assert detector.offset_ == small().fit(images, masks=lower_half).offset_


# Maps -------------------------------------------------------------------------


def test_the_map_of_an_image_of_one_patch_is_that_of_the_patch(make_detector):
    images = noise(12, (16, 16))
    detector = PatchDetector(make_detector(), patch_size=16, random_state=0).fit(images)
    expected = detector.estimator_.anomaly_map(images[:1])[0]
    assert np.array_equal(detector.anomaly_map(images[0]), expected)


@pytest.mark.parametrize("stride", [1, 2, (3, 4)])
def test_maps_that_agree_are_unchanged_by_blending(stride):
    # The map of `Framed` is the image, so overlapping maps agree.
    images = noise(6, (13, 18))
    detector = small(stride=stride).fit(images)
    np.testing.assert_allclose(detector.anomaly_map(images[0]), images[0], rtol=1e-12)


def test_without_anomaly_map_the_pixels_of_a_patch_have_its_score():
    image = np.zeros((4, 8))
    image[:, 4:] = 3
    detector = small(Flat(), contamination=0.1).fit(np.zeros((2, 4, 8)))
    found = detector.anomaly_map(image, stride=4)
    assert found.tolist() == [[0] * 4 + [3] * 4] * 4
    # Patches from 0, 2 and 4 with 0, 1.5 and 3, of weights w, .85, .85, w
    w = np.sin(np.pi / 8) ** 2
    at_3 = 1.5 * (1 - w) / 1
    assert detector.anomaly_map(image)[0, 3] == pytest.approx(at_3)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="no advice here")
def test_pages_of_mapped_images_are_released_after_reading(monkeypatch):
    asked = []

    class Mapping:
        def madvise(self, advice):
            asked.append(advice)

    images = noise(6)
    detector = small(contamination=0.1).fit(images)
    monkeypatch.setattr(patches_module, "shared_mapping", lambda image: Mapping())
    detector.score_samples(images)
    assert asked == [mmap.MADV_DONTNEED] * 6
    detector.anomaly_map(images[0])
    assert asked == [mmap.MADV_DONTNEED] * 7


LEFT_RESIDENT = """
import sys
import numpy as np
from sklearn.base import BaseEstimator
from skanogan.image import PatchDetector

def resident_kilobytes():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

class Brightest(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        return -X.max(1).astype(float)

images = np.load(sys.argv[1], mmap_mode="r")
detector = PatchDetector(
    Brightest(), patch_size=64, stride=64, contamination=0.5, random_state=0
)
detector.fit(images[:2])
before = resident_kilobytes()
assert not detector.score_samples(images).any()
print(resident_kilobytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says what is resident")
def test_mapped_images_do_not_stay_in_memory_after_scoring(tmp_path, printed_by):
    path = tmp_path / "images.npy"
    # 210 MB of zeros, which take no space on the disk.
    np.lib.format.open_memmap(path, "w+", np.uint8, (50, 2048, 2048))
    assert int(printed_by(LEFT_RESIDENT, path)) < 50_000


def test_a_frozen_detector_is_not_fitted_again():
    images = noise()
    fitted = Framed(gain=2).fit(images)
    detector = small(FrozenEstimator(fitted)).fit(images)
    np.testing.assert_allclose(detector.anomaly_map(images[0]), 2 * images[0])
    assert fitted.seen_ is images


def test_maps_and_scores_do_not_depend_on_the_length_of_chunks(monkeypatch):
    images = noise(6, (20, 31))
    detector = small(contamination=0.1, stride=1).fit(images)
    found, score = detector.anomaly_map(images[0]), detector.score_samples(images)
    monkeypatch.setattr(patches_module, "CHUNK_BYTES", 7 * 8 * 16)
    assert np.array_equal(detector.anomaly_map(images[0]), found)
    assert np.array_equal(detector.score_samples(images), score)


def test_a_map_needs_little_more_memory_than_its_own(monkeypatch):
    monkeypatch.setattr(patches_module, "CHUNK_BYTES", 2**16)
    image = np.zeros((700, 700), np.uint8)
    detector = small(patch_size=16, contamination=0.1).fit(image[None])
    tracemalloc.start()
    try:
        found = detector.anomaly_map(image)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All 7,396 patches in float64 are 15 MB
    assert peak < found.nbytes + 2**20


def test_a_stride_given_to_anomaly_map_does_not_change_the_detector():
    images = noise()
    detector = small(Flat(), stride=4).fit(images)
    finer = small(Flat(), stride=1).fit(images)
    offset = detector.offset_
    found = detector.anomaly_map(images[0], stride=1)
    assert np.array_equal(found, finer.anomaly_map(images[0]))
    assert not np.array_equal(found, detector.anomaly_map(images[0]))
    assert detector.offset_ == offset


def test_outside_of_the_mask_a_map_has_its_lowest_value():
    image = noise(1)[0]
    mask = lower_half(image)
    detector = small(contamination=0.1).fit([image])
    found = detector.anomaly_map(image, mask)
    assert found[mask].min() < 0
    assert np.unique(found[~mask]).tolist() == [found[mask].min()]
    found = detector.anomaly_map(np.abs(image), mask)
    np.testing.assert_allclose(found, np.where(mask, np.abs(image), 0), rtol=1e-12)


def test_map_kind_is_passed_to_the_detector():
    images = noise()
    detector = small(map_kind="other").fit(images)
    np.testing.assert_allclose(detector.anomaly_map(images[0]), images[0] + 100)


def test_feature_maps_are_those_of_the_detector(make_detector):
    images = noise(12, (8, 8))
    detector = PatchDetector(
        make_detector(max_iter=2), patch_size=8, map_kind="features", random_state=0
    ).fit(images)
    found = detector.anomaly_map(images[0])
    inner = detector.estimator_
    assert np.array_equal(found, inner.anomaly_map(images[:1], kind="features")[0])
    assert not np.array_equal(found, inner.anomaly_map(images[:1])[0])


def test_an_unknown_map_kind_is_refused_when_a_map_is_made(
    make_detector,
):
    images = noise(12, (8, 8))
    detector = PatchDetector(
        make_detector(max_iter=2), patch_size=8, map_kind="depth", random_state=0
    ).fit(images)
    assert detector.score_samples(images).shape == (12,)
    with pytest.raises(ValueError, match=r"kind='depth'.*'features', 'residual'"):
        detector.anomaly_map(images[0])


def test_anomaly_maps_computes_one_map_at_a_time():
    images = noise(6)
    detector = small(contamination=0.1).fit(images)
    seen = []

    def made():
        for image in images:
            seen.append(image)
            yield image

    maps = detector.anomaly_maps(made())
    assert len(seen) == 0
    assert np.array_equal(next(maps), detector.anomaly_map(images[0]))
    assert len(seen) == 1
    masks = [None, lower_half(images[0])] * 3
    found = list(detector.anomaly_maps(images, masks))
    assert np.array_equal(found[0], detector.anomaly_map(images[0]))
    assert np.array_equal(found[1], detector.anomaly_map(images[1], lower_half))


# Threshold --------------------------------------------------------------------


def test_the_rate_of_false_alarms_is_calibrated_on_held_out_images():
    rates = []
    for seed in range(30):
        # Images differ in brightness, and patches of one image are alike.
        rng = np.random.RandomState(seed)
        images = noise(260, (6, 6), seed) + rng.normal(size=(260, 1, 1))
        detector = small(Flat(), stride=4, random_state=seed).fit(images[:60])
        rates.append(np.mean(detector.predict(images[60:]) == -1))
    error = np.std(rates) / np.sqrt(len(rates))
    # With 12 held-out images the rate of one fit varies widely.
    assert 0.05 - 3 * error < np.mean(rates) < 0.05 + 3 * error


def test_the_threshold_comes_from_images_that_were_not_learned_from():
    images = np.arange(40.0)[:, None, None] + np.zeros((40, 6, 6))
    detector = small(Flat()).fit(images)
    learned = np.unique(detector.estimator_.seen_)
    held_out = np.setdiff1d(np.arange(40), learned)
    assert len(held_out) == 10
    scores = detector.score_samples(images[held_out])
    assert detector.offset_ == score_at_false_alarm_rate(scores, 0.05)
    more = small(Flat(), validation_fraction=0.5).fit(images)
    assert len(np.unique(more.estimator_.seen_)) == 20


def test_too_few_held_out_images_cause_a_warning():
    with pytest.warns(CalibrationWarning, match="on 10 held-out normal images"):
        small(Flat()).fit(noise(40))


def test_a_float_contamination_is_a_share_of_the_training_images():
    images = noise(40)
    detector = small(Flat(), contamination=0.2).fit(images)
    assert detector.n_patches_ == 40 * 8
    assert np.mean(detector.predict(images) == -1) == 0.2


# scikit-learn -------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_no_attributes_set_in_init",
        "check_mixin_order",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_param_validation",
        "check_set_params",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
    ],
)
def test_checks_of_scikit_learn_that_need_no_table(check):
    function = getattr(estimator_checks, check)
    function("PatchDetector", small(Flat()))


def test_fit_changes_no_parameter():
    inner = Framed()
    detector = small(inner)
    before = detector.get_params()
    detector.fit(noise())
    assert detector.get_params() == before
    assert not hasattr(inner, "seen_")


def test_tags_say_that_it_is_an_outlier_detector_of_images():
    tags = get_tags(small())
    assert tags.estimator_type == "outlier_detector"
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array


def test_a_grid_search_sets_parameters_of_the_estimator(make_detector):
    images = noise(16, (8, 8))
    images[12:, 2:6, 2:6] = 5
    search = GridSearchCV(
        PatchDetector(make_detector(backbone="mlp"), patch_size=4, patches_per_image=8),
        {"estimator__n_steps": [0, 2], "pooling": ["max", "top"]},
        scoring=outlier_roc_auc_scorer,
        cv=NoveltyKFold(2),
        error_score="raise",
    ).fit(images, np.repeat([1, -1], [12, 4]), masks=lower_half)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.masks_ is lower_half


def test_a_grid_search_splits_masks_with_the_images():
    images = [noise(1, (8 + k, 9), k)[0] for k in range(8)]
    masks = [lower_half(image) for image in images]
    search = GridSearchCV(
        small(Flat(), contamination=0.1),
        {"patches_per_image": [4, 8]},
        scoring=lambda detector, images, y=None: detector.n_patches_,
        cv=2,
        error_score="raise",
    ).fit(images, masks=masks)
    assert search.best_params_ == {"patches_per_image": 8}


def test_conformal_thresholds_hold_for_images_of_different_sizes():
    images = [noise(1, (8, 8 + k % 3), k)[0] for k in range(60)]
    conformal = ConformalDetector(
        small(Flat(), stride=4), alpha=0.1, calibration_size=0.5, random_state=0
    ).fit(images[:40])
    assert np.mean(conformal.predict(images[40:]) == -1) < 0.4
    assert conformal.predict([image + 9 for image in images[:3]]).tolist() == [-1] * 3


def test_a_pickled_detector_gives_the_same_labels_and_maps():
    images = noise(30, (8, 8))
    detector = small(
        OCGANDetector(backbone="mlp", max_iter=10, device="cpu", random_state=0)
    ).fit(images)
    again = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(again.predict(images), detector.predict(images))
    assert np.array_equal(again.anomaly_map(images[0]), detector.anomaly_map(images[0]))


def test_a_failed_fit_leaves_the_detector_as_it_was():
    images = noise()
    detector = small().fit(images)
    before = dict(vars(detector))
    broken = images.copy()
    broken[:, 8] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(broken, masks=lower_half)
    with pytest.raises(ValueError, match="NaN"):
        detector.set_params(patch_size=8).fit(broken)
    detector.set_params(patch_size=4)
    assert vars(detector) == before


@pytest.mark.parametrize(
    "method", ["score_samples", "decision_function", "predict", "anomaly_maps"]
)
def test_it_must_be_fitted(method):
    with pytest.raises(NotFittedError):
        getattr(small(), method)(noise())
    with pytest.raises(NotFittedError):
        small().anomaly_map(noise()[0])


# Time -------------------------------------------------------------------------


@pytest.mark.parametrize(("n_images", "n_of_each"), [(4, 640), (256, 16), (3, 854)])
def test_by_default_2560_patches_are_shared_out_among_the_images(n_images, n_of_each):
    images = np.random.RandomState(0).randint(
        9, size=(n_images, 40, 40), dtype=np.uint8
    )
    detector = small(contamination=0.1, patches_per_image="auto").fit(images)
    assert detector.n_patches_ == n_images * n_of_each


def test_many_images_have_at_least_16_patches_each():
    images = np.zeros((300, 8, 8), np.uint8)
    detector = small(contamination=0.1, patches_per_image="auto").fit(images)
    assert detector.n_patches_ == 300 * 16


def test_a_detector_that_leaves_its_training_to_auto_makes_640_updates():
    images = noise(12, (16, 20))
    given = OCGANDetector(backbone="mlp", hidden_layer_sizes=(8,), random_state=0)
    detector = PatchDetector(given, patch_size=16, random_state=0).fit(images)
    assert detector.estimator_.n_iter_ == 640
    assert detector.estimator_.batch_size == 16
    assert given.max_iter == "auto"


@pytest.mark.parametrize("make", [OCGANDetector, AnoGANDetector, FAnoGANDetector])
def test_members_updates_and_batches_that_are_auto_are_few(make):
    found = with_short_training(make(), (32, 32)).get_params()
    expected = {**make().get_params(), "n_estimators": 1, "max_iter": 640}
    expected["batch_size"] = 16
    if make is FAnoGANDetector:
        expected["encoder_max_iter"] = 640
    assert found == expected


def test_parameters_that_were_set_are_kept():
    given = AnoGANDetector(n_estimators=2, batch_size=9)
    found = with_short_training(given, (32, 32))
    assert (found.n_estimators, found.batch_size, found.max_iter) == (2, 9, 640)


@pytest.mark.parametrize(
    ("given", "size"),
    [(AnoGANDetector(max_iter=7), (32, 32)), (AnoGANDetector(), (15, 17))],
)
def test_small_patches_and_a_number_of_updates_change_nothing(given, size):
    found = with_short_training(clone(given), size)
    assert found.get_params() == given.get_params()


@pytest.mark.parametrize(
    "given",
    [
        IsolationForest(),
        OneClassSVM(max_iter=10),
        make_pipeline(StandardScaler(), OCGANDetector()),
        FrozenEstimator(OCGANDetector()),
        GridSearchCV(OCGANDetector(), {"max_iter": [5]}),
    ],
)
def test_detectors_around_others_and_of_scikit_learn_are_not_changed(given):
    before = repr(given)
    assert repr(with_short_training(given, (32, 32))) == before


def test_verbose_shows_bars_over_images_on_stderr(capfd):
    images = noise()
    detector = small(verbose=1).fit(images)
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"Drawing patches: 100%.* 9/9 ", err)
    assert re.search(r"Calibrating the threshold: 100%.* 3/3 ", err)
    detector.predict(images)
    assert re.search(r"Scoring images: 100%.* 12/12 ", capfd.readouterr().err)
    assert len(list(detector.anomaly_maps(iter(images)))) == 12
    assert re.search(r"Mapping images: 12image", capfd.readouterr().err)


def test_by_default_nothing_is_printed(capfd):
    images = noise()
    detector = small().fit(images)
    detector.predict(images)
    list(detector.anomaly_maps(images))
    assert capfd.readouterr() == ("", "")


class Clock:
    """A clock that is later by so many seconds at each reading."""

    def __init__(self, step):
        self.step = step
        self.now = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def test_scores_that_take_long_get_one_warning_with_the_expected_time(monkeypatch):
    images = noise()
    detector = small().fit(images)
    monkeypatch.setattr(progress, "clock", Clock(30))
    message = "Scoring images is expected to take 6 minutes more. A larger stride takes"
    with pytest.warns(LongRunWarning, match=message) as caught:
        detector.predict(images)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_maps_that_take_long_get_a_warning(monkeypatch):
    images = noise()
    detector = small().fit(images)
    monkeypatch.setattr(progress, "clock", Clock(6))
    with pytest.warns(
        LongRunWarning, match="Mapping images is expected to take 66 seconds"
    ):
        list(detector.anomaly_maps(images))


def test_a_calibration_that_takes_long_gets_a_warning(monkeypatch):
    monkeypatch.setattr(progress, "clock", Clock(100))
    with pytest.warns(
        LongRunWarning, match="Calibrating the threshold is expected to take"
    ):
        small().fit(noise())


@pytest.mark.filterwarnings("error::skanogan.exceptions.LongRunWarning")
def test_scores_within_a_minute_get_no_warning(monkeypatch):
    images = noise()
    detector = small().fit(images)
    # After the first of 12 images, 11 times 5 seconds are expected.
    monkeypatch.setattr(progress, "clock", Clock(5))
    detector.predict(images)


def test_a_training_of_patches_that_takes_long_gets_a_warning(monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)
    inner = OCGANDetector(backbone="mlp", max_iter=40, random_state=0)
    message = "The training of OCGANDetector is expected to take .*patch_size"
    with pytest.warns(LongRunWarning, match=message) as caught:
        small(inner, patch_size=8).fit(noise())
    assert sum("training" in str(warning.message) for warning in caught) == 1


@pytest.mark.filterwarnings("error::skanogan.exceptions.LongRunWarning")
def test_a_training_without_patches_gets_no_warning_of_its_time(monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)
    images = noise(30, (8, 8))
    OCGANDetector(backbone="mlp", max_iter=40, random_state=0).fit(images)


def test_the_expected_time_of_a_training_is_that_of_the_updates_to_come():
    message = r"The training of A is expected to take 80 minutes more\. Wait\."
    with (
        progress.long_training_warns("Wait."),
        progress.progress_bar("A", 100, 0) as report,
    ):
        report({"n_iter": 50.0, "seconds": 60.0})
        with pytest.warns(LongRunWarning, match=message):
            report({"n_iter": 60.0, "seconds": 7200.0})
        # The warning comes once.
        report({"n_iter": 80.0, "seconds": 7200.0})


# Errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((12, 16)), r"images has shape \(12, 16\).*pass images\[None\]"),
        (np.zeros((2, 12, 16, 3, 1)), r"images has shape \(2, 12, 16, 3, 1\)"),
        (__file__, r"images is one path, '.*', which is not a folder.* in a list"),
        ([], "images holds 0 images while a minimum of 1"),
        (np.zeros((0, 12, 16)), "images holds 0 images while a minimum of 1"),
        (np.zeros((3, 3, 16)), r"images\[\d\] has shape \(3, 16\), which is smaller"),
        ([np.zeros(9)] * 3, r"images\[\d\] has shape \(9,\)\. It must be \(H, W\) or"),
        (np.zeros((3, 8, 8), complex), r"images\[\d\] has dtype complex128\. Pixels"),
        (np.full((3, 8, 8), np.inf), r"images\[\d\] has pixels that are NaN or inf"),
        (np.zeros((1, 8, 8)), r"Found 1 normal image\(s\) while a minimum of 2"),
        (
            [np.zeros((8, 8)), np.zeros((8, 8, 3))] * 3,
            r"images\[\d\] has shape \(8, 8(, 3)?\), but .* had \(H, W(, 3)?\)",
        ),
        (
            [np.zeros((8, 8)), np.zeros((8, 8), np.uint8)] * 3,
            r"images\[\d\] has dtype \w+, but the first image .* \w+\. .* one dtype",
        ),
    ],
)
def test_invalid_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        small().fit(images)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.ones((11, 12, 16)), "Found 11 masks for 12 images"),
        (np.ones((12, 16, 12)), r"mask of images\[\d+\] has shape \(16, 12\)"),
        (np.zeros((12, 12, 16)), r"mask of images\[\d+\] is 0 everywhere"),
        ([np.ones((12, 16, 3))] * 12, r"has shape \(12, 16, 3\)"),
        (lambda image: image[:3], r"mask of images\[\d+\] has shape \(3, 16\)"),
        ("masks", "masks is 'masks'. It must be an array"),
        (3, "masks is 3. It must be an array"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        small().fit(noise(), masks=masks)


@pytest.mark.parametrize("method", ["score_samples", "predict", "anomaly_maps"])
@pytest.mark.parametrize("n", [11, 13])
def test_too_few_or_too_many_masks_are_refused_at_once(method, n):
    detector = small().fit(noise())
    with pytest.raises(ValueError, match=f"Found {n} masks for 12 images"):
        getattr(detector, method)(noise(), np.ones((n, 12, 16)))


def test_fewer_masks_than_images_of_a_generator_are_refused():
    images = noise()
    maps = small().fit(images).anomaly_maps(iter(images), np.ones((2, 12, 16)))
    assert [next(maps).shape for _ in range(2)] == [(12, 16)] * 2
    with pytest.raises(ValueError, match="Found 2 masks for 3 images or more"):
        next(maps)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1] * 11, "Found y with 11 labels for 12 rows"),
        ([1] * 13, "Found y with 13 labels for 12 rows"),
        ([0, 1, -1] * 4, r"y holds \[-1, 0, 1\]\. Labels must be 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        small().fit(noise(), y)


def test_labels_without_a_minus_one_are_ignored_with_a_warning():
    images = noise()
    with pytest.warns(UserWarning, match=r"y is ignored: it holds \[0, 1\]") as caught:
        detector = small().fit(images, [0, 1] * 6)
    assert caught[0].filename == __file__
    assert detector.offset_ == small().fit(images).offset_


@pytest.mark.parametrize(
    ("contamination", "n_normal", "least"),
    [(0.1, 0, 1), ("auto", 0, 2), ("auto", 1, 2)],
)
def test_too_few_normal_images_are_refused(contamination, n_normal, least):
    y = np.repeat([1, -1], [n_normal, 12 - n_normal])
    with pytest.raises(
        ValueError, match=rf"Found {n_normal} normal image\(s\).*minimum of {least} is"
    ):
        small(contamination=contamination).fit(noise(), y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"patch_size": (4, 0)},
            r"patch_size=\(4, 0\) is not allowed\. Give a positive",
        ),
        ({"patch_size": (4, 4, 3)}, r"patch_size=\(4, 4, 3\)"),
        ({"patch_size": (4, 4.5)}, r"patch_size=\(4, 4.5\)"),
        ({"stride": 5}, r"stride=5 is larger than patches of \(4, 4\), so pixels"),
        ({"stride": (1, 5)}, r"stride=\(1, 5\) is larger than patches of \(4, 4\)"),
        ({"stride": (1,)}, r"stride=\(1,\) is not allowed\. Give a positive integer"),
        (
            {"pooling": "quantile", "pooling_size": 1},
            'pooling_size=1 is an integer, but pooling="quantile" needs a share',
        ),
        ({"pooling": "median"}, "'pooling' parameter"),
        ({"unreadable": "ignore"}, "'unreadable' parameter"),
        ({"contamination": 0.6}, "'contamination' parameter"),
        ({"estimator": StandardScaler()}, "'estimator' parameter"),
    ],
)
def test_invalid_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        small().set_params(**parameters).fit(noise())


def test_new_images_must_be_like_those_of_fit():
    detector = small().fit(noise())
    for call in (
        detector.score_samples,
        lambda images: [*detector.anomaly_maps(images)],
    ):
        with pytest.raises(ValueError, match=r"\[1\] has shape \(3, 9\), which is"):
            call([np.zeros((9, 9)), np.zeros((3, 9))])
        with pytest.raises(ValueError, match=r"images\[0\] has shape \(9, 9, 3\), but"):
            call([np.zeros((9, 9, 3))])
        with pytest.raises(ValueError, match=r"images\[0\] has pixels that are NaN"):
            call([np.full((9, 9), np.nan)])
    with pytest.raises(FileNotFoundError, match=r"'image\.npy', which does not exist"):
        detector.anomaly_maps("image.npy")
    with pytest.raises(ValueError, match="image has shape"):
        detector.anomaly_map(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="stride=9"):
        detector.anomaly_map(np.zeros((9, 9)), stride=9)


def test_memory_is_allocated_for_existing_patches_only():
    # Regression: this was a MemoryError.
    images = np.random.RandomState(0).normal(size=(3, 6, 7))
    detector = small(patches_per_image=10**9, contamination=0.1).fit(images)
    assert detector.n_patches_ == 3 * 3 * 4


def test_larger_images_give_more_patches_than_the_first():
    rng = np.random.RandomState(0)
    images = [rng.normal(size=(4 + side, 4)) for side in range(6)]
    for order in (images, images[::-1]):
        detector = small(patches_per_image=10**9, contamination=0.1).fit(order)
        assert detector.n_patches_ == 1 + 2 + 3 + 4 + 5 + 6
        assert len(np.unique(detector.estimator_.seen_, axis=0)) == 21


@pytest.mark.parametrize("seed", range(4))
def test_an_image_of_another_dtype_is_refused_at_any_position(seed):
    # Regression: only images to train on were compared, so the seed decided.
    images = list(np.random.RandomState(0).randint(0, 255, (9, 8, 8)).astype(np.uint8))
    images[4] = images[4] / 255
    with pytest.raises(ValueError, match="one dtype and the same units"):
        small(random_state=seed).fit(images)


def test_images_of_another_dtype_are_not_scored():
    images = np.random.RandomState(0).randint(0, 255, (9, 8, 8)).astype(np.uint8)
    detector = small().fit(images)
    for call in (detector.predict, lambda given: detector.anomaly_map(given[0])):
        with pytest.raises(ValueError, match=r"dtype float64, but the first .* uint8"):
            call(images / 255)


def test_floats_of_any_length_are_scored():
    images = np.random.RandomState(0).normal(size=(9, 8, 8))
    detector = small().fit(images)
    assert detector.score_samples(images.astype(np.float32)).shape == (9,)

import numpy as np
import pytest
from studies.oct import GUARD, main, numbers, split, study_split, whole_eyes
from studies.oct_methods import METHODS as ALL_METHODS
from studies.retina import (
    _noise,
    _with_noise_of_at_most,
    align_retina,
    find_layers,
)

LABELS = np.repeat([0, 1, 2], [120, 40, 30])
NUMBER = np.concatenate([np.arange(n) * 4 for n in (120, 40, 30)])


def scan(rng, slope=0.0, bump=0.0, shape=(128, 128)):
    """A retina of three layers, its bright band on a curve, with a bump or without."""
    rows, columns = np.indices(shape)
    band = 80 + slope * (columns - 64) + 6 * np.sin(columns / 60)
    depth = rows - band
    grey = np.full(shape, 10.0)
    grey[(depth > -36) & (depth <= -5)] = 80
    grey[depth > 0] = 60 * np.exp(-depth[depth > 0] / 15)
    lifted = bump * np.exp(-(((columns - 64) / 8) ** 2))
    grey[(depth > -5 - lifted) & (depth <= -lifted)] = 200
    return grey + rng.normal(0, 4, shape)


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def test_the_layers_are_found_where_they_were_drawn(rng):
    surface, band = find_layers(scan(rng, slope=0.15))
    drawn = 80 + 0.15 * (np.arange(128) - 64) + 6 * np.sin(np.arange(128) / 60)
    # Of 31 rows between them; a row or two are lost to smoothing.
    assert np.abs(band - drawn).max() <= 3
    assert np.abs(surface - (drawn - 36)).max() <= 3


def test_the_bright_band_becomes_a_straight_line(rng):
    aligned = align_retina(scan(rng, slope=0.2))
    assert aligned.shape == (16, 32)
    assert np.ptp(aligned.argmax(0)) <= 1


def test_a_bump_of_the_band_is_not_flattened(rng):
    flat, bumped = (align_retina(scan(rng, bump=bump)) for bump in (0, 12))
    rise = flat.argmax(0) - bumped.argmax(0)
    assert rise[15:17].min() >= 4  # rows of two pixels, of a bump of twelve
    assert np.abs(rise[:6]).max() <= 1


def test_the_result_does_not_depend_on_contrast(rng):
    image = scan(rng)
    dim = align_retina(20 + 0.4 * image)
    np.testing.assert_allclose(dim, align_retina(image), atol=1e-5)


@pytest.mark.parametrize("noise", [0.12, 0.3, 0.6])
def test_speckle_is_smoothed_to_a_level_and_not_below(rng, noise):
    flat = rng.normal(0, noise, (80, 128))
    left = _noise(_with_noise_of_at_most(flat, 0.1))
    assert 0.095 < left <= 0.1


def test_a_scan_with_little_speckle_is_not_smoothed(rng):
    flat = rng.normal(0, 0.08, (80, 128))
    np.testing.assert_array_equal(_with_noise_of_at_most(flat, 0.1), flat)


@pytest.mark.parametrize("shape", [(128,), (32, 128), (128, 128, 3)])
def test_images_that_are_not_scans_are_refused(shape):
    with pytest.raises(ValueError, match=r"Pass grey levels \(H, W\) of 64 x 64"):
        align_retina(np.zeros(shape))


def test_rows_beyond_the_limits_are_refused(rng):
    with pytest.raises(ValueError, match=r"rows=\(-80, 8\) is not a range within"):
        align_retina(scan(rng), rows=(-80, 8))


def test_a_constant_scan_gives_finite_values():
    assert np.isfinite(align_retina(np.zeros((128, 128)))).all()


def test_numbers_are_read_from_names():
    assert numbers(["AMD_1002.jpeg", "NORMAL_14.jpeg"]).tolist() == [1002, 14]
    with pytest.raises(ValueError, match=r"NORMAL.jpeg' has no number"):
        numbers(["NORMAL.jpeg"])


@pytest.mark.parametrize("development", [True, False])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_no_scan_near_a_test_scan_is_trained_on(k, development):
    train, test = split(LABELS, NUMBER, k, development=development)
    normal = test[LABELS[test] == 0]
    assert (LABELS[train] == 0).all()
    assert len(train) > 20
    assert np.abs(NUMBER[train][:, None] - NUMBER[normal]).min() > GUARD


@pytest.mark.parametrize("random", [True, False])
def test_the_splits_test_each_normal_scan_of_the_second_half_once(random):
    tests = [split(LABELS, NUMBER, k, random=random)[1] for k in range(3)]
    normal = np.concatenate([test[LABELS[test] == 0] for test in tests])
    assert sorted(normal) == list(range(60, 120))
    for test in tests:
        assert (LABELS[test] > 0).sum() == 20 + 15


def test_the_development_half_is_not_used_in_the_report():
    seen = np.concatenate(
        [np.concatenate(split(LABELS, NUMBER, k, development=True)) for k in range(3)]
    )
    for k in range(3):
        assert not np.isin(split(LABELS, NUMBER, k)[1], seen).any()


def test_thirds_at_random_train_on_all_other_normal_scans():
    train, test = split(LABELS, NUMBER, 0, random=True)
    assert len(train) == 120 - 20
    assert not np.isin(train, test).any()


def test_every_method_has_an_input_and_a_name():
    assert len(ALL_METHODS) == 23
    assert {kind for kind, _ in ALL_METHODS} == {
        "scans as they are",
        "aligned scans",
        "patches",
        "whitened patches",
    }


METHODS = [
    ("scans as they are", "PCA reconstruction"),
    ("whitened patches", "distance to the mean"),
]


def test_the_study_measures_the_given_methods(rng):
    aligned = rng.normal(size=(60, 16, 32)).astype(np.float32)
    y = np.repeat([0, 1, 2], [40, 10, 10])
    aligned[y > 0] *= 2
    inputs = {"scans as they are": aligned, "aligned scans": aligned}
    train, test = np.arange(25), np.arange(25, 60)
    found = study_split(inputs, y, train, test, 0, METHODS)
    assert list(found) == METHODS
    for measured in found.values():
        assert measured["all"] == measured["AMD"] == measured["DME"] == 1
        assert measured["found"] == 1
        assert measured["false alarms"] < 0.5


def test_the_study_prints_a_row_for_each_method(rng, tmp_path, capsys):
    y = np.repeat([0, 1, 2], [18, 4, 4])
    x = np.stack([scan(rng, bump=12 * (label > 0)) for label in y])
    number = np.concatenate([np.arange(n) * 40 for n in (18, 4, 4)])
    names = [f"SCAN_{k}.jpeg" for k in number]
    path = tmp_path / "scans.npz"
    np.savez(path, x=x.clip(0, 255).astype(np.uint8), y=y, name=names)
    arguments = [str(path), "--splits", "1", "--only", "scans, PCA"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "15 NORMAL scans to train on, [3, 2, 2] to test" in printed
    assert "| aligned scans | PCA reconstruction | 1.000 |" in printed


def test_whole_eyes_calibrate_the_threshold():
    train = split(LABELS, NUMBER, 0)[0]
    learn, calibrate = whole_eyes(train, NUMBER)
    assert len(calibrate) == len(train) // 5
    assert not np.isin(learn, calibrate).any()
    assert np.isin(learn, train).all()
    assert np.abs(NUMBER[learn][:, None] - NUMBER[calibrate]).min() > GUARD


def test_the_threshold_is_calibrated_on_the_given_scans(rng):
    aligned = rng.normal(size=(90, 16, 32)).astype(np.float32)
    y = np.repeat([0, 1, 2], [70, 10, 10])
    aligned[y > 0] *= 1.5
    aligned[25:50] *= 2  # scans of another kind: no anomaly exceeds them
    inputs = {"aligned scans": aligned}
    arguments = (inputs, y, np.arange(25), np.arange(50, 90), 0, METHODS[1:])
    found = study_split(*arguments, calibrate=np.arange(25, 50))[METHODS[1]]
    assert found["all"] == 1
    assert found["found"] == found["false alarms"] == 0

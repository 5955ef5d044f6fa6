"""Errors for bad input: what was given, what is allowed, what to do."""

import datetime
import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from cheap import cheap
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from torch import nn

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.baselines import MahalanobisDistance, MeanDistance
from skanogan.conformal import ConformalDetector
from skanogan.exceptions import (
    CalibrationWarning,
    ImageShapeWarning,
    LabelWarning,
    MaskWarning,
    ParameterWarning,
    RangeWarning,
)
from skanogan.features import NetworkFeatures
from skanogan.image import PatchDetector, PositionDetector
from skanogan.model_selection import NoveltyClassifier

METHODS = [
    "score_samples",
    "decision_function",
    "predict",
    "reconstruct",
    "anomaly_map",
    "embed",
]


@pytest.fixture
def fitted(make_detector, blob):
    return make_detector().fit(blob)


@pytest.fixture
def fitted_on_images(make_detector, zeros):
    return make_detector().fit(zeros)


GANS = {
    kind.__name__: kind for kind in (AnoGANDetector, FAnoGANDetector, OCGANDetector)
}


@pytest.fixture(
    params=[*GANS, "MeanDistance", "ConformalDetector", "NoveltyClassifier"]
)
def any_detector(request):
    """Each detector, a baseline, and each wrapper that takes rows."""
    if request.param in GANS:
        return cheap(GANS[request.param])
    return {
        "MeanDistance": MeanDistance(),
        "ConformalDetector": ConformalDetector(MeanDistance(), random_state=0),
        "NoveltyClassifier": NoveltyClassifier(cheap(AnoGANDetector)),
    }[request.param]


@pytest.fixture(params=["PatchDetector", "PositionDetector"])
def of_images(request):
    """Each detector of whole images, around a detector without networks."""
    inner = MahalanobisDistance()
    if request.param == "PatchDetector":
        return PatchDetector(inner, patch_size=4, contamination=0.1, random_state=0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    features = NetworkFeatures(network, pooling=None, mean=0.5, std=0.5)
    return PositionDetector(inner, features, contamination=0.1, random_state=0)


def labels_for(X):
    """Labels of rows that are all normal: only the classifier needs them."""
    return np.ones(len(X), int)


# Columns ----------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_column_of_strings_is_named_with_an_encoder(any_detector, blob, frame):
    X = frame({"n": blob[:, 0], "city": ["Rome"] * len(blob)})
    with pytest.raises(ValueError, match=r"column 'city', first in row 0 .*Encoder"):
        any_detector.fit(X, labels_for(X))


def test_a_column_of_categories_is_named_with_an_encoder(any_detector, blob):
    # Regression: scikit-learn lets categories of pandas pass as objects.
    X = pd.DataFrame(blob[:, :2]).assign(city=pd.Categorical(["Rome"] * len(blob)))
    X.columns = [*"abc"]
    with pytest.raises(ValueError, match=r"column 'c', first in row 0 .*Encoder"):
        any_detector.fit(X, labels_for(X))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_dates_beside_numbers_are_named_with_a_remedy(any_detector, blob, frame):
    # Regression: NumPy's message of types in pandas, and numbers in polars.
    when = [datetime.datetime(2026, 1, 1)] * len(blob)
    good, bad = frame({"n": blob[:, 0]}), frame({"n": blob[:, 0], "when": when})
    message = r"durations in column 'when' \(.*Subtract a reference date and divide by"
    with pytest.raises(ValueError, match=message):
        any_detector.fit(bad, labels_for(bad))
    any_detector.fit(good, labels_for(good))
    with pytest.raises(ValueError, match=message):
        any_detector.predict(bad)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_gaps_are_named_by_column_and_row_with_an_imputer(any_detector, blob, frame):
    X = frame({"a": blob[:, 0], "b": blob[:, 1]})
    any_detector.fit(X, labels_for(X))
    blob[7:9, 1] = np.nan
    gaps = frame({"a": blob[:, 0], "b": blob[:, 1]})
    message = r"column 'b', first in row {}\..*Imputer"
    with pytest.raises(ValueError, match=message.format(7)):
        any_detector.predict(gaps)
    # The wrapper passes on a part of the rows, and only pandas names rows.
    splits = isinstance(any_detector, ConformalDetector) and frame is pl.DataFrame
    row = r"\d" if splits else "[78]"
    with pytest.raises(ValueError, match=message.format(row)):
        any_detector.fit(gaps, labels_for(gaps))


def test_columns_in_another_order_are_refused_with_those_of_fit(any_detector, blob):
    X = pd.DataFrame(blob, columns=[*"abcde"])
    any_detector.fit(X, labels_for(X))
    for other in (X[[*"edcba"]], X.rename(columns={"a": "z"})):
        with pytest.raises(ValueError, match=r"(?s)should match.*a, b, c, d, e\.$"):
            any_detector.predict(other)


# Kinds ------------------------------------------------------------------------


def test_datasets_and_lazy_frames_are_refused_with_the_call_to_make(any_detector, blob):
    rows = torch.utils.data.TensorDataset(torch.tensor(blob))
    for X, call in (
        (rows, r"\[item\[0\] for item in X\]"),
        (torch.utils.data.DataLoader(rows), r"torch\.cat"),
        (pl.DataFrame(blob).lazy(), r"X\.collect\(\)"),
    ):
        with pytest.raises(TypeError, match=rf"X is a {type(X).__name__}, .*{call}"):
            any_detector.fit(X, labels_for(blob))


def test_tensors_with_gradients_and_of_bfloat16_are_rows(any_detector, blob):
    # Regression: NumPy reads neither.
    y = labels_for(blob)
    rounded = torch.tensor(blob).bfloat16()
    any_detector.fit(rounded.float().numpy(), y)
    expected = any_detector.decision_function(rounded.float().numpy())
    needs_gradients = rounded.float().requires_grad_()
    for X in (rounded, rounded.requires_grad_(), needs_gradients, list(rounded)):
        any_detector.fit(X, y)
        assert np.array_equal(any_detector.decision_function(X), expected)


@pytest.mark.parametrize("colour", [False, True])
def test_one_image_is_refused_with_the_stack_to_pass(any_detector, zeros, colour):
    images = np.repeat(zeros[..., None], 3, -1) if colour else zeros
    any_detector.fit(images, labels_for(images))
    for image in (images[0], images[0].tolist()):
        with pytest.raises(ValueError, match=r"one image of shape .*Pass X\[None\]"):
            any_detector.predict(image)
    assert any_detector.predict(images[0][None]).shape == (1,)


def test_a_list_of_images_is_a_stack(any_detector, zeros):
    any_detector.fit(list(zeros), labels_for(zeros))
    expected = any_detector.decision_function(zeros)
    for images in (list(zeros), zeros.tolist(), list(torch.tensor(zeros))):
        assert np.array_equal(any_detector.decision_function(images), expected)


@pytest.mark.parametrize("kind", GANS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_rows_takes_a_list_of_images(zeros, kind, method):
    call = getattr(cheap(GANS[kind]).fit(zeros), method)
    assert np.array_equal(call(list(zeros[:3])), call(zeros[:3]))


def test_a_list_of_images_is_a_stack_for_whole_images(of_images, zeros):
    images = zeros / 16
    expected = of_images.fit(images).score_samples(images)
    tensors = torch.tensor(images, requires_grad=True)
    for each in (list(images), images.tolist(), tensors, list(tensors)):
        assert np.array_equal(of_images.fit(each).score_samples(each), expected)
    (found,) = of_images.anomaly_maps(list(tensors[:1]))
    assert np.array_equal(found, of_images.anomaly_map(images[0].tolist()))


def test_one_image_and_several_are_told_apart_for_whole_images(of_images, zeros):
    images = zeros / 16
    of_images.fit(images)
    with pytest.raises(ValueError, match=r"pass images\[None\]"):
        of_images.predict(images[0])
    with pytest.raises(ValueError, match=r"shape \(8,\).* pass that image in a list"):
        of_images.predict(images[0].tolist())
    with pytest.raises(ValueError, match="several images, use anomaly_maps"):
        of_images.anomaly_map(list(images[:3]))
    picture = pytest.importorskip("PIL.Image").fromarray(images[0])
    with pytest.raises(TypeError, match=r"numpy\.asarray\(images\)\[None\]"):
        of_images.predict(picture)


# Ranges -----------------------------------------------------------------------


def test_images_in_other_units_than_in_fit_cause_a_warning(any_detector, zeros):
    # Regression: they were normal, or all anomalies, without a word.
    bytes_, floats = (15 * zeros).astype(np.uint8), 15 * zeros / 255
    for fitted, other in ((bytes_, floats), (floats, bytes_)):
        any_detector.fit(fitted, labels_for(fitted))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RangeWarning)
            any_detector.predict(fitted)
        with pytest.warns(RangeWarning, match=r"from .* to .*, but those of fit") as w:
            any_detector.predict(other)
        assert {each.filename for each in w} == {__file__}


def test_a_warning_of_other_units_changes_no_score(make_detector, blob):
    detector = make_detector().fit(blob)
    far = blob * 1e3
    with pytest.warns(RangeWarning, match=r"5 of 5 columns\. Column 0"):
        together = detector.score_samples(far)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RangeWarning)
        alone = [detector.score_samples(row[None])[0] for row in far]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_images_in_other_units_cause_one_warning_for_patches(zeros):
    detector = PatchDetector(MeanDistance(), patch_size=4, contamination=0.1)
    detector.fit(zeros / 16)
    with pytest.warns(RangeWarning) as caught:
        detector.predict(zeros * 16)
    assert len(caught) == 1


# Values -----------------------------------------------------------------------


@pytest.mark.parametrize(("value", "named"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_nan_and_infinity_are_refused_by_name(
    make_detector, fitted, blob, value, named
):
    blob[3, 1] = value
    with pytest.raises(ValueError, match=named):
        make_detector().fit(blob)
    for method in METHODS:
        with pytest.raises(ValueError, match=named):
            getattr(fitted, method)(blob)


def test_nan_in_an_image_is_refused(make_detector, fitted_on_images, zeros):
    zeros[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        make_detector().fit(zeros)
    with pytest.raises(ValueError, match="NaN"):
        fitted_on_images.score_samples(zeros)


@pytest.mark.parametrize(
    "X", [[["a", "b"], ["c", "d"]], np.array([["a", "b"], ["c", "d"]], dtype=object)]
)
def test_strings_are_refused(make_detector, X):
    with pytest.raises(ValueError, match="string"):
        make_detector().fit(X)


def test_sparse_rows_are_refused_with_advice(make_detector, fitted, blob):
    for container in (sparse.csr_matrix, sparse.csr_array):
        for call in (make_detector().fit, fitted.score_samples):
            with pytest.raises(TypeError, match=r"[Ss]parse.*dense"):
                call(container(blob))


def test_complex_rows_are_refused(make_detector, fitted, blob):
    for call in (make_detector().fit, fitted.score_samples):
        with pytest.raises(ValueError, match="Complex data not supported"):
            call(blob + 1j)


def test_masked_entries_are_refused_and_an_empty_mask_is_not(
    make_detector, fitted, blob
):
    # Regression: masks were ignored, and masked entries were scored.
    masked = np.ma.masked_greater(blob, 20)
    message = rf"masked in {masked.mask.sum()} places.*numpy\.ma\.filled"
    for X in (masked, list(masked)):
        for call in (make_detector().fit, fitted.score_samples):
            with pytest.raises(ValueError, match=message):
                call(X)
    unmasked = np.ma.masked_array(blob, mask=False)
    assert np.array_equal(fitted.score_samples(unmasked), fitted.score_samples(blob))


def test_masked_pixels_are_refused(make_detector, fitted_on_images, zeros):
    masked = np.ma.masked_equal(zeros, 16)
    for call in (make_detector().fit, fitted_on_images.reconstruct):
        with pytest.raises(ValueError, match=r"masked in \d+ places"):
            call(masked)


@pytest.mark.parametrize("dtype", ["M8[ns]", "m8[s]"])
def test_dates_and_durations_are_refused(make_detector, fitted, blob, dtype):
    # Regression: dates were scored as nanoseconds since 1970, and NaT as a number.
    for call in (make_detector().fit, fitted.score_samples):
        with pytest.raises(ValueError, match=r"dates or durations .*Divide durations"):
            call(blob.astype("i8").astype(dtype))


@pytest.mark.skipif(
    np.finfo(np.longdouble).max == np.finfo(float).max,
    reason="long doubles are float64 here",
)
def test_long_doubles_are_accepted_if_float64_can_hold_them(
    make_detector, fitted, blob
):
    long = blob.astype(np.longdouble)
    assert np.array_equal(fitted.score_samples(long), fitted.score_samples(blob))
    long[3, 1] = np.longdouble("1e4000")
    message = r"holds 1e\+4000, which is too large for float64\. Divide X"
    for call in (make_detector().fit, fitted.score_samples):
        with pytest.raises(ValueError, match=message):
            call(long)


def test_integers_beyond_float64_are_refused(make_detector, fitted, blob):
    # Regression: Python raised an OverflowError.
    huge = blob.astype(object)
    huge[3, 1] = 10**400
    for call in (make_detector().fit, fitted.score_samples):
        with pytest.raises(ValueError, match="a number that is too large for float64"):
            call(huge)


def test_scores_that_are_not_finite_are_an_error(fitted, blob):
    for factor in (1e10, 1e100, 1e200):
        assert np.isfinite(fitted.score_samples(blob * factor)).all()
    with torch.no_grad():
        next(fitted.model_.members[0].discriminator.parameters()).mul_(1e300)
    with pytest.raises(FloatingPointError, match=r"80 of 80 scores .*Scale X"):
        fitted.score_samples(blob)


# Shapes -----------------------------------------------------------------------


def test_X_without_rows_is_refused(
    make_detector, fitted, fitted_on_images, blob, zeros
):
    with pytest.raises(ValueError, match=r"0 sample.*minimum of 2 is required"):
        make_detector().fit(blob[:0])
    with pytest.raises(ValueError, match=r"0 sample.*minimum of 1 is required"):
        fitted.score_samples(blob[:0])
    with pytest.raises(ValueError, match=r"0 sample.*minimum of 2 is required"):
        make_detector().fit(zeros[:0])
    with pytest.raises(ValueError, match=r"0 sample.*minimum of 1 is required"):
        fitted_on_images.score_samples(zeros[:0])


def test_one_row_is_refused_by_fit_and_scored_after_it(make_detector, fitted, blob):
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2 is required"):
        make_detector().fit(blob[:1])
    assert fitted.score_samples(blob[:1]).shape == (1,)


def test_one_dimension_is_refused_with_advice(make_detector, fitted, blob):
    for call in (make_detector().fit, fitted.score_samples):
        with pytest.raises(ValueError, match="Reshape your data"):
            call(blob[0])


def test_five_dimensions_are_refused(make_detector):
    with pytest.raises(ValueError, match="dim 5"):
        make_detector().fit(np.zeros((3, 2, 2, 2, 2)))


@pytest.mark.parametrize("method", METHODS)
def test_another_number_of_features_is_refused(fitted, blob, method):
    with pytest.raises(ValueError, match=r"4 features, but .* expecting 5"):
        getattr(fitted, method)(blob[:, :4])


@pytest.mark.parametrize("method", METHODS)
def test_another_image_shape_is_refused(fitted_on_images, method):
    with pytest.raises(
        ValueError,
        match=r"shape \(9, 8\), but .* expecting \(8, 8, 1\) as in fit\. Resize",
    ):
        getattr(fitted_on_images, method)(np.zeros((3, 9, 8)))


def test_images_of_another_shape_with_as_many_pixels_are_refused(fitted_on_images):
    for shape in [(4, 16), (16, 4), (4, 4, 4)]:
        with pytest.raises(ValueError, match=r"expecting \(8, 8, 1\)"):
            fitted_on_images.score_samples(np.zeros((3, *shape)))


def test_flat_rows_with_another_number_of_pixels_are_refused(fitted_on_images):
    with pytest.raises(ValueError, match=r"63 features, but .* expecting 64"):
        fitted_on_images.score_samples(np.zeros((3, 63)))


def test_images_after_a_fit_on_a_table_are_refused(fitted):
    with pytest.raises(ValueError, match=r"\(5, 1\), .* flat rows of 5 features"):
        fitted.score_samples(np.zeros((3, 5, 1)))


def test_images_of_several_shapes_are_refused_with_advice(
    make_detector, fitted_on_images, zeros
):
    images = [*zeros, zeros[0, :, :7]]
    for call in (make_detector().fit, fitted_on_images.predict):
        with pytest.raises(ValueError, match=r"of 2 shapes, .*PatchDetector"):
            call(images)


@pytest.mark.parametrize("flat", [False, True])
def test_images_with_channels_first_cause_a_warning(make_detector, flat):
    images = np.random.RandomState(0).normal(size=(12, 3, 10, 10))
    X = images.reshape(12, -1) if flat else images
    detector = make_detector(image_shape=(3, 10, 10) if flat else None)
    with pytest.warns(ImageShapeWarning, match=r"np\.moveaxis\(X, 1, -1\)") as caught:
        detector.fit(X)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", ImageShapeWarning)
        make_detector().fit(np.moveaxis(images, 1, -1))


def test_one_image_in_colour_as_x_causes_a_warning(make_detector):
    images = np.random.RandomState(0).normal(size=(2, 20, 20, 3))
    with pytest.warns(ImageShapeWarning, match=r"images of 20 x 3 .*X\[None\]"):
        make_detector().fit(images[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ImageShapeWarning)
        make_detector().fit(images)


def test_columns_in_another_order_are_named_in_the_order_of_fit(make_detector, blob):
    X = pd.DataFrame(blob).add_prefix("c")
    detector = make_detector().fit(X)
    order = r"order.*\nPass X\[detector.feature_names_in_\]: c0, c1"
    with pytest.raises(ValueError, match=order):
        detector.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="Rename the columns if needed"):
        detector.predict(X.rename(columns={"c0": "other"}))


def test_an_image_shape_with_another_number_of_pixels_is_refused(make_detector, zeros):
    flat = zeros.reshape(len(zeros), -1)
    with pytest.raises(ValueError, match=r"64 features .*=\(8, 9\) needs 72"):
        make_detector(image_shape=(8, 9)).fit(flat)
    with pytest.raises(ValueError, match=r"\(8, 8\), .* \(8, 9, 1\) \(image_shape\)"):
        make_detector(image_shape=(8, 9)).fit(zeros)


@pytest.mark.parametrize("shape", [(64,), (8, 8, 1, 1), (8, 0), (8.0, 8), (-8, -8)])
def test_an_image_shape_that_is_not_one_is_refused(make_detector, zeros, shape):
    with pytest.raises(ValueError, match=r"\(height, width\) or .* positive integers"):
        make_detector(image_shape=shape).fit(zeros.reshape(len(zeros), -1))


def test_convolutions_on_flat_rows_are_refused_with_advice(make_detector, blob):
    with pytest.raises(
        ValueError,
        match=r"flat rows.*Pass .*\(n, H, W\).*, set image_shape, "
        r"or use backbone=\"mlp\"",
    ):
        make_detector(backbone="convolutional").fit(blob)


def test_convolutions_on_small_images_are_refused(make_detector, zeros):
    with pytest.raises(
        ValueError, match=r"(?=.*sides of 8 pixels).*images of shape \(7, 8, 1\)"
    ):
        make_detector(backbone="convolutional").fit(zeros[:, 1:])


# Unusual data that are accepted -------------------------------------------------


def test_constant_features_are_accepted(make_detector, blob):
    blob[:, 2] = 7.0
    fitted = make_detector().fit(blob)
    assert np.isfinite(fitted.score_samples(blob)).all()
    blob[:, 2] += 1000.0
    assert np.isfinite(fitted.score_samples(blob)).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -3e5])
def test_equal_rows_are_accepted(make_detector, value):
    for X in (np.full((30, 3), value), np.full((30, 8, 8), value)):
        fitted = make_detector().fit(X)
        assert np.isfinite(fitted.score_samples(X)).all()
        assert np.isfinite(fitted.offset_)
        assert (fitted.predict(X) == 1).all()


# y ----------------------------------------------------------------------------


def test_rows_marked_as_anomalies_are_left_out(make_detector, blob):
    y = np.where(np.arange(len(blob)) % 4 == 0, -1, 1)
    with_labels = make_detector(contamination=0.1).fit(blob, y)
    changed = np.where(y[:, None] == -1, 1e6, blob)
    again = make_detector(contamination=0.1).fit(changed, y)
    scores = with_labels.score_samples(blob)
    assert np.array_equal(again.score_samples(blob), scores)
    assert again.offset_ == with_labels.offset_
    assert ((scores < with_labels.offset_) & (y == 1)).sum() == 6


def test_labels_that_are_all_1_change_nothing(make_detector, blob):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted = make_detector(max_iter=100, learning_rate=2e-3).fit(
            blob, np.ones(len(blob))
        )
    expected = make_detector(max_iter=100, learning_rate=2e-3).fit(blob)
    assert np.array_equal(fitted.score_samples(blob), expected.score_samples(blob))


@pytest.mark.parametrize("values", [[0, 1], [0.5, 1.5], ["a", "b"], [0, 1, 2]])
def test_other_labels_are_ignored_with_a_warning(make_detector, blob, values):
    # The labels 0 and 1 of other packages have no meaning here.
    y = np.resize(values, len(blob))
    with pytest.warns(
        UserWarning, match=r"y is ignored: it holds .*np\.where\(is_anomaly, -1, 1\)"
    ) as caught:
        fitted = make_detector().fit(blob, y)
    assert caught[0].filename == __file__
    expected = make_detector().fit(blob)
    assert np.array_equal(fitted.score_samples(blob), expected.score_samples(blob))


@pytest.mark.parametrize("values", [[-1, 0, 1], [-1, 0], [-1, 1, 2]])
def test_minus_1_with_labels_other_than_1_is_refused(make_detector, blob, values):
    with pytest.raises(ValueError, match=r"y holds \[-1.*1 for normal .*np\.where"):
        make_detector().fit(blob, np.resize(values, len(blob)))


@pytest.mark.parametrize("labels", [[1, None], [1, "a"]])
def test_labels_of_several_types_are_refused(make_detector, blob, labels):
    y = np.array(labels * 40, dtype=object)
    with pytest.raises(ValueError, match="y holds labels of several kinds"):
        make_detector().fit(blob, y)


def test_labels_in_two_columns_are_refused(make_detector, blob):
    with pytest.raises(ValueError, match="y should be a 1d array"):
        make_detector().fit(blob, np.ones((40, 2)))


@pytest.mark.parametrize("n", [0, 79, 81])
def test_another_number_of_labels_than_rows_is_refused(make_detector, blob, n):
    with pytest.raises(ValueError, match=rf"y with {n} labels for 80 rows"):
        make_detector().fit(blob, np.ones(n))


@pytest.mark.parametrize("n_normal", [0, 1])
def test_fewer_than_two_normal_rows_are_refused(make_detector, blob, n_normal):
    y = np.where(np.arange(len(blob)) < n_normal, 1, -1)
    with pytest.raises(ValueError, match=rf"Found {n_normal} row.*y=1 .* minimum of 2"):
        make_detector().fit(blob, y)


def test_labels_that_mark_most_rows_as_anomalies_cause_a_warning(blob, zeros):
    y = np.where(np.arange(len(blob)) < 60, -1, 1)
    patches = PatchDetector(MeanDistance(), patch_size=4, contamination=0.1)
    message = "y marks 60 of 80 rows as anomalies .* 20 rows .* swapped, pass -y"
    for detector, X in (
        *((cheap(kind), blob) for kind in GANS.values()),
        (ConformalDetector(MeanDistance(), alpha=0.5), blob),
        (NoveltyClassifier(MeanDistance()), blob),
        (patches, zeros[:80]),
    ):
        with pytest.warns(LabelWarning, match=message):
            detector.fit(X, y)
        with warnings.catch_warnings():
            warnings.simplefilter("error", LabelWarning)
            detector.fit(X, -y)


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_five_rows_cause_a_warning_with_the_number_that_is_needed(blob, contamination):
    for kind in (*GANS.values(), MeanDistance):
        # A baseline holds out no rows: each is scored by a fit without it.
        auto = 19 if kind is MeanDistance else 76
        needed = auto if contamination == "auto" else 10
        make = kind if kind is MeanDistance else partial(cheap, kind)
        detector = make(contamination=contamination)
        with pytest.warns(CalibrationWarning, match=f"at least {needed} normal rows"):
            detector.fit(blob[:5])
        with warnings.catch_warnings():
            warnings.simplefilter("error", CalibrationWarning)
            detector.fit(blob[:needed])


def test_a_grey_mask_causes_one_warning_with_a_threshold(of_images, zeros):
    masks = np.zeros((len(zeros), 8, 8), np.uint8)
    masks[:, :6] = np.arange(48).reshape(6, 8)
    with pytest.warns(MaskWarning, match=r"47 values beside 0.*pass mask > 23\.5") as w:
        of_images.fit(zeros / 16, masks=masks)
    assert [each.category for each in w].count(MaskWarning) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", MaskWarning)
        of_images.fit(zeros / 16, masks=masks > 23.5)
        of_images.fit(zeros / 16, masks=np.minimum(masks, 3))


# Parameters -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("contamination", 0.0),
        ("contamination", 0.6),
        ("contamination", "often"),
        ("validation_fraction", 1.0),
        ("backbone", "resnet"),
        ("latent_dim", 0),
        ("prior", "gaussian"),
        ("anomaly_score", "fm"),
        ("n_steps", -1),
        ("n_candidates", 0),
        ("discrimination_weight", 1.1),
        ("learning_rate", 0.0),
        ("max_iter", -1),
        ("batch_size", 0),
        ("ema_decay", 1.0),
        ("shrinkage", 0.0),
        ("scoring_dtype", "bfloat16"),
        ("device", 0),
        ("generator", "dcgan"),
        ("random_state", "seed"),
    ],
)
def test_a_parameter_out_of_range_is_refused_with_its_range(
    make_detector, blob, parameter, value
):
    detector = make_detector(**{parameter: value})
    with pytest.raises(
        InvalidParameterError, match=rf"'{parameter}' parameter of .* must be .* Got"
    ):
        detector.fit(blob)


@pytest.mark.parametrize("sizes", [(), (0,), (16, -1), (16, "a"), (1.5,)])
def test_hidden_layer_sizes_that_are_not_positive_integers_are_refused(
    make_detector, blob, sizes
):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        make_detector(hidden_layer_sizes=sizes).fit(blob)


def test_an_unknown_device_is_refused_with_a_list_of_devices(make_detector, blob):
    with pytest.raises(ValueError, match=r"'gpu' is not a device\. .*'cpu'"):
        make_detector(device="gpu").fit(blob)


def test_a_device_that_is_not_available_is_refused(make_detector, blob, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'cuda' is not available .*\"auto\""):
        make_detector(device="cuda").fit(blob)


def test_a_warm_start_on_rows_of_another_shape_is_refused(make_detector, blob, zeros):
    detector = make_detector(warm_start=True).fit(blob)
    scores = detector.score_samples(blob)
    with pytest.raises(
        ValueError, match=r"shape \(4,\), .* had \(5,\), .*warm_start=F"
    ):
        detector.fit(blob[:, :4])
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\), .* had \(5,\)"):
        detector.fit(zeros)
    assert np.array_equal(detector.score_samples(blob), scores)


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "3", None])
def test_a_number_of_samples_that_is_not_positive_is_refused(fitted, n_samples):
    with pytest.raises(ValueError, match=r"n_samples=.* is not a positive integer"):
        fitted.sample(n_samples)


@pytest.mark.parametrize("method", [*METHODS, "sample"])
def test_a_detector_that_is_not_fitted_raises(make_detector, blob, method):
    detector = make_detector()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(detector, method)(3 if method == "sample" else blob)


# Networks of the user -----------------------------------------------------------


def discriminator(d=5):
    return nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1))


@pytest.mark.parametrize("kind", ["AnoGANDetector", "FAnoGANDetector"])
def test_a_discriminator_that_ends_in_a_sigmoid_causes_a_warning(blob, zeros, kind):
    def fit(last, X):
        network = discriminator(X[0].size)
        if X.ndim == 3:
            network = nn.Sequential(nn.Flatten(), *network)
        return cheap(GANS[kind], discriminator=nn.Sequential(*network, *last)).fit(X)

    for X in (blob, zeros):
        with pytest.warns(ParameterWarning, match=r"after a sigmoid\. Logits are exp"):
            fit([nn.Sigmoid()], X)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParameterWarning)
            fit([], X)
            fit([nn.LayerNorm(1)], X)


def test_a_search_without_a_choice_causes_a_warning(make_detector, blob):
    message = "n_candidates=1 with n_steps=0 leaves nothing to search"
    with pytest.warns(ParameterWarning, match=message):
        make_detector(n_candidates=1).fit(blob)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ParameterWarning)
        make_detector(n_candidates=2).fit(blob)
        make_detector(n_candidates=1, n_steps=1).fit(blob)
        make_detector(n_candidates=1, anomaly_score="p_d").fit(blob)


def test_a_generator_requires_latent_dim(make_detector, blob):
    with pytest.raises(ValueError, match=r"latent_dim='auto': set latent_dim"):
        make_detector(generator=nn.Linear(3, 5), latent_dim="auto").fit(blob)


def test_a_generator_of_rows_of_another_width_is_refused(make_detector, blob):
    with pytest.raises(ValueError, match=r"draws \(2, 6\) .* \(2, 5\) was expected"):
        make_detector(generator=nn.Linear(3, 6), latent_dim=3).fit(blob)


def test_a_generator_of_flat_rows_for_images_is_refused(make_detector, zeros):
    with pytest.raises(ValueError, match=r"\(2, 64\) .* \(2, 1, 8, 8\) was expected"):
        make_detector(generator=nn.Linear(3, 64), latent_dim=3).fit(zeros)


def test_a_generator_for_another_latent_dimension_is_refused(make_detector, blob):
    with pytest.raises(ValueError, match=r"[Gg]enerator .*dimension 4.*latent_dim"):
        make_detector(generator=nn.Linear(3, 5), latent_dim=4).fit(blob)


def test_a_discriminator_with_two_logits_is_refused(make_detector, blob):
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"\(4,\) for two rows; one logit a row"):
        make_detector(discriminator=network).fit(blob)


def test_a_discriminator_for_rows_of_another_width_is_refused(make_detector, blob):
    with pytest.raises(ValueError, match=r"discriminator .*\(2, 5\)"):
        make_detector(discriminator=discriminator(6)).fit(blob)


def test_a_discriminator_without_features_is_refused(make_detector, blob):
    with pytest.raises(ValueError, match=r"got Linear\. Add a method features\(x\)"):
        make_detector(discriminator=nn.Linear(5, 1)).fit(blob)


def test_features_that_are_not_one_vector_per_row_are_refused(make_detector, blob):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 1)

        def features(self, x):
            return x.mean(0, keepdim=True)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(ValueError, match=r"features .*\(1, 5\)"):
        make_detector(discriminator=Pooled()).fit(blob)


def test_a_fit_leaves_given_networks_as_they_were(make_detector, blob):
    network = discriminator()
    before = [weight.clone() for weight in network.parameters()]
    make_detector(discriminator=network).fit(blob)
    blob[0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        make_detector(discriminator=network).fit(blob)
    assert all(map(torch.equal, before, network.parameters()))

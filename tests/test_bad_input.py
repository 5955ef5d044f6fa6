"""Errors for bad input: what was given, what is allowed, what to do."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from torch import nn

from skanogan.exceptions import ImageShapeWarning

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

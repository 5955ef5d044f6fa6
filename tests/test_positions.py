"""PositionDetector: features of positions, scores, maps, masks and errors."""

import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from torch import nn

from skanogan import AnoGANDetector
from skanogan.baselines import MahalanobisDistance
from skanogan.conformal import ConformalDetector
from skanogan.exceptions import ImageFileWarning
from skanogan.features import NetworkFeatures
from skanogan.image import PositionDetector, _position_detector
from skanogan.metrics import outlier_roc_auc_scorer

pytestmark = pytest.mark.filterwarnings(
    "ignore::skanogan.exceptions.CalibrationWarning"
)


class Means(TransformerMixin, BaseEstimator):
    """The mean and the square of each block of 4 x 4 pixels."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        n, height, width = np.shape(X)
        blocks = np.reshape(X, (n, height // 4, 4, width // 4, 4)).mean((2, 4))
        return np.stack([blocks, blocks**2], -1)


class FirstColumn(OutlierMixin, BaseEstimator):
    """A detector whose score is minus the distance of the first column to its mean."""

    def fit(self, X, y=None):
        self.rows_ = X
        self.mean_ = X[:, 0].mean()
        return self

    def score_samples(self, X):
        assert X.ndim == 2
        return -np.abs(X[:, 0] - self.mean_)

    def reconstruct(self, X):
        return np.zeros_like(X)


def noise(n=24, shape=(16, 20), seed=0):
    return np.random.RandomState(seed).normal(size=(n, *shape))


def spotted(value=50.0):
    image = noise(1, seed=9)[0]
    image[4:8, 12:16] = value
    return image


def made(estimator=None, **parameters):
    parameters = {"random_state": 0, "pooling": "max", "smoothing": 0, **parameters}
    return PositionDetector(estimator or FirstColumn(), Means(), **parameters)


# Learning ---------------------------------------------------------------------------


def test_each_position_is_a_row():
    detector = made(contamination=0.1).fit(noise())
    assert detector.n_positions_ == 24 * 4 * 5
    assert detector.estimator_.rows_.shape == (480, 2)
    assert detector.features_.fitted_


class Told(FirstColumn):
    """Keep the labels that `fit` gets."""

    def fit(self, X, y=None):
        self.labels_ = y
        return super().fit(X)


def test_the_detector_is_told_that_positions_of_labelled_images_are_normal():
    assert made(Told()).fit(noise()).estimator_.labels_ is None
    labels = made(Told()).fit(noise(), np.ones(24)).estimator_.labels_
    assert np.array_equal(labels, np.ones(len(labels)))
    assert len(labels) > 24


def test_at_most_so_many_positions_are_learned_from():
    detector = made(max_positions=100).fit(noise())
    assert detector.n_positions_ == len(detector.estimator_.rows_) == 100


def test_positions_are_drawn_from_all_images():
    images = noise(20) * 0.01 + np.arange(20)[:, None, None]
    detector = made(max_positions=60, contamination=0.1).fit(images)
    seen = np.unique(np.round(detector.estimator_.rows_[:, 0]))
    assert np.array_equal(seen, np.arange(20))


def test_the_mean_of_each_position_is_subtracted_on_request():
    pattern = 10 * noise(1, seed=5)[0]
    images = noise() + pattern
    plain, centred = (made(subtract_mean=s).fit(images) for s in (False, True))
    assert centred.mean_.shape == (4, 5, 2)
    assert plain.mean_ is None
    assert centred.estimator_.rows_[:, 0].std() < 0.5
    assert plain.estimator_.rows_[:, 0].std() > 1


def test_only_positions_inside_of_masks_are_learned_from():
    images = noise()
    images[:, :, :12] += 100
    detector = made().fit(images, masks=lambda image: np.arange(20) >= 12 + 0 * image)
    assert np.abs(detector.estimator_.rows_[:, 0]).max() < 10


def test_anomalies_by_y_are_left_out():
    images = noise()
    images[:6] += 100
    y = np.where(np.arange(24) < 6, -1, 1)
    assert np.abs(made().fit(images, y).estimator_.rows_[:, 0]).max() < 10


def test_files_that_cannot_be_read_are_skipped_on_request(tmp_path):
    for k, image in enumerate(noise()):
        np.save(tmp_path / f"{k:02}.npy", image)
    (tmp_path / "03.npy").write_bytes(b"no image")
    with pytest.warns(ImageFileWarning, match=r"leaves out 1 of 24 images.*03\.npy"):
        detector = made(unreadable="skip", contamination=0.1).fit(tmp_path)
    assert detector.n_positions_ == 23 * 20


def test_equal_seeds_give_equal_detectors():
    first, second = (made(max_positions=50).fit(noise()) for _ in range(2))
    assert np.array_equal(first.estimator_.rows_, second.estimator_.rows_)
    assert first.offset_ == second.offset_


# Scores -----------------------------------------------------------------------------


def test_the_score_of_an_image_is_pooled_from_its_positions():
    detector = made().fit(noise())
    image = spotted()
    by_hand = -np.abs(Means().transform([image])[0, ..., 0] - detector.estimator_.mean_)
    assert detector.score_samples([image]) == by_hand.min()


def test_the_spotted_image_is_found():
    detector = made(MahalanobisDistance()).fit(noise(100))
    labels = detector.predict([spotted(), *noise(3, seed=3)])
    assert list(labels) == [-1, 1, 1, 1]


def test_a_score_depends_on_its_image_alone():
    detector = made().fit(noise())
    images = [*noise(20, seed=2), noise(1, (24, 16), 3)[0], *noise(3, seed=4)]
    together = detector.score_samples(images)
    alone = np.concatenate([detector.score_samples([image]) for image in images])
    assert np.array_equal(together, alone)


def test_positions_outside_of_the_mask_do_not_count():
    detector = made().fit(noise())
    mask = np.ones((16, 20))
    mask[4:8, 12:16] = 0
    score = detector.score_samples([spotted()], masks=[mask])
    assert score > -5 > detector.score_samples([spotted()])


def test_the_position_with_the_largest_share_counts_if_none_has_enough():
    detector = made().fit(noise())
    mask = np.zeros((16, 20))
    mask[5, 13] = 1
    score = detector.score_samples([spotted()], masks=[mask])
    assert score == detector.score_samples([spotted()])


def test_a_float_contamination_flags_this_share_of_the_training_images():
    images = noise(40)
    assert (made(contamination=0.25).fit(images).predict(images) == -1).sum() == 10


def test_fit_predict_is_fit_and_predict():
    images = noise()
    assert np.array_equal(
        made().fit_predict(images), made().fit(images).predict(images)
    )


# Maps -------------------------------------------------------------------------------


def test_a_map_has_the_size_of_its_image_and_its_peak_at_the_anomaly():
    found = made().fit(noise()).anomaly_map(spotted())
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert found.shape == (16, 20)
    assert 4 <= row < 8
    assert 12 <= column < 16


def test_without_smoothing_positions_have_their_scores():
    detector = made().fit(noise())
    found = detector.anomaly_map(np.full((16, 20), 7.0))
    np.testing.assert_allclose(found, 7 - detector.estimator_.mean_)


def test_smoothing_spreads_the_peak():
    plain = made().fit(noise()).anomaly_map(spotted())
    smooth = made(smoothing="auto").fit(noise()).anomaly_map(spotted())
    assert smooth.max() < plain.max()
    assert (smooth > smooth.max() / 4).sum() > (plain > plain.max() / 4).sum()


def test_outside_of_the_mask_a_map_has_its_lowest_value():
    mask = np.zeros((16, 20), bool)
    mask[:, :12] = True
    found = made().fit(noise()).anomaly_map(spotted(), mask)
    assert (found[:, 12:] == found[:, :12].min()).all()


def test_an_anomaly_outside_of_the_mask_does_not_reach_into_it():
    mask = np.zeros((16, 20), bool)
    mask[:, :12] = True
    detector = made(smoothing="auto").fit(noise())
    plain = detector.anomaly_map(noise(1, seed=9)[0], mask)
    np.testing.assert_allclose(detector.anomaly_map(spotted(), mask), plain)


def test_maps_of_several_images_are_those_of_each():
    detector, images = made().fit(noise()), noise(3, seed=7)
    for image, found in zip(images, detector.anomaly_maps(iter(images)), strict=True):
        assert np.array_equal(found, detector.anomaly_map(image))


def test_the_closest_normal_features_are_those_of_the_detector():
    pattern = 10 * noise(1, seed=5)[0]
    detector = made(subtract_mean=True).fit(noise() + pattern)
    np.testing.assert_allclose(detector.reconstruct(pattern), detector.mean_)


def test_the_closest_normal_features_of_a_detector_of_this_package():
    inner = AnoGANDetector(max_iter=0, random_state=0)
    detector = made(inner, contamination=0.1).fit(noise())
    image = noise(1, seed=8)[0]
    features, closest = Means().transform([image])[0], detector.reconstruct(image)
    assert closest.shape == features.shape
    assert np.square(closest - features).mean() < np.square(features).mean()


def test_a_detector_without_closest_rows_says_so():
    detector = made(MahalanobisDistance()).fit(noise())
    with pytest.raises(AttributeError, match="MahalanobisDistance has no method rec"):
        detector.reconstruct(noise(1)[0])


# As an estimator --------------------------------------------------------------------


def network_features(**parameters):
    convolution = nn.Conv2d(1, 8, 4, 4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in convolution.parameters():
            weights.normal_(generator=generator)
    return NetworkFeatures(
        convolution,
        pooling=None,
        mean=0.0,
        std=1.0,
        value_range=(-10, 10),
        **parameters,
    )


def test_features_of_a_network_are_taken():
    detector = PositionDetector(MahalanobisDistance(), network_features())
    detector.fit(noise(100))
    assert detector.decision_function([spotted(9.0)]) < 0


def test_large_images_are_held_few_at_a_time(monkeypatch):
    lengths = []

    class Counted(Means):
        def transform(self, X):
            lengths.append(len(X))
            return super().transform(X)

    monkeypatch.setattr(_position_detector, "BATCH_PIXELS", 3 * 16 * 20)
    detector = PositionDetector(FirstColumn(), Counted(), contamination=0.1)
    detector.fit(noise(7))
    detector.score_samples(noise(4))
    assert max(lengths) == 3


def test_a_pickle_gives_the_same_scores():
    detector = PositionDetector(MahalanobisDistance(), network_features())
    detector.fit(noise())
    copied, images = pickle.loads(pickle.dumps(detector)), noise(3, seed=2)
    assert np.array_equal(copied.score_samples(images), detector.score_samples(images))


def test_a_file_of_a_detector_around_it_is_refused_with_a_remedy(tmp_path):
    detector = PositionDetector(MahalanobisDistance(), network_features())
    assert not hasattr(detector, "save")
    around = ConformalDetector(detector, random_state=0).fit(noise(90))
    with pytest.raises(TypeError, match=r"PositionDetector has no method save.*joblib"):
        around.save(tmp_path / "file")
    joblib.dump(around, tmp_path / "file")
    images = noise(3, seed=2)
    found = joblib.load(tmp_path / "file").p_values(images)
    assert np.array_equal(found, around.p_values(images))


def test_a_clone_has_the_same_parameters():
    detector = made(max_positions=77)
    assert clone(detector).get_params()["max_positions"] == 77


def test_fitted_features_are_kept_when_frozen():
    features = network_features().fit(noise())
    detector = PositionDetector(FirstColumn(), FrozenEstimator(features)).fit(noise())
    assert detector.features_.estimator is features


def test_a_search_chooses_the_number_of_positions():
    images, y = noise(40), np.repeat([1, -1], [36, 4])
    images[36:, 4:8, 4:8] += 50
    search = GridSearchCV(
        made(),
        {"max_positions": [20, 200]},
        scoring=outlier_roc_auc_scorer,
        cv=2,
    )
    order = np.random.RandomState(0).permutation(40)
    assert search.fit(images[order], y[order]).best_score_ == 1


def test_it_is_tagged_as_a_detector_of_images():
    tags = get_tags(made())
    assert tags.estimator_type == "outlier_detector"
    assert tags.input_tags.three_d_array


# Wrong use --------------------------------------------------------------------------


def test_features_without_positions_are_refused():
    features = network_features().set_params(pooling="mean")
    with pytest.raises(ValueError, match="Set pooling=None in NetworkFeatures"):
        PositionDetector(FirstColumn(), features).fit(noise())


@pytest.mark.parametrize("where", ["fit", "scoring"])
def test_a_mean_needs_one_grid(where):
    images = [*noise(4), noise(1, (24, 16))[0]]
    detector = made(subtract_mean=True, contamination=0.5)
    if where == "scoring":
        detector.fit(images[:4])
    with pytest.raises(ValueError, match=r"subtract_mean=True needs one grid"):
        (detector.fit if where == "fit" else detector.score_samples)(images)


def test_after_a_fit_with_masks_scoring_needs_masks():
    images, masks = noise(), np.ones((24, 16, 20))
    detector = made().fit(images, masks=masks)
    with pytest.raises(ValueError, match="masks is None, but fit had masks"):
        detector.score_samples(images)


@pytest.mark.parametrize(
    "parameters",
    [{"max_positions": 1}, {"smoothing": -1}, {"pooling": "sum"}, {"estimator": 3}],
)
def test_wrong_parameters_are_named(parameters):
    detector = made().set_params(**parameters)
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter"):
        detector.fit(noise())


def test_a_failed_refit_changes_nothing():
    detector = made().fit(noise())
    before = dict(vars(detector))
    with pytest.raises(ValueError, match="has shape"):
        detector.fit(np.ones((2, 3)))
    assert vars(detector) == before

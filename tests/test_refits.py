"""A second fit, and fits that end otherwise than planned."""

import copy

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import skanogan
from skanogan.conformal import ConformalDetector
from skanogan.exceptions import DivergenceError
from skanogan.inspection._training_curve import kept_update
from skanogan.models import FAnoGAN

CLASSES = ["make_detector", "make_fanogan", "make_ocgan"]


@pytest.fixture(params=CLASSES)
def make(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def y(blob):
    labels = np.ones(len(blob), int)
    labels[::4] = -1
    return labels


def test_fit_predict_leaves_anomalies_out_of_the_fit(make, blob, y):
    expected = make().fit(blob, y)
    detector = make()
    labels = detector.fit_predict(blob, y)
    assert np.array_equal(labels, expected.predict(blob))
    assert detector.offset_ == expected.offset_ != make().fit(blob).offset_


def test_fit_predict_of_a_conformal_detector_leaves_anomalies_out(
    make_detector, blob, y
):
    detector = ConformalDetector(make_detector(), alpha=0.2, random_state=0)
    expected = copy.deepcopy(detector).fit(blob, y).decision_function(blob)
    labels = detector.fit_predict(blob, y)
    assert np.array_equal(labels, np.where(expected < 0, -1, 1))
    assert len(detector.calibration_scores_) == 15


# Warm starts ------------------------------------------------------------------


def test_a_warm_start_with_other_layers_is_refused(make_ocgan, blob):
    # Regression: layers whose places had shifted were new, and nothing was said.
    detector = make_ocgan(warm_start=True).fit(blob)
    before = detector.score_samples(blob)
    detector.set_params(normalization="batch")
    with pytest.raises(ValueError, match="sets the layers of autoencoder has changed"):
        detector.fit(blob)
    assert np.array_equal(detector.score_samples(blob), before)


def test_a_warm_start_may_bring_an_encoder_in(make_detector, blob):
    detector = make_detector(warm_start=True).fit(blob)
    generator = copy.deepcopy(detector.model_.generator)
    detector.set_params(start="encoder", encoder_max_iter=5, learning_rate=1e-12)
    detector.fit(blob)
    for now, before in zip(
        detector.model_.generator.parameters(), generator.parameters(), strict=True
    ):
        torch.testing.assert_close(now, before, atol=1e-6, rtol=1e-6)


def test_the_kept_update_is_looked_for_in_the_last_fit(make_ocgan, blob):
    # Regression: a fit was told from the one before by its seconds, which may go on.
    detector = make_ocgan(warm_start=True, max_iter=4).fit(blob)
    for record in detector.history_:
        record["seconds"], record["validation_error"] = 0.0, 0.0
    detector.fit(blob)
    assert [record.get("fit") for record in detector.history_] == [1] * 4 + [2] * 4
    assert kept_update(detector.history_) > 4


def test_a_refit_moves_no_model_of_before(make_detector, blob, monkeypatch):
    detector = make_detector().fit(blob)
    first = detector.model_

    def moved(*_, **__):
        raise AssertionError

    monkeypatch.setattr(type(detector), "__getstate__", moved)
    monkeypatch.setattr(type(detector), "__setstate__", moved)
    detector.fit(blob)
    assert detector.model_ is not first


# Ends before the encoder ------------------------------------------------------


class StopsAfter:
    def __init__(self, n_records):
        self.n_records, self.seen = n_records, 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        pass

    def on_fit_task_end(self, estimator, context, *, X=None):
        self.seen += context.task_name == "updates"
        return self.seen == self.n_records

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize(("n_records", "warns"), [(10, True), (11, False)])
def test_a_training_that_stops_before_its_encoder_is_told(
    make_fanogan, blob, n_records, warns, recwarn
):
    pytest.importorskip("sklearn.callback")
    detector = make_fanogan().set_callbacks(StopsAfter(n_records)).fit(blob)
    assert detector.n_iter_ == n_records
    told = [w for w in recwarn if "before the encoder's began" in str(w.message)]
    assert bool(told) is warns
    assert all(issubclass(w.category, ConvergenceWarning) for w in told)


def test_a_divergence_before_the_encoder_has_a_record_is_an_error(
    make_fanogan, blob, monkeypatch
):
    # Regression: the detector scored by an encoder that had never been trained.
    step = FAnoGAN._train_encoder

    def diverging(self, x, settings):
        return {name: loss * np.nan for name, loss in step(self, x, settings).items()}

    monkeypatch.setattr(FAnoGAN, "_train_encoder", diverging)
    with pytest.raises(DivergenceError, match="before there was a state to go back"):
        make_fanogan().fit(blob)


def test_a_divergence_leaves_no_task_open(make_detector, blob, monkeypatch):
    pytest.importorskip("sklearn.callback")
    open_tasks = []

    class Counting(StopsAfter):
        def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
            open_tasks.append(context.task_name)

        def on_fit_task_end(self, estimator, context, *, X=None):
            open_tasks.remove(context.task_name)

    detector = make_detector().set_callbacks(Counting(0))
    model = type(make_detector().fit(blob).model_)
    step, steps = model.train_step, []

    def diverging(self, x):
        steps.append(x)
        factor = np.nan if len(steps) == 6 else 1.0
        return {name: loss * factor for name, loss in step(self, x).items()}

    monkeypatch.setattr(model, "train_step", diverging)
    with pytest.warns(ConvergenceWarning, match="keeps the state of update 5"):
        detector.fit(blob)
    assert open_tasks == []


@pytest.mark.parametrize("kept", ["memory", "checkpoint"])
def test_what_a_callback_ended_is_not_the_end_for_others(
    make_detector, blob, tmp_path, kept
):
    # Regression: they were given the training that had been stopped.
    pytest.importorskip("sklearn.callback")
    place = {kept: tmp_path / "place"}
    stopped = make_detector(**place).set_callbacks(StopsAfter(3)).fit(blob)
    assert stopped.n_iter_ == 3
    whole = make_detector(**place).fit(blob)
    assert whole.n_iter_ == 10
    expected = make_detector().fit(blob)
    assert np.array_equal(whole.score_samples(blob), expected.score_samples(blob))


# Callbacks and files ----------------------------------------------------------


def test_a_detector_with_callbacks_is_saved_without_them(make, blob, tmp_path):
    pytest.importorskip("sklearn.callback")
    detector = make().set_callbacks(StopsAfter(0)).fit(blob)
    detector.save(tmp_path / "detector")
    opened = skanogan.load(tmp_path / "detector")
    assert np.array_equal(opened.score_samples(blob), detector.score_samples(blob))
    assert not hasattr(opened, "_skl_callbacks")


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_checkpoint_asks_for_a_seed_that_comes_again(
    make_detector, blob, tmp_path, random_state
):
    detector = make_detector(checkpoint=tmp_path / "fit", random_state=random_state)
    with pytest.raises(ValueError, match="Set random_state to an integer"):
        detector.fit(blob)


@pytest.mark.parametrize("labels", [[1, None], [1, "a"]])
def test_labels_of_several_kinds_are_refused(make_detector, blob, labels):
    y = np.array(labels * 40, dtype=object)
    with pytest.raises(ValueError, match="y holds labels of several kinds"):
        make_detector().fit(blob, y)


def test_labels_in_two_columns_are_refused(make_detector, blob):
    with pytest.raises(ValueError, match="y should be a 1d array"):
        make_detector().fit(blob, np.ones((40, 2)))

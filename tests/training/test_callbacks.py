"""The callbacks of scikit-learn (>= 1.9) in a fit. Older versions report nothing."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skanogan
from skanogan.models import AnoGAN

callback = pytest.importorskip("sklearn.callback")


class Stopping:
    """A callback that stops the training after a number of records, or never."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.began = []
        self.ended = []
        self.set_up = 0

    def setup(self, estimator, context):
        self.set_up += 1

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.began.append((context.task_name, context.task_id))
        self.seen = X, y

    def on_fit_task_end(self, estimator, context):
        return self.end(context)

    def teardown(self, estimator, context):
        self.set_up -= 1

    def end(self, context):
        self.ended.append((context.task_name, context.task_id))
        return len(self.ended) == self.stop_after


class Scoring(Stopping):
    """A callback that also scores the rows with the fitted detector at each record."""

    def __init__(self, stop_after=None):
        super().__init__(stop_after)
        self.scores = []

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.scores.append(fitted_estimator.score_samples(X))
        return self.end(context)


class Failing(Stopping):
    """A callback that raises at its last record."""

    def end(self, context):
        if super().end(context):
            raise RuntimeError("in the callback")


@pytest.fixture(params=["make_detector", "make_fanogan", "make_ocgan"])
def make(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def updates(monkeypatch):
    """A list with one entry for each update of an AnoGAN."""
    done = []
    step = AnoGAN.train_step

    def counted(self, x):
        done.append(x)
        return step(self, x)

    monkeypatch.setattr(AnoGAN, "train_step", counted)
    return done


# Reports ------------------------------------------------------------------------


def test_a_fit_is_a_task_and_each_record_is_a_subtask(make, blob):
    recorder = Stopping()
    detector = make().set_callbacks(recorder).fit(blob)
    records = [("updates", at) for at in range(len(detector.history_))]
    assert recorder.began == [("fit", 0), *records]
    assert recorder.ended == [*records, ("fit", 0)]
    assert recorder.set_up == 0
    assert recorder.seen[0] is blob


def test_a_callback_gets_a_detector_as_if_training_had_ended_there(make_detector, blob):
    recorder = Scoring()
    detector = make_detector().set_callbacks(recorder).fit(blob)
    plain = make_detector().fit(blob)
    assert np.array_equal(recorder.scores[-1], plain.score_samples(blob))
    assert not np.array_equal(recorder.scores[0], recorder.scores[-1])
    assert np.array_equal(detector.score_samples(blob), plain.score_samples(blob))


def test_the_monitor_of_scikit_learn_has_a_score_for_each_record(make_detector, blob):
    monitor = callback.ScoringMonitor(scoring="roc_auc")
    X = np.concatenate([blob, blob[:20] * 5])
    y = np.repeat([1, -1], [len(blob), 20])
    detector = make_detector().set_callbacks(monitor).fit(X, y)
    rows = monitor.get_logs().data
    assert len(rows) == len(detector.history_) + 1
    assert all(0 <= row["roc_auc"] <= 1 for row in rows)


def test_a_cached_training_reports_no_record(make_detector, blob, tmp_path):
    make_detector(memory=tmp_path).fit(blob)
    recorder = Stopping()
    make_detector(memory=tmp_path).set_callbacks(recorder).fit(blob)
    assert recorder.ended == [("fit", 0)]


def test_every_task_ends_if_training_diverges(make_detector, blob, monkeypatch):
    step, steps = AnoGAN.train_step, []

    def diverging(self, x):
        steps.append(x)
        factor = np.nan if len(steps) == 6 else 1.0
        return {name: loss * factor for name, loss in step(self, x).items()}

    monkeypatch.setattr(AnoGAN, "train_step", diverging)
    recorder = Scoring()
    detector = make_detector().set_callbacks(recorder)
    with pytest.warns(ConvergenceWarning, match="keeps the state of update 5"):
        detector.fit(blob)
    assert sorted(recorder.ended) == sorted(recorder.began)
    # The callback at the divergence gets the detector that the fit ends with.
    for scores in recorder.scores[-2:]:
        assert np.array_equal(scores, detector.score_samples(blob))


# Stops --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Training was stopped after")
def test_a_callback_stops_a_fit(make, blob):
    detector = make().set_callbacks(Stopping(stop_after=3)).fit(blob)
    assert len(detector.history_) == 3
    assert detector.n_iter_ == detector.history_[-1]["n_iter"] < make().max_iter
    assert np.isfinite(detector.score_samples(blob)).all()


@pytest.mark.filterwarnings("ignore:Training was stopped after")
def test_a_stopped_fit_scores_as_its_callback_did(make, blob):
    recorder = Scoring()
    make().set_callbacks(recorder).fit(blob)
    stopped = make().set_callbacks(Stopping(stop_after=4)).fit(blob)
    assert np.array_equal(recorder.scores[3], stopped.score_samples(blob))


@pytest.mark.parametrize(("n_records", "warns"), [(10, True), (11, False)])
def test_a_stop_before_the_encoder_trains_causes_a_warning(
    make_fanogan, blob, n_records, warns, recwarn
):
    detector = make_fanogan().set_callbacks(Stopping(n_records)).fit(blob)
    assert detector.n_iter_ == n_records
    raised = [w for w in recwarn if "encoder's training began" in str(w.message)]
    assert bool(raised) is warns
    assert all(issubclass(w.category, ConvergenceWarning) for w in raised)


@pytest.mark.parametrize("kept", ["memory", "checkpoint"])
def test_a_stop_by_a_callback_does_not_end_the_training_of_other_fits(
    make_detector, blob, tmp_path, kept
):
    # Regression: the next fit with this cache or file got the stopped training.
    place = {kept: tmp_path / "place"}
    stopped = make_detector(**place).set_callbacks(Stopping(3)).fit(blob)
    assert stopped.n_iter_ == 3
    whole = make_detector(**place).fit(blob)
    assert whole.n_iter_ == 10
    expected = make_detector().fit(blob)
    assert np.array_equal(whole.score_samples(blob), expected.score_samples(blob))


# Failures -----------------------------------------------------------------------


def test_a_callback_that_raises_is_torn_down_and_the_detector_is_as_before(make, blob):
    failing = Failing(1)
    detector = make().set_callbacks(failing)
    before = dict(vars(detector))
    with pytest.raises(RuntimeError, match="in the callback"):
        detector.fit(blob)
    assert failing.set_up == 0
    assert vars(detector) == before


def test_a_record_is_in_the_checkpoint_before_its_callbacks_are_called(
    make_detector, blob, tmp_path, updates
):
    detector = make_detector(checkpoint=tmp_path / "fit").set_callbacks(Failing(3))
    with pytest.raises(RuntimeError, match="in the callback"):
        detector.fit(blob)
    assert len(updates) == 3
    resumed = make_detector(checkpoint=tmp_path / "fit").fit(blob)
    assert len(updates) == 10
    expected = make_detector().fit(blob)
    assert np.array_equal(resumed.score_samples(blob), expected.score_samples(blob))


# Detectors with callbacks -------------------------------------------------------


def test_clones_and_pipelines_keep_the_callbacks(make_detector, blob):
    recorder = Stopping()
    detector = clone(make_detector().set_callbacks(recorder))
    make_pipeline(StandardScaler(), detector).fit(blob)
    assert [name for name, _ in recorder.ended] == ["updates"] * 10 + ["fit"]


def test_a_fit_without_callbacks_adds_no_attribute_for_them(make, blob):
    detector = make().fit(blob)
    assert not [name for name in vars(detector) if "callback" in name]
    assert np.array_equal(
        pickle.loads(pickle.dumps(detector)).score_samples(blob),
        detector.score_samples(blob),
    )


def test_a_detector_is_saved_without_its_callbacks(make, blob, tmp_path):
    detector = make().set_callbacks(Stopping()).fit(blob)
    detector.save(tmp_path / "detector")
    loaded = skanogan.load(tmp_path / "detector")
    assert np.array_equal(loaded.score_samples(blob), detector.score_samples(blob))
    assert not hasattr(loaded, "_skl_callbacks")

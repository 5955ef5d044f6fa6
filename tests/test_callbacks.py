"""scikit-learn's callbacks (>= 1.9) on a fit; nothing on older versions."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

callback = pytest.importorskip("sklearn.callback")

CLASSES = ["make_detector", "make_fanogan", "make_ocgan"]


class Recorder:
    """Remembers which hooks were called with what, and stops when told to."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.began = []
        self.ended = []
        self.scores = []
        self.up = 0

    def setup(self, estimator, context):
        self.up += 1

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.began.append((context.task_name, context.task_id))
        self.seen = X, y

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.ended.append((context.task_name, context.task_id))
        self.scores.append(fitted_estimator.score_samples(X))
        return len(self.ended) == self.stop_after

    def teardown(self, estimator, context):
        self.up -= 1


@pytest.fixture(params=CLASSES)
def make(request):
    return request.getfixturevalue(request.param)


def test_a_fit_is_a_task_and_so_is_each_record(make, blob):
    recorder = Recorder()
    detector = make().set_callbacks(recorder).fit(blob)
    n = len(detector.history_)
    records = [("updates", at) for at in range(n)]
    assert recorder.began == [("fit", 0), *records]
    assert recorder.ended == [*records, ("fit", 0)]
    assert recorder.up == 0
    assert recorder.seen[0] is blob


def test_a_callback_gets_a_detector_as_if_training_had_ended_there(make_detector, blob):
    recorder = Recorder()
    detector = make_detector().set_callbacks(recorder).fit(blob)
    plain = make_detector().fit(blob)
    # Looking changes nothing.
    assert np.array_equal(detector.score_samples(blob), plain.score_samples(blob))
    assert np.array_equal(recorder.scores[-1], plain.score_samples(blob))
    assert not np.array_equal(recorder.scores[0], recorder.scores[-1])


@pytest.mark.filterwarnings("ignore:Training was stopped after")
def test_the_detector_on_the_way_is_that_of_a_training_stopped_there(make, blob):
    recorder = Recorder()
    make().set_callbacks(recorder).fit(blob)
    stopped = make().set_callbacks(Recorder(stop_after=4)).fit(blob)
    assert np.array_equal(recorder.scores[3], stopped.score_samples(blob))


@pytest.mark.filterwarnings("ignore:Training was stopped after")
def test_a_callback_stops_a_fit(make, blob):
    detector = make().set_callbacks(Recorder(stop_after=3)).fit(blob)
    assert len(detector.history_) == 3
    assert detector.n_iter_ == detector.history_[-1]["n_iter"] < make().max_iter
    assert np.isfinite(detector.score_samples(blob)).all()


class Failing(Recorder):
    def on_fit_task_end(self, estimator, context):
        raise RuntimeError("on the way")


def test_a_fit_that_fails_tears_its_callbacks_down_and_is_as_before(make, blob):
    failing = Failing()
    detector = make().set_callbacks(failing)
    before = dict(vars(detector))
    with pytest.raises(RuntimeError, match="on the way"):
        detector.fit(blob)
    assert failing.up == 0
    assert vars(detector) == before


def test_scoring_monitor_of_scikit_learn_logs_each_record(make_detector, blob):
    monitor = callback.ScoringMonitor(scoring="roc_auc")
    X = np.concatenate([blob, blob[:20] * 5])
    y = np.repeat([1, -1], [len(blob), 20])
    detector = make_detector().set_callbacks(monitor).fit(X, y)
    rows = monitor.get_logs().data
    assert len(rows) == len(detector.history_) + 1
    assert all(0 <= row["roc_auc"] <= 1 for row in rows)


def test_clones_and_pipelines_keep_the_callbacks(make_detector, blob):
    recorder = Recorder()
    detector = clone(make_detector().set_callbacks(recorder))
    make_pipeline(StandardScaler(), detector).fit(blob)
    assert [name for name, _ in recorder.ended] == ["updates"] * 10 + ["fit"]


def test_a_detector_without_callbacks_gains_no_attribute(make, blob):
    detector = make().fit(blob)
    assert not [name for name in vars(detector) if "callback" in name]
    assert np.array_equal(
        pickle.loads(pickle.dumps(detector)).score_samples(blob),
        detector.score_samples(blob),
    )


def test_a_cached_training_has_no_records_to_report(make_detector, blob, tmp_path):
    make_detector(memory=tmp_path).fit(blob)
    recorder = Recorder()
    make_detector(memory=tmp_path).set_callbacks(recorder).fit(blob)
    assert recorder.ended == [("fit", 0)]

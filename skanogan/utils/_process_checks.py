"""Checks of side effects on the process, of repeated fits, and of failed fits."""

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skanogan.base import BaseDetector
from skanogan.utils._check_parts import (
    ROW_METHODS,
    assert_equal,
    assert_history,
    assert_scores,
    fit_copy,
    fresh_copy,
    losses_of,
    normal_rows,
    random_states,
    torch_settings,
)

__all__ = [
    "check_default_dtype_does_not_matter",
    "check_failed_fit_leaves_detector_as_it_was",
    "check_global_rng_untouched",
    "check_grad_mode_and_threads_untouched",
    "check_history_has_equal_intervals",
    "check_pickle_is_cpu_only",
    "check_same_seed_gives_same_scores",
    "check_torch_modes_do_not_matter",
    "check_warm_start_continues",
]


def check_global_rng_untouched(name: str, detector: BaseDetector) -> None:
    """Check that no method draws from or seeds a global random state."""
    X = normal_rows(detector)
    steps: dict[str, Callable[[], Any]] = {"fit": lambda: fitted.fit(X)}
    fitted = fresh_copy(detector)
    for method in ("score_samples", *ROW_METHODS):
        steps[method] = partial(getattr(fitted, method), X)
    steps["sample"] = lambda: fitted.sample(3, random_state=0)
    for step, call in steps.items():
        before = random_states()
        call()
        for library, state in random_states().items():
            assert state == before[library], (
                f"{name}.{step} changes the global random state of {library}."
            )


def check_grad_mode_and_threads_untouched(name: str, detector: BaseDetector) -> None:
    """Check that no method changes the global settings of torch."""
    X = normal_rows(detector)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            before = torch_settings()
            fitted = fit_copy(detector, X)
            assert torch_settings() == before, f"{name}.fit changes torch's settings."
            for method in ("score_samples", *ROW_METHODS):
                getattr(fitted, method)(X)
                assert torch_settings() == before, (
                    f"{name}.{method} changes torch's settings."
                )


def check_torch_modes_do_not_matter(name: str, detector: BaseDetector) -> None:
    """Check that fits and scores are the same within any mode of torch."""
    X = normal_rows(detector)
    outside = fit_copy(detector, X)
    expected = outside.score_samples(X)
    modes: list[tuple[str, Callable[[], AbstractContextManager[Any]]]] = [
        ("no_grad", torch.no_grad),
        ("inference_mode", torch.inference_mode),
        ("autocast", partial(torch.autocast, "cpu")),
        ("device('meta')", partial(torch.device, "meta")),
    ]
    for mode, context in modes:
        with context():
            fitted = fit_copy(detector, X)
            inside = fitted.score_samples(X)
        n_outside, n_inside = (_n_different_losses(each) for each in (outside, fitted))
        assert min(n_outside, 2) <= n_inside, (
            f"{name}.fit does not train in torch.{mode}."
        )
        for scores in (inside, fitted.score_samples(X)):
            assert_scores(fitted, scores, expected, f"{name} fitted in torch.{mode}")


def _n_different_losses(fitted: Any) -> int:
    return len({tuple(losses_of(record).values()) for record in fitted.history_})


def check_default_dtype_does_not_matter(name: str, detector: BaseDetector) -> None:
    """Check that torch.set_default_dtype changes no score and is left as it was."""
    X = normal_rows(detector)
    expected = fit_copy(detector, X).score_samples(X)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        fitted = fit_copy(detector, X, warm_start=True)
        scores = fitted.score_samples(X)
        drawn = fitted.sample(3, random_state=0)
        fitted.fit(X)
        after = torch.get_default_dtype()
    finally:
        torch.set_default_dtype(before)
    assert after == torch.float64, f"{name} changes torch's default dtype."
    assert_scores(
        fitted,
        scores,
        expected,
        f"{name} with default dtype float64 (networks must be float32)",
    )
    assert np.isfinite(drawn).all(), f"{name}.sample is not finite."


def check_pickle_is_cpu_only(name: str, detector: BaseDetector) -> None:
    """Check that a pickle holds CPU tensors and gives the same scores, bit for bit."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    stored = fitted.__getstate__()["model_"]
    devices = {str(value.device) for value in stored.state_dict().values()}
    assert devices == {"cpu"}, f"{name} pickles tensors on {sorted(devices)}."
    opened = pickle.loads(pickle.dumps(fitted))
    assert_equal(
        opened.score_samples(X), fitted.score_samples(X), f"{name}: scores of a pickle"
    )


def check_same_seed_gives_same_scores(name: str, detector: BaseDetector) -> None:
    """Check that fits with the same data and seed agree bit for bit."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    scores, offset = fitted.score_samples(X), fitted.offset_
    for how, other in (("clone", clone(fitted).fit(X)), ("refit", fitted.fit(X))):
        assert_equal(other.score_samples(X), scores, f"{name}: scores of a {how}")
        assert other.offset_ == offset, f"{name}: a {how} has another offset_."
    first, second = (fitted.sample(3, random_state=5) for _ in range(2))
    assert_equal(first, second, f"{name}: two samples with one seed")


def check_failed_fit_leaves_detector_as_it_was(
    name: str, detector: BaseDetector
) -> None:
    """Check that a fit that raises an error leaves the detector as it was."""
    X = normal_rows(detector)
    bad = X.copy()
    bad[3, 0] = np.nan
    for warm_start in (False, True):
        fitted = fit_copy(detector, X, warm_start=warm_start)
        scores, before = fitted.score_samples(X), dict(vars(fitted))
        for broken in (bad, X[:, :-1][:1], X[:0]):
            try:
                fitted.fit(broken)
            except ValueError:
                pass
            else:
                raise AssertionError(f"{name}.fit accepts {broken.shape} or NaN.")
        changed = {k for k, v in vars(fitted).items() if v is not before.get(k)}
        changed |= set(before) - set(vars(fitted))
        assert not changed, f"{name}: a failed fit changes {sorted(changed)}."
        assert_equal(
            fitted.score_samples(X), scores, f"{name}: scores after a failed fit"
        )


def check_warm_start_continues(name: str, detector: BaseDetector) -> None:
    """Check that a second fit continues with warm_start and starts anew without it."""
    X = normal_rows(detector)
    once = fit_copy(detector, X)
    for warm_start, n_fits in ((True, 2), (False, 1)):
        fitted = fit_copy(detector, X, warm_start=warm_start).fit(X)
        expected = n_fits * once.n_iter_
        assert fitted.n_iter_ == expected, (
            f"{name}(warm_start={warm_start}) has n_iter_={fitted.n_iter_} after two "
            f"fits, but {expected} is correct."
        )
        records = fitted.history_[-len(once.history_) :]
        assert [sorted(record) for record in records] == [
            sorted(record) for record in once.history_
        ], f"{name}(warm_start={warm_start}).history_ is not that of two fits."


def check_history_has_equal_intervals(name: str, detector: BaseDetector) -> None:
    """Check that records are equally spaced, and that the last update has a record."""
    fitted = fit_copy(detector, normal_rows(detector))
    assert_history(name, fitted)
    intervals = np.diff([0, *(record["n_iter"] for record in fitted.history_)])
    equal = len(set(intervals[:-1])) <= 1
    assert equal, f"{name}.history_ has records after {intervals.tolist()} updates."
    assert intervals[-1] <= intervals[0], f"{name}.history_ ends late: {intervals}."
    assert fitted.n_iter_ >= fitted._n_updates()

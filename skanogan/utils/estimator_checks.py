"""What scikit-learn's estimator checks cannot know of a detector that is a network.

Every check takes an unfitted detector with a small budget, fits copies of it on data of
its own, and raises AssertionError with what went wrong. They hold for every detector of
the package, whatever its method; run scikit-learn's checks beside them.
"""

import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.base import clone

from skanogan._base import BaseDetector
from skanogan.exceptions import BatchSizeWarning, CollapseWarning
from skanogan.utils._check_parts import (
    N_ROWS,
    assert_equal,
    assert_history,
    assert_scores,
    assert_state,
    call_method,
    containers,
    fit_copy,
    fresh_copy,
    losses_of,
    n_channels,
    normal_images,
    normal_rows,
    random_states,
    torch_settings,
)

__all__ = ["CHECKS", "detector_checks", "parametrize_with_checks"]


def detector_checks(
    detector: BaseDetector,
) -> "Iterator[tuple[BaseDetector, Callable[[BaseDetector], None]]]":
    """Yield the detector with each of the checks.

    Parameters
    ----------
    detector : BaseDetector
        Unfitted, and cheap: it is fitted some 60 times. It gets flat rows of 6 columns,
        or of images where its `image_shape` says so.

    Yields
    ------
    detector : BaseDetector
    check : callable
        To be called with the detector.

    Examples
    --------
    >>> from skanogan import AnoGANDetector
    >>> from skanogan.utils.estimator_checks import detector_checks
    >>> cheap = AnoGANDetector(max_iter=5, n_candidates=64)
    >>> len(list(detector_checks(cheap))) > 20
    True
    """
    name = type(detector).__name__
    for check in CHECKS:
        yield detector, partial(check, name)


def parametrize_with_checks(detectors: "list[BaseDetector]") -> Any:
    """Parametrise a test over detectors and checks, as scikit-learn's namesake does.

    Parameters
    ----------
    detectors : list of BaseDetector
        Unfitted and cheap.

    Returns
    -------
    decorator : pytest.MarkDecorator
        Of a test with the arguments ``detector`` and ``check``.
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError(
            "parametrize_with_checks needs pytest. Install it with "
            'pip install "skanogan[test]", or loop over detector_checks.'
        ) from error

    cases = [
        pytest.param(detector, check, id=f"{detector}-{check.func.__name__}")  # type: ignore[attr-defined]
        for each in detectors
        for detector, check in detector_checks(each)
    ]
    return pytest.mark.parametrize(("detector", "check"), cases)


# Scores -----------------------------------------------------------------------


def check_scoring_leaves_weights_unchanged(name: str, detector: BaseDetector) -> None:
    """No search, reconstruction or drawing moves a network or wakes it up."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    before = {key: value.clone() for key, value in fitted.model_.state_dict().items()}
    attributes = set(vars(fitted))
    for method in ("score_samples", "predict", *_ROW_METHODS):
        getattr(fitted, method)(X)
        assert_state(fitted, before, f"{name}.{method}")
    fitted.sample(3, random_state=0)
    assert_state(fitted, before, f"{name}.sample")
    assert set(vars(fitted)) == attributes, (
        f"{name} gained the attributes {set(vars(fitted)) - attributes} while scoring."
    )


def check_networks_rest_while_scoring(name: str, detector: BaseDetector) -> None:
    """Every module is in eval mode, so that no batch statistic reaches a score."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    awake: list[str] = []

    def watch(module: torch.nn.Module, _: Any) -> None:
        if module.training:
            awake.append(type(module).__name__)

    for module in fitted.model_.modules():
        module.register_forward_pre_hook(watch)
    fitted.score_samples(X)
    fitted.reconstruct(X)
    assert not awake, f"{name} scores with {sorted(set(awake))} in training mode."


def check_scores_independent_of_companions(name: str, detector: BaseDetector) -> None:
    """A score is the same alone, permuted, and among rows of any other kind."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    scores = fitted.score_samples(X)
    order = np.random.RandomState(1).permutation(len(X))
    among_others = np.concatenate([X * 50.0 + 7.0, X, -X])
    n = len(X)
    found = {
        "permuted": fitted.score_samples(X[order])[np.argsort(order)],
        "one by one": np.concatenate([fitted.score_samples(x[None]) for x in X]),
        "in two parts": np.concatenate(
            [fitted.score_samples(X[:7]), fitted.score_samples(X[7:])]
        ),
        "among others": fitted.score_samples(among_others)[n : 2 * n],
    }
    for length in (1, 7):
        with patch("skanogan._chunks.chunk_length", lambda *_, length=length: length):
            found[f"in chunks of {length}"] = fitted.score_samples(X)
    for how, other in found.items():
        assert_scores(fitted, other, scores, f"{name}: rows scored {how}")


def check_maps_are_functions_of_their_row(name: str, detector: BaseDetector) -> None:
    """Maps of each kind are finite, not negative, and the same in any company."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    order = np.random.RandomState(1).permutation(len(X))
    for kind in ("residual", "features"):
        what = f"{name}.anomaly_map(kind={kind!r})"
        maps = fitted.anomaly_map(X, kind=kind)
        assert np.isfinite(maps).all(), f"{what} is not finite."
        assert (maps >= 0).all(), f"{what} is negative."
        assert maps.max() > 0, f"{what} is 0 everywhere."
        turned = fitted.anomaly_map(X[order], kind=kind)[np.argsort(order)]
        alone = [fitted.anomaly_map(x[None], kind=kind) for x in X[:10]]
        assert_scores(fitted, turned, maps, f"{what} of rows permuted")
        assert_scores(fitted, np.concatenate(alone), maps[:10], f"{what} one by one")


def check_rows_get_their_own_latent(name: str, detector: BaseDetector) -> None:
    """Different rows have different closest normal things.

    The rows are the detector's own drawings: after a small budget these may be so far
    from all data that one of them is the closest to every row of X, and rightly so.
    """
    fitted = fit_copy(detector, normal_rows(detector))
    rows = fitted.sample(N_ROWS, random_state=0)
    n_distinct = len(np.unique(fitted.reconstruct(rows), axis=0))
    assert n_distinct >= N_ROWS / 10, (
        f"{name} reconstructs {N_ROWS} different rows as {n_distinct} different ones."
    )


def check_fit_scores_equal_test_scores(name: str, detector: BaseDetector) -> None:
    """The scores behind the threshold are those of `score_samples`, to the row."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X, contamination=0.1)
    scores = fitted.score_samples(X)
    assert_scores(
        fitted,
        np.array([fitted.offset_]),
        np.array([np.percentile(scores, 10)]),
        f"{name}: offset_ against the percentile of score_samples",
        scores,
    )
    n_flagged = int((fitted.predict(X) == -1).sum())
    assert n_flagged == len(X) // 10, (
        f"{name}(contamination=0.1) flags {n_flagged} of {len(X)} training rows."
    )


def check_anomalies_score_lower(name: str, detector: BaseDetector) -> None:
    """Rows far from all training rows score below the median of these."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    directions = np.random.RandomState(1).choice([-1.0, 1.0], size=X.shape)
    far = fitted.score_samples(X.mean(0) + 30 * X.std() * directions)
    median = np.median(fitted.score_samples(X))
    assert (far < median).all(), (
        f"{name}: {(far >= median).sum()} of {len(far)} rows 30 deviations away score "
        "at least as normal as the median training row."
    )


# The process around -----------------------------------------------------------


def check_global_rng_untouched(name: str, detector: BaseDetector) -> None:
    """Neither fit nor scores draw from, or seed, a random state of the process."""
    X = normal_rows(detector)
    steps: dict[str, Callable[[], Any]] = {"fit": lambda: fitted.fit(X)}
    fitted = fresh_copy(detector)
    for method in ("score_samples", *_ROW_METHODS):
        steps[method] = partial(call_method, fitted, method, X)
    steps["sample"] = lambda: fitted.sample(3, random_state=0)
    for step, call in steps.items():
        before = random_states()
        call()
        for library, state in random_states().items():
            assert state == before[library], (
                f"{name}.{step} changes the global random state of {library}."
            )


def check_grad_mode_and_threads_untouched(name: str, detector: BaseDetector) -> None:
    """What the process has set in torch is the same after fit and scores."""
    X = normal_rows(detector)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            before = torch_settings()
            fitted = fit_copy(detector, X)
            assert torch_settings() == before, f"{name}.fit changes torch's settings."
            for method in ("score_samples", *_ROW_METHODS):
                getattr(fitted, method)(X)
                assert torch_settings() == before, (
                    f"{name}.{method} changes torch's settings."
                )


def check_grad_mode_does_not_matter(name: str, detector: BaseDetector) -> None:
    """Inside torch.no_grad or torch.inference_mode all is as it is outside."""
    X = normal_rows(detector)
    expected = fit_copy(detector, X).score_samples(X)
    modes: list[tuple[str, Callable[[], AbstractContextManager[Any]]]] = [
        ("no_grad", torch.no_grad),
        ("inference_mode", torch.inference_mode),
    ]
    for mode, context in modes:
        with context():
            fitted = fit_copy(detector, X)
            inside = fitted.score_samples(X)
        losses = [tuple(losses_of(record).values()) for record in fitted.history_]
        assert len(set(losses)) > 1, f"{name}.fit does not train in torch.{mode}."
        for scores in (inside, fitted.score_samples(X)):
            assert_scores(fitted, scores, expected, f"{name} fitted in torch.{mode}")


def check_default_dtype_does_not_matter(name: str, detector: BaseDetector) -> None:
    """torch.set_default_dtype changes no score, and is left as it was."""
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
    assert_scores(fitted, scores, expected, f"{name} under the default dtype float64")
    assert np.isfinite(drawn).all(), f"{name}.sample is not finite."


def check_pickle_is_cpu_only(name: str, detector: BaseDetector) -> None:
    """A pickle holds CPU tensors and scores to the bit as its original."""
    X = normal_rows(detector)
    fitted = fit_copy(detector, X)
    stored = fitted.__getstate__()["model_"]
    devices = {str(value.device) for value in stored.state_dict().values()}
    assert devices == {"cpu"}, f"{name} pickles tensors on {sorted(devices)}."
    opened = pickle.loads(pickle.dumps(fitted))
    assert_equal(
        opened.score_samples(X), fitted.score_samples(X), f"{name}: scores of a pickle"
    )


# Repeatability and refitting --------------------------------------------------


def check_same_seed_gives_same_scores(name: str, detector: BaseDetector) -> None:
    """A clone, and a second fit, with the same data and seed agree to the bit."""
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
    """A fit that raises takes nothing away from the fit before it."""
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
    """With warm_start, updates add up; without it a fit starts anew."""
    X = normal_rows(detector)
    once = fit_copy(detector, X)
    for warm_start, n_fits in ((True, 2), (False, 1)):
        fitted = fit_copy(detector, X, warm_start=warm_start).fit(X)
        expected = n_fits * once.n_iter_
        assert fitted.n_iter_ == expected, (
            f"{name}(warm_start={warm_start}) has n_iter_={fitted.n_iter_} after two "
            f"fits; {expected} was expected."
        )
        records = fitted.history_[-len(once.history_) :]
        assert [sorted(record) for record in records] == [
            sorted(record) for record in once.history_
        ], f"{name}(warm_start={warm_start}).history_ is not that of two fits."


def check_history_has_one_row_an_interval(name: str, detector: BaseDetector) -> None:
    """Records come at equal intervals, up to and including the last update."""
    fitted = fit_copy(detector, normal_rows(detector))
    assert_history(name, fitted)
    intervals = np.diff([0, *(record["n_iter"] for record in fitted.history_)])
    equal = len(set(intervals[:-1])) <= 1
    assert equal, f"{name}.history_ has records after {intervals.tolist()} updates."
    assert intervals[-1] <= intervals[0], f"{name}.history_ ends late: {intervals}."
    assert fitted.n_iter_ >= detector.get_params()["max_iter"]


# Rows of every kind -----------------------------------------------------------


def check_image_and_flat_agree(name: str, detector: BaseDetector) -> None:
    """(n, H, W), (n, H, W, 1) and flat rows with image_shape are the same rows."""
    flat = normal_images((8, 8, 1))
    images = flat.reshape(-1, 8, 8)
    cases = [
        (images, None),
        (images[..., None], None),
        (images, (8, 8)),
        (flat, (8, 8)),
        (flat, (8, 8, 1)),
    ]
    expected = None
    for X, image_shape in cases:
        fitted = fit_copy(detector, X, image_shape=image_shape)
        what = f"{name}: rows of shape {X.shape[1:]} with image_shape={image_shape}"
        assert fitted.n_features_in_ == 64, f"{what} have {fitted.n_features_in_}."
        assert fitted.image_shape_ == (8, 8, 1), f"{what}: {fitted.image_shape_}."
        for rows in (images, images[..., None], flat):
            scores = fitted.score_samples(rows)
            expected = scores if expected is None else expected
            assert_equal(scores, expected, what)
            assert fitted.reconstruct(rows).shape == rows.shape, what
        assert fitted.anomaly_map(X).shape == images.shape, what
        assert fitted.sample(2).shape == (2, *X.shape[1:]), what


def check_channels_are_last(name: str, detector: BaseDetector) -> None:
    """Three channels go in and come out last, and each keeps its own values."""
    images = normal_images((9, 8, 3)).reshape(-1, 9, 8, 3)
    fitted = fit_copy(detector, images, image_shape=None)
    assert fitted.image_shape_ == (9, 8, 3), f"{name}: {fitted.image_shape_}."
    assert fitted.reconstruct(images).shape == images.shape
    assert fitted.anomaly_map(images).shape == images.shape[:3]
    assert fitted.sample(2).shape == (2, 9, 8, 3)
    assert_equal(
        fitted.score_samples(images.reshape(len(images), -1)),
        fitted.score_samples(images),
        f"{name}: flattened images of three channels",
    )


def check_shapes_and_units(name: str, detector: BaseDetector) -> None:
    """Reconstructions and samples are in X's units, in its shape, in float64."""
    X = 1000.0 + 5.0 * normal_rows(detector)
    fitted = fit_copy(detector, X)
    drawn, sample = fitted.reconstruct(X), fitted.sample(4, random_state=0)
    residuals, codes = fitted.anomaly_map(X), fitted.embed(X)
    assert drawn.shape == X.shape, f"{name}.reconstruct: {drawn.shape}."
    assert sample.shape == (4, X.shape[1]), f"{name}.sample: {sample.shape}."
    assert residuals.size * n_channels(detector) == X.size, (
        f"{name}.anomaly_map: {residuals.shape} for rows of shape {X.shape}."
    )
    assert codes.shape == (len(X), codes.size // len(X)), f"{name}: {codes.shape}."
    for method, values in zip(
        (*_ROW_METHODS, "sample"), (drawn, residuals, codes, sample), strict=True
    ):
        assert values.dtype == np.float64, f"{name}.{method} is {values.dtype}."
        assert np.isfinite(values).all(), f"{name}.{method} is not finite."
    assert (residuals >= 0).all(), f"{name}.anomaly_map is negative."
    for method, values in (("reconstruct", drawn), ("sample", sample)):
        distance = np.abs(values - X.mean()).max() / X.std()
        assert distance < 20, (
            f"{name}.{method} is {distance:.0f} deviations of X from its mean: not in "
            "the units of X."
        )


def check_units_do_not_matter(name: str, detector: BaseDetector) -> None:
    """Shifted and stretched data give the scores of the data as they were."""
    X = normal_rows(detector)
    # Scaling shows in the first updates. Later the rounding of X + 1e7, 1e-9 of a
    # deviation, has grown to other networks (scores changed by a factor after 1,000).
    few = {"max_iter": min(detector.max_iter, 50)}
    expected = fit_copy(detector, X, **few).score_samples(X)
    for what, other in {
        "X + 100": X + 100,
        "X * 1e6": X * 1e6,
        "X * 1e-6": X * 1e-6,
        "X + 1e7": X + 1e7,
    }.items():
        fitted = fit_copy(detector, other, **few)
        scores = fitted.score_samples(other)
        assert np.isfinite(scores).all(), f"{name}: {what} gives scores not finite."
        # Training is in float32: the rounding of scaled rows makes 1e-6 of a score.
        share = np.abs(scores - expected).max() / np.median(np.abs(expected))
        assert share < 1e-2, f"{name}: {what} changes scores by {share:.1e}."


def check_small_batches(name: str, detector: BaseDetector) -> None:
    """Two rows, one row a batch, and one row more or less than a batch are enough."""
    X = normal_rows(detector)
    cases = [(2, 8), (3, 8), (3, 1), (7, 8), (8, 8), (9, 8), (17, 8), (20, 60)]
    for n, batch_size in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", CollapseWarning)
            warnings.simplefilter("ignore", BatchSizeWarning)
            fitted = fit_copy(detector, X[:n], batch_size=batch_size)
        scores = fitted.score_samples(X)
        assert np.isfinite([*scores, fitted.offset_]).all(), (
            f"{name}(batch_size={batch_size}) on {n} rows gives NaN."
        )


def check_constant_features(name: str, detector: BaseDetector) -> None:
    """A constant column, or rows that are all the same, make no NaN."""
    X = normal_rows(detector)
    one_constant, one_outlier = X.copy(), X.copy()
    one_constant[:, 0] = 3.0
    one_outlier[:, 0] = np.arange(len(X)) == 0
    for what, rows in {
        "a constant column": one_constant,
        "a column of one value but once": one_outlier,
        "rows that are all the same": np.repeat(X[:1], len(X), axis=0),
        "zeros": np.zeros_like(X),
    }.items():
        fitted = fit_copy(detector, rows)
        scores = fitted.score_samples(np.concatenate([rows, X]))
        assert np.isfinite(scores).all(), f"{name}: {what} gives scores not finite."
        assert np.isfinite(fitted.offset_), f"{name}: {what} gives {fitted.offset_}."
        assert np.isfinite(fitted.reconstruct(X)).all(), f"{name}: {what}: NaN."


def check_containers_and_dtypes_agree(name: str, detector: BaseDetector) -> None:
    """The same values in another dtype or container have the same scores."""
    X = normal_rows(detector)
    X = np.round(255 * (X - X.min()) / (X.max() - X.min()))
    # uint8 images span the type: the others must, in every row, to mean the same.
    X[:, 0], X[:, 1] = 0, 255
    expected = fit_copy(detector, X).score_samples(X)
    for what, rows in containers(X):
        fitted = fit_copy(detector, rows)
        assert_scores(fitted, fitted.score_samples(rows), expected, f"{name}: {what}")


CHECKS = tuple(
    value for key, value in list(globals().items()) if key.startswith("check_")
)
"""All of them, in the order above."""

_ROW_METHODS = ("reconstruct", "anomaly_map", "embed")

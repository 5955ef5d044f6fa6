"""What scikit-learn's estimator checks cannot know of a detector that is a network.

Every check takes an unfitted detector with a small budget, fits copies of it on data of
its own, and raises AssertionError with what went wrong. They hold for every detector of
the package, whatever its method; run scikit-learn's checks beside them.
"""

import pickle
import random
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
from skanogan.exceptions import CollapseWarning

__all__ = ["CHECKS", "detector_checks", "parametrize_with_checks"]

N_ROWS = 60

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of scores that should be equal, as a share of their median.

Matrix products over other numbers of rows round differently: by 1e-15 in float64 and by
1e-7 in float32, which a distance to the nearest candidate (a difference of squares) and
each step of a search amplify. Effects of companions, which the checks are after, are
of order 1."""


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
    import pytest

    cases = [
        pytest.param(detector, check, id=f"{detector}-{check.func.__name__}")  # type: ignore[attr-defined]
        for each in detectors
        for detector, check in detector_checks(each)
    ]
    return pytest.mark.parametrize(("detector", "check"), cases)


# Scores -----------------------------------------------------------------------


def check_scoring_leaves_weights_unchanged(name: str, detector: BaseDetector) -> None:
    """No search, reconstruction or drawing moves a network or wakes it up."""
    X = _rows(detector)
    fitted = _fit(detector, X)
    before = {key: value.clone() for key, value in fitted.model_.state_dict().items()}
    attributes = set(vars(fitted))
    for method in ("score_samples", "predict", *_ROW_METHODS):
        getattr(fitted, method)(X)
        _assert_state(fitted, before, f"{name}.{method}")
    fitted.sample(3, random_state=0)
    _assert_state(fitted, before, f"{name}.sample")
    assert set(vars(fitted)) == attributes, (
        f"{name} gained the attributes {set(vars(fitted)) - attributes} while scoring."
    )


def check_networks_rest_while_scoring(name: str, detector: BaseDetector) -> None:
    """Every module is in eval mode, so that no batch statistic reaches a score."""
    X = _rows(detector)
    fitted = _fit(detector, X)
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
    X = _rows(detector)
    fitted = _fit(detector, X)
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
        with patch("skanogan._base.chunk_length", lambda *_, length=length: length):
            found[f"in chunks of {length}"] = fitted.score_samples(X)
    for how, other in found.items():
        _assert_scores(fitted, other, scores, f"{name}: rows scored {how}")


def check_rows_get_their_own_latent(name: str, detector: BaseDetector) -> None:
    """Different rows have different closest normal things.

    The rows are the detector's own drawings: after a small budget these may be so far
    from all data that one of them is the closest to every row of X, and rightly so.
    """
    fitted = _fit(detector, _rows(detector))
    rows = fitted.sample(N_ROWS, random_state=0)
    n_distinct = len(np.unique(fitted.reconstruct(rows), axis=0))
    assert n_distinct >= N_ROWS / 10, (
        f"{name} reconstructs {N_ROWS} different rows as {n_distinct} different ones."
    )


def check_fit_scores_equal_test_scores(name: str, detector: BaseDetector) -> None:
    """The scores behind the threshold are those of `score_samples`, to the row."""
    X = _rows(detector)
    fitted = _fit(detector, X, contamination=0.1)
    scores = fitted.score_samples(X)
    _assert_scores(
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
    X = _rows(detector)
    fitted = _fit(detector, X)
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
    X = _rows(detector)
    steps: dict[str, Callable[[], Any]] = {"fit": lambda: fitted.fit(X)}
    fitted = _fresh(detector)
    for method in ("score_samples", *_ROW_METHODS):
        steps[method] = partial(_call, fitted, method, X)
    steps["sample"] = lambda: fitted.sample(3, random_state=0)
    for step, call in steps.items():
        before = _random_states()
        call()
        for library, state in _random_states().items():
            assert state == before[library], (
                f"{name}.{step} changes the global random state of {library}."
            )


def check_grad_mode_and_threads_untouched(name: str, detector: BaseDetector) -> None:
    """What the process has set in torch is the same after fit and scores."""
    X = _rows(detector)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            before = _torch_settings()
            fitted = _fit(detector, X)
            assert _torch_settings() == before, f"{name}.fit changes torch's settings."
            for method in ("score_samples", *_ROW_METHODS):
                getattr(fitted, method)(X)
                assert _torch_settings() == before, (
                    f"{name}.{method} changes torch's settings."
                )


def check_grad_mode_does_not_matter(name: str, detector: BaseDetector) -> None:
    """Inside torch.no_grad or torch.inference_mode all is as it is outside."""
    X = _rows(detector)
    expected = _fit(detector, X).score_samples(X)
    modes: list[tuple[str, Callable[[], AbstractContextManager[Any]]]] = [
        ("no_grad", torch.no_grad),
        ("inference_mode", torch.inference_mode),
    ]
    for mode, context in modes:
        with context():
            fitted = _fit(detector, X)
            inside = fitted.score_samples(X)
        losses = [tuple(_losses(record).values()) for record in fitted.history_]
        assert len(set(losses)) > 1, f"{name}.fit does not train in torch.{mode}."
        for scores in (inside, fitted.score_samples(X)):
            _assert_scores(fitted, scores, expected, f"{name} fitted in torch.{mode}")


def check_default_dtype_does_not_matter(name: str, detector: BaseDetector) -> None:
    """torch.set_default_dtype changes no score, and is left as it was."""
    X = _rows(detector)
    expected = _fit(detector, X).score_samples(X)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        fitted = _fit(detector, X, warm_start=True)
        scores = fitted.score_samples(X)
        drawn = fitted.sample(3, random_state=0)
        fitted.fit(X)
        after = torch.get_default_dtype()
    finally:
        torch.set_default_dtype(before)
    assert after == torch.float64, f"{name} changes torch's default dtype."
    _assert_scores(fitted, scores, expected, f"{name} under the default dtype float64")
    assert np.isfinite(drawn).all(), f"{name}.sample is not finite."


def check_pickle_is_cpu_only(name: str, detector: BaseDetector) -> None:
    """A pickle holds CPU tensors and scores to the bit as its original."""
    X = _rows(detector)
    fitted = _fit(detector, X)
    stored = fitted.__getstate__()["model_"]
    devices = {str(value.device) for value in stored.state_dict().values()}
    assert devices == {"cpu"}, f"{name} pickles tensors on {sorted(devices)}."
    opened = pickle.loads(pickle.dumps(fitted))
    _assert_equal(
        opened.score_samples(X), fitted.score_samples(X), f"{name}: scores of a pickle"
    )


# Repeatability and refitting --------------------------------------------------


def check_same_seed_gives_same_scores(name: str, detector: BaseDetector) -> None:
    """A clone, and a second fit, with the same data and seed agree to the bit."""
    X = _rows(detector)
    fitted = _fit(detector, X)
    scores, offset = fitted.score_samples(X), fitted.offset_
    for how, other in (("clone", clone(fitted).fit(X)), ("refit", fitted.fit(X))):
        _assert_equal(other.score_samples(X), scores, f"{name}: scores of a {how}")
        assert other.offset_ == offset, f"{name}: a {how} has another offset_."
    first, second = (fitted.sample(3, random_state=5) for _ in range(2))
    _assert_equal(first, second, f"{name}: two samples with one seed")


def check_failed_fit_leaves_detector_as_it_was(
    name: str, detector: BaseDetector
) -> None:
    """A fit that raises takes nothing away from the fit before it."""
    X = _rows(detector)
    bad = X.copy()
    bad[3, 0] = np.nan
    for warm_start in (False, True):
        fitted = _fit(detector, X, warm_start=warm_start)
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
        _assert_equal(
            fitted.score_samples(X), scores, f"{name}: scores after a failed fit"
        )


def check_warm_start_continues(name: str, detector: BaseDetector) -> None:
    """With warm_start, updates add up; without it a fit starts anew."""
    X = _rows(detector)
    for warm_start, n_fits in ((True, 2), (False, 1)):
        fitted = _fit(detector, X, warm_start=warm_start).fit(X)
        expected = n_fits * detector.get_params()["max_iter"]
        assert fitted.n_iter_ == expected, (
            f"{name}(warm_start={warm_start}) has n_iter_={fitted.n_iter_} after two "
            f"fits; {expected} was expected."
        )
        _assert_history(name, fitted)


def check_history_has_one_row_an_interval(name: str, detector: BaseDetector) -> None:
    """Records come at equal intervals, up to and including the last update."""
    fitted = _fit(detector, _rows(detector))
    _assert_history(name, fitted)
    intervals = np.diff([0, *(record["n_iter"] for record in fitted.history_)])
    equal = len(set(intervals[:-1])) <= 1
    assert equal, f"{name}.history_ has records after {intervals.tolist()} updates."
    assert intervals[-1] <= intervals[0], f"{name}.history_ ends late: {intervals}."
    assert fitted.n_iter_ == detector.get_params()["max_iter"]


# Rows of every kind -----------------------------------------------------------


def check_image_and_flat_agree(name: str, detector: BaseDetector) -> None:
    """(n, H, W), (n, H, W, 1) and flat rows with image_shape are the same rows."""
    flat = _images((8, 8, 1))
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
        fitted = _fit(detector, X, image_shape=image_shape)
        what = f"{name}: rows of shape {X.shape[1:]} with image_shape={image_shape}"
        assert fitted.n_features_in_ == 64, f"{what} have {fitted.n_features_in_}."
        assert fitted.image_shape_ == (8, 8, 1), f"{what}: {fitted.image_shape_}."
        for rows in (images, images[..., None], flat):
            scores = fitted.score_samples(rows)
            expected = scores if expected is None else expected
            _assert_equal(scores, expected, what)
            assert fitted.reconstruct(rows).shape == rows.shape, what
        assert fitted.anomaly_map(X).shape == images.shape, what
        assert fitted.sample(2).shape == (2, *X.shape[1:]), what


def check_channels_are_last(name: str, detector: BaseDetector) -> None:
    """Three channels go in and come out last, and each keeps its own values."""
    images = _images((9, 8, 3)).reshape(-1, 9, 8, 3)
    fitted = _fit(detector, images, image_shape=None)
    assert fitted.image_shape_ == (9, 8, 3), f"{name}: {fitted.image_shape_}."
    assert fitted.reconstruct(images).shape == images.shape
    assert fitted.anomaly_map(images).shape == images.shape[:3]
    assert fitted.sample(2).shape == (2, 9, 8, 3)
    _assert_equal(
        fitted.score_samples(images.reshape(len(images), -1)),
        fitted.score_samples(images),
        f"{name}: flattened images of three channels",
    )


def check_shapes_and_units(name: str, detector: BaseDetector) -> None:
    """Reconstructions and samples are in X's units, in its shape, in float64."""
    X = 1000.0 + 5.0 * _rows(detector)
    fitted = _fit(detector, X)
    drawn, sample = fitted.reconstruct(X), fitted.sample(4, random_state=0)
    residuals, codes = fitted.anomaly_map(X), fitted.embed(X)
    assert drawn.shape == X.shape, f"{name}.reconstruct: {drawn.shape}."
    assert sample.shape == (4, X.shape[1]), f"{name}.sample: {sample.shape}."
    assert residuals.size * _n_channels(detector) == X.size, (
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
    X = _rows(detector)
    expected = _fit(detector, X).score_samples(X)
    for what, other in {
        "X + 100": X + 100,
        "X * 1e6": X * 1e6,
        "X * 1e-6": X * 1e-6,
        "X + 1e7": X + 1e7,
    }.items():
        fitted = _fit(detector, other)
        scores = fitted.score_samples(other)
        assert np.isfinite(scores).all(), f"{name}: {what} gives scores not finite."
        # Training is in float32: the rounding of scaled rows makes 1e-6 of a score.
        share = np.abs(scores - expected).max() / np.median(np.abs(expected))
        assert share < 1e-2, f"{name}: {what} changes scores by {share:.1e}."


def check_small_batches(name: str, detector: BaseDetector) -> None:
    """Two rows, one row a batch, and one row more or less than a batch are enough."""
    X = _rows(detector)
    cases = [(2, 8), (3, 8), (3, 1), (7, 8), (8, 8), (9, 8), (17, 8), (20, 60)]
    for n, batch_size in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", CollapseWarning)
            fitted = _fit(detector, X[:n], batch_size=batch_size)
        scores = fitted.score_samples(X)
        assert np.isfinite([*scores, fitted.offset_]).all(), (
            f"{name}(batch_size={batch_size}) on {n} rows gives NaN."
        )


def check_constant_features(name: str, detector: BaseDetector) -> None:
    """A constant column, or rows that are all the same, make no NaN."""
    X = _rows(detector)
    one_constant, one_outlier = X.copy(), X.copy()
    one_constant[:, 0] = 3.0
    one_outlier[:, 0] = np.arange(len(X)) == 0
    for what, rows in {
        "a constant column": one_constant,
        "a column of one value but once": one_outlier,
        "rows that are all the same": np.repeat(X[:1], len(X), axis=0),
        "zeros": np.zeros_like(X),
    }.items():
        fitted = _fit(detector, rows)
        scores = fitted.score_samples(np.concatenate([rows, X]))
        assert np.isfinite(scores).all(), f"{name}: {what} gives scores not finite."
        assert np.isfinite(fitted.offset_), f"{name}: {what} gives {fitted.offset_}."
        assert np.isfinite(fitted.reconstruct(X)).all(), f"{name}: {what}: NaN."


def check_containers_and_dtypes_agree(name: str, detector: BaseDetector) -> None:
    """The same values in another dtype or container have the same scores."""
    X = _rows(detector)
    X = np.round(255 * (X - X.min()) / (X.max() - X.min()))
    # uint8 images span the type: the others must, in every row, to mean the same.
    X[:, 0], X[:, 1] = 0, 255
    expected = _fit(detector, X).score_samples(X)
    for what, rows in _containers(X):
        fitted = _fit(detector, rows)
        _assert_scores(fitted, fitted.score_samples(rows), expected, f"{name}: {what}")


CHECKS = tuple(
    value for key, value in list(globals().items()) if key.startswith("check_")
)
"""All of them, in the order above."""

_ROW_METHODS = ("reconstruct", "anomaly_map", "embed")


def _fresh(detector: BaseDetector, **parameters: Any) -> Any:
    fresh = clone(detector)
    if (
        "random_state" not in parameters
        and detector.get_params()["random_state"] is None
    ):
        parameters["random_state"] = 0
    return fresh.set_params(**parameters)


def _fit(detector: BaseDetector, X: Any, **parameters: Any) -> Any:
    return _fresh(detector, **parameters).fit(X)


def _call(detector: Any, method: str, X: Any) -> Any:
    return getattr(detector, method)(X)


def _rows(detector: BaseDetector) -> np.ndarray:
    """Flat normal rows of the kind the detector is for."""
    shape = detector.get_params()["image_shape"]
    if shape is not None:
        return _images(tuple(shape))
    rng = np.random.RandomState(0)
    hidden = rng.normal(size=(N_ROWS, 2))
    return hidden @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(N_ROWS, 6))


def _images(shape: tuple[int, ...]) -> np.ndarray:
    """Flattened images of one bright bar, thick or thin, on noise."""
    rng = np.random.RandomState(0)
    images = 0.1 * rng.uniform(size=(N_ROWS, *shape))
    for image in images:
        left = rng.randint(shape[1] - 2)
        image[:, left : left + rng.randint(1, 3)] += rng.uniform(0.5, 0.9)
    return images.reshape(N_ROWS, -1)


def _n_channels(detector: BaseDetector) -> int:
    shape: Any = detector.get_params()["image_shape"] or ()
    return int(shape[2]) if len(shape) == 3 else 1


def _containers(X: np.ndarray) -> "Iterator[tuple[str, Any]]":
    for dtype in (np.uint8, np.int16, np.int32, np.int64, np.float32):
        yield np.dtype(dtype).name, X.astype(dtype)
    yield "a list", X.tolist()
    yield "Fortran order", np.asfortranarray(X)
    yield "every second column of an array", np.repeat(X, 2, axis=1)[:, ::2]
    read_only = X.copy()
    read_only.setflags(write=False)
    yield "a read-only array", read_only
    columns = {f"column_{j}": X[:, j] for j in range(X.shape[1])}
    for library in ("pandas", "polars"):
        try:
            frames = __import__(library)
        except ImportError:
            continue
        yield f"a DataFrame of {library}", frames.DataFrame(columns)


def _losses(record: "dict[str, float]") -> "dict[str, float]":
    return {k: v for k, v in record.items() if k not in ("n_iter", "seconds")}


def _random_states() -> dict[str, str]:
    return {
        "random": repr(random.getstate()),
        "numpy": repr(pickle.dumps(np.random.get_state())),  # noqa: NPY002
        "torch": repr(torch.get_rng_state().tolist()),
        "torch.cuda": repr([s.tolist() for s in _cuda_states()]),
    }


def _cuda_states() -> "list[torch.Tensor]":
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _torch_settings() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(),
    )


def _assert_state(fitted: Any, before: "dict[str, torch.Tensor]", what: str) -> None:
    after = fitted.model_.state_dict()
    assert set(after) == set(before), f"{what} adds or drops weights."
    changed = [key for key in before if not torch.equal(after[key], before[key])]
    assert not changed, f"{what} changes {changed}."
    for key, weight in fitted.model_.named_parameters():
        assert weight.grad is None, f"{what} leaves a gradient in {key}."
        assert not weight.requires_grad, f"{what} leaves {key} trainable."
    awake = [key for key, module in fitted.model_.named_modules() if module.training]
    assert not awake, f"{what} leaves {awake} in training mode."


def _assert_history(name: str, fitted: Any) -> None:
    updates = [record["n_iter"] for record in fitted.history_]
    increasing = bool((np.diff([0, *updates]) > 0).all())
    assert (increasing, updates[-1]) == (True, fitted.n_iter_), (
        f"{name}.history_ has n_iter {updates}, and n_iter_ is {fitted.n_iter_}."
    )
    for record in fitted.history_:
        assert set(record) == set(fitted.history_[0]), f"{name}.history_ has holes."
        assert np.isfinite(list(record.values())).all(), f"{name}.history_: {record}."


def _assert_scores(
    fitted: Any,
    found: np.ndarray,
    expected: np.ndarray,
    what: str,
    scale: "np.ndarray | None" = None,
) -> None:
    dtype = next(fitted.model_.parameters()).dtype
    scale = np.median(np.abs(expected if scale is None else scale))
    share = np.abs(found - expected).max() / scale
    assert share <= TOLERANCE[dtype], (
        f"{what}: scores differ by {share:.1e} of their median in {dtype}; at most "
        f"{TOLERANCE[dtype]:.0e} was expected."
    )


def _assert_equal(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    difference = float(np.abs(found - expected).max())
    assert difference == 0, f"{what} differ by {difference:.1e}."

"""Rows of any dtype, size and container give correct scores or a helpful error."""

import copy
import decimal
import fractions
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cheap import cheap
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.nn._scaling import LIMIT
from skanogan.utils._check_parts import TOLERANCE

# Thousands of fits: less than the usual budget.
BUDGET = {
    "max_iter": 2,
    "encoder_max_iter": 2,
    "hidden_layer_sizes": (8,),
    "n_filters": 2,
    "n_candidates": 32,
    "latent_dim": 3,
}
DETECTORS = {
    "AnoGAN": cheap(AnoGANDetector, **BUDGET),
    "FAnoGAN": cheap(FAnoGANDetector, **BUDGET),
    "OCGAN": cheap(OCGANDetector, **BUDGET),
}

ci = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

MEMORY = 2**30
"""The largest growth of resident memory, in bytes, while examples of a kind run."""

SECONDS = 30.0
"""CPU time that an example may take. Most take some tens of milliseconds."""

METHODS = ("score_samples", "decision_function", "predict", "reconstruct")
METHODS += ("anomaly_map", "embed")

FLOAT64 = np.finfo(np.float64)


@dataclass
class Rows:
    """Rows as a detector is given them, and their numbers.

    Parameters
    ----------
    given : object
        In some container and dtype.
    values : ndarray of float64
        The same numbers.
    """

    given: Any
    values: np.ndarray


# Numbers ------------------------------------------------------------------------

EXPONENTS = st.one_of(st.just(0), st.integers(-323, 308), st.integers(-8, 8))

COLUMNS = {
    "normal": lambda n, rng: rng.normal(size=n),
    "constant": lambda n, rng: np.full(n, rng.normal()),
    "spike": lambda n, rng: np.where(np.arange(n) == rng.randint(n), 1.0, 0.0),
    "two values": lambda n, rng: rng.choice([1.0, 3.0], size=n),
    "signs": lambda n, rng: rng.choice([-1.0, 1.0], size=n),
    "offset": lambda n, rng: 1 + 10.0 ** -rng.randint(1, 18) * rng.normal(size=n),
}


@st.composite
def columns(draw, n, rng):
    """One column of n finite numbers."""
    kind = draw(st.sampled_from([*COLUMNS, "drawn"]))
    if kind == "drawn":
        numbers = st.floats(allow_nan=False, allow_infinity=False)
        return np.array(draw(st.lists(numbers, min_size=n, max_size=n)))
    column = COLUMNS[kind](n, rng)
    with np.errstate(all="ignore"):
        sized = column * np.float64(10.0) ** draw(EXPONENTS)
    return np.clip(sized, -FLOAT64.max, FLOAT64.max)


SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def tables(draw):
    """Finite float64 of shape (n, d)."""
    n = draw(st.integers(2, 24))
    d = draw(st.one_of(st.integers(1, 8), st.sampled_from([1, 1, 40, 700, 5000])))
    rng = np.random.RandomState(draw(SEEDS))
    X = rng.normal(size=(n, d))
    for j in range(min(d, 5)):
        X[:, j] = draw(columns(n, rng))
    if d > 1 and draw(st.booleans()):
        X[:, -1] = X[:, 0]
    return X


@st.composite
def images(draw):
    """Finite float64 of shape (n, H, W) or (n, H, W, C)."""
    n = draw(st.integers(2, 12))
    shapes = [(1, 1), (2, 3), (8, 8), (9, 8, 3), (8, 8, 1), (1, 30)]
    shape = draw(st.sampled_from(shapes))
    rng = np.random.RandomState(draw(SEEDS))
    X = rng.normal(size=(n, *shape))
    if draw(st.booleans()):
        size = min(X.size, 64)
        X = np.resize(draw(columns(size, rng)), X.shape)
    return X


# Dtypes and containers ----------------------------------------------------------

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
DTYPES += ["f2", "f4", "f8", "f8", "f8", "g", "?"]


def cast(X, dtype):
    """Convert X to a dtype. Integers are spread up to the limits of the dtype."""
    if dtype.kind == "b":
        return X > np.median(X)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        size = np.abs(X).max() or 1.0
        fits = np.clip(X / size, -1, 1) * 2.0 ** (limits.bits - 2)
        found = np.clip(fits, float(limits.min), None).astype(dtype)
        # float64 does not hold the largest integer of 64 bits exactly.
        found[X == X.max()] = limits.max
        found[X == X.min()] = limits.min
        return found
    limit = np.finfo(dtype.newbyteorder("=")).max
    with np.errstate(all="ignore"):
        return np.clip(X.astype(dtype), -limit, limit).astype(dtype)


ORDERS = ["C", "C", "Fortran", "every second", "backwards", "read-only"]


def lay_out(X, order):
    """Return the same array in another memory layout."""
    if order == "Fortran":
        return np.asfortranarray(X)
    if order == "every second":
        return np.repeat(X, 2, axis=1)[:, ::2]
    if order == "backwards":
        return X[::-1].copy()[::-1]
    X = X.copy()
    X.setflags(write=order != "read-only")
    return X


CONTAINERS = ["list", "objects", "fractions", "unmasked", "tensor", "frame"]
CONTAINERS += ["categories", "nullable frame", *["array"] * 6]


def contain(X, container):
    """Return the same table in another container, or None if that cannot hold it."""
    if container == "list":
        return X.tolist()
    if container == "objects":
        return X.astype(object)
    if container == "fractions":
        if X.dtype.itemsize > 8:
            return None
        exact = {"f": fractions.Fraction, "i": decimal.Decimal, "u": int, "b": bool}
        return np.vectorize(exact[X.dtype.kind], otypes=[object])(X.astype(object))
    if container == "unmasked":
        return np.ma.masked_array(X, mask=np.zeros(X.shape, bool))
    native = X.astype(X.dtype.newbyteorder("="))
    if container == "tensor":
        return torch.from_numpy(native) if native.dtype in TENSORS else None
    if native.dtype.itemsize > 8 or native.dtype == np.float16:
        return None
    frame = pd.DataFrame(native, columns=[f"c{j}" for j in range(X.shape[1])])
    if container == "categories":
        return frame.astype("category")
    # The dtypes of pandas that have NA: Int64, UInt8, Float32, boolean, ...
    return frame if container == "frame" else frame.convert_dtypes()


TENSORS = [np.dtype(name) for name in ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")]


@st.composite
def any_rows(draw, of):
    """Rows in some dtype, order and container."""
    dtype = draw(st.sampled_from("<>")) + draw(st.sampled_from(DTYPES))
    X = cast(draw(of), np.dtype(dtype))
    given = lay_out(X, draw(st.sampled_from(ORDERS)))
    container = draw(st.sampled_from(CONTAINERS))
    if container != "array" and X.ndim == 2 and X.size <= 1000:
        given = contain(given, container)
        assume(given is not None)
    return Rows(given, X.astype(np.float64))


# What must hold -----------------------------------------------------------------


class RaiseOverflow(warnings.catch_warnings):
    """Overflow and NaN raise errors. Other warnings are ignored."""

    def __enter__(self):
        super().__enter__()
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)


def examine(detector, rows):
    """Fit and score, and test everything that must hold for any rows."""
    detector = clone(detector)
    X, values = rows.given, rows.values
    before = copy.deepcopy(X)
    with RaiseOverflow():
        fitted = detector.fit(X)
        scores = fitted.score_samples(X)
        assert scores.dtype == np.float64
        assert scores.shape == (len(values),)
        assert np.isfinite([*scores, fitted.offset_]).all()
        decision = fitted.decision_function(X)
        assert np.array_equal(decision, scores - fitted.offset_)
        assert np.array_equal(fitted.predict(X), np.where(decision < 0, -1, 1))
        for method in METHODS[3:]:
            found = getattr(fitted, method)(X)
            assert found.dtype == np.float64
            assert np.isfinite(found).all(), method
        assert is_same(X, before)
        # Compare with the same numbers in float64. Images of uint8 are scaled by the
        # range of their dtype, and so differ.
        if not (values.ndim > 2 and getattr(X, "dtype", None) == np.uint8):
            plain = clone(detector).fit(values)
            assert np.array_equal(plain.score_samples(values), scores)
            assert plain.offset_ == fitted.offset_
        examine_row_alone(fitted, values, scores)
        if values.ndim == 2:
            examine_far(fitted, values, scores)


def examine_row_alone(fitted, values, scores):
    """The first row has the same score alone and among others."""
    alone = fitted.score_samples(values[:1])[0]
    # Scores are in deviations of those of normal rows.
    scale = max(1, abs(scores[0]), np.median(np.abs(scores)))
    tolerance = TOLERANCE[next(fitted.model_.parameters()).dtype]
    assert abs(alone - scores[0]) <= tolerance * scale


def examine_far(fitted, values, scores):
    """A row as far away as rows can be scores below the median training row."""
    scaling = fitted.model_.scaling
    scaled = scaling(torch.from_numpy(values), torch.float64)
    # Held-out rows can be far away themselves, if all others are alike.
    learned = scaled.abs().amax(1).numpy() < 100
    with np.errstate(all="ignore"):
        far = scaling.shift.numpy() + 2 * LIMIT * scaling.scale.numpy()
    # Rounding can leave a large number as it is.
    moved = np.isfinite(far) & (far != scaling.shift.numpy())
    if moved.any():
        far = np.where(moved, far, values[0])
        assert fitted.score_samples(far[None])[0] < np.median(scores[learned])


def examine_refusal(detector, X):
    """The fit raises an error with a message, and the detector is as before."""
    parameters = dict(vars(detector))
    with pytest.raises((ValueError, TypeError)) as caught:
        detector.fit(X)
    assert len(str(caught.value)) > 20
    assert vars(detector) == parameters


def is_same(one, other):
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return np.array_equal(one, other)


# What must be refused -----------------------------------------------------------


def put(X, at, value, dtype):
    """Return the table in another dtype, with this value in one place."""
    X = X.astype(dtype)
    X[at] = value
    return X


def with_na(X, at):
    frame = pd.DataFrame(np.round(X)).astype("Int64")
    frame.iloc[at] = pd.NA
    return frame


SPOILED = {
    "NaN": lambda X, at: put(X, at, np.nan, "f8"),
    "infinity": lambda X, at: put(X, at, np.inf, "f4"),
    "minus infinity": lambda X, at: put(X, at, -np.inf, "f2"),
    "a long double": lambda X, at: put(X, at, np.longdouble("1e4000"), "g"),
    "a long integer": lambda X, at: put(X, at, 10**400, object),
    "None": lambda X, at: put(X, at, None, object),
    "a dict": lambda X, at: put(X, at, {}, object),
    "a complex number": lambda X, at: put(X, at, 1j, "c16"),
    "a complex object": lambda X, at: put(X, at, 1j, object),
    "a string": lambda X, at: put(X, at, "many", object),
    "strings": lambda X, at: X.astype("U"),
    "bytes": lambda X, at: X.astype("S"),
    "NA": with_na,
    "dates": lambda X, at: X.astype("i8").astype("M8[s]"),
    "durations": lambda X, at: X.astype("i8").astype("m8[ms]"),
    "a frame of dates": lambda X, at: pd.DataFrame(X.astype("i8").astype("M8[s]")),
    "a date": lambda X, at: put(X, at, pd.Timestamp(0), object),
    "a mask": lambda X, at: np.ma.masked_array(X, mask=X == X[at]),
    "masked rows": lambda X, at: [np.ma.masked_equal(row, X[at]) for row in X],
    "a masked image": lambda X, at: np.ma.masked_equal(X[:, None], X[at]),
    "a record": lambda X, at: np.zeros(len(X), dtype=[("a", "f8"), ("b", "f8")]),
    "a sparse matrix": lambda X, at: sparse.csr_matrix(X),
    "rows of two lengths": lambda X, at: [
        list(row[i % 2 :]) for i, row in enumerate(X)
    ],
    "one dimension": lambda X, at: X[:, 0],
    "five dimensions": lambda X, at: X.reshape(*X.shape, 1, 1, 1),
    "no rows": lambda X, at: X[:0],
    "no columns": lambda X, at: X[:, :0],
    "no pixels": lambda X, at: X[:, :0, None],
    "nothing": lambda X, at: None,
    "a number": lambda X, at: 3.0,
    "a word": lambda X, at: "rows",
    "a set": lambda X, at: {1.0, 2.0},
}

# A fit accepts these rows. A detector fitted on other columns does not.
OTHERS = {
    "more columns": lambda frame: np.column_stack([frame, frame]),
    "fewer columns": lambda frame: frame.iloc[:, 1:],
    "another order": lambda frame: frame[frame.columns[::-1]],
    "other names": lambda frame: frame.add_suffix("_"),
    "images": lambda frame: frame.to_numpy()[:, :, None],
}


@st.composite
def spoiled(draw):
    """A table, the name of what spoils it, and a position."""
    n, d = draw(st.integers(2, 12)), draw(st.integers(2, 6))
    X = np.random.RandomState(draw(SEEDS)).normal(size=(n, d))
    how = draw(st.sampled_from([*SPOILED, *OTHERS]))
    return X, how, (draw(st.integers(0, n - 1)), draw(st.integers(0, d - 1)))


def examine_spoiled(detector, example):
    """A first fit, a second fit and all methods raise, and change nothing."""
    X, how, at = example
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    with RaiseOverflow():
        bad = SPOILED[how](X, at) if how in SPOILED else OTHERS[how](frame)
        if how in SPOILED:
            examine_refusal(clone(detector), bad)
        fitted = clone(detector).fit(frame)
        scores = fitted.score_samples(frame)
        before = dict(vars(fitted))
        for method in [*METHODS, *(["fit"] if how in SPOILED else [])]:
            with pytest.raises((ValueError, TypeError)) as caught:
                getattr(fitted, method)(bad)
            assert len(str(caught.value)) > 20
            assert vars(fitted) == before
        assert np.array_equal(fitted.score_samples(frame), scores)


# Units --------------------------------------------------------------------------


@st.composite
def units(draw):
    """A table without constant columns, and a power of two for each column."""
    n, d = draw(st.integers(3, 24)), draw(st.integers(1, 6))
    X = np.random.RandomState(draw(SEEDS)).normal(size=(n, d))
    exponents = st.lists(st.integers(-960, 960), min_size=d, max_size=d)
    return X, np.array(draw(exponents))


def examine_units(detector, example):
    """Factors that are powers of two change no bit of a score."""
    X, exponents = example
    stretched = np.ldexp(X, exponents)
    with RaiseOverflow():
        one, other = (clone(detector).fit(rows) for rows in (X, stretched))
        assert np.array_equal(other.score_samples(stretched), one.score_samples(X))
        assert np.array_equal(other.anomaly_map(stretched), one.anomaly_map(X))
        assert other.offset_ == one.offset_


# Few examples, and many ---------------------------------------------------------

KINDS = {
    "tables": (any_rows(tables()), examine),
    "images": (any_rows(images()), examine),
    "spoiled": (spoiled(), examine_spoiled),
    "units": (units(), examine_units),
}
FEW = {"tables": 12, "images": 6, "spoiled": 12, "units": 4}
MANY = {"tables": 1000, "images": 400, "spoiled": 400, "units": 200}


def examples(name, kind, n_examples):
    """Run examples. Return how many ran, and the longest CPU time of one."""
    strategy, must_hold = KINDS[kind]
    seconds = []

    @settings(ci, max_examples=n_examples)
    @given(strategy)
    def each(example):
        started = time.process_time()
        must_hold(DETECTORS[name], example)
        seconds.append(time.process_time() - started)

    each()
    return len(seconds), max(seconds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DETECTORS)
def test_rows_give_correct_scores_or_a_helpful_error(name, kind, memory_below):
    with memory_below(MEMORY):
        examples(name, kind, FEW[kind])


@pytest.mark.long
@pytest.mark.parametrize("name", DETECTORS)
def test_thousands_of_rows_give_correct_scores_or_a_helpful_error(name, memory_below):
    for kind, n_examples in MANY.items():
        with memory_below(MEMORY):
            n, longest = examples(name, kind, n_examples)
        print(f"{name}, {kind}: {n} examples, at most {longest:.2f} s of one CPU each")
        assert n >= n_examples
        assert longest < SECONDS

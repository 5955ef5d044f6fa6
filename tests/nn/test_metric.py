import numpy as np
import pytest
import torch

from skanogan.nn import WhitenedMetric, nearest


def correlated(n, p, seed=0, rank=None):
    rng = np.random.RandomState(seed)
    rank = p if rank is None else rank
    return torch.from_numpy(rng.normal(size=(n, rank)) @ rng.normal(size=(rank, p)))


def dense(differences, shrinkage):
    """Inverse of the moment plus a share of its mean eigenvalue, in numpy."""
    moment = differences.numpy().T @ differences.numpy() / len(differences)
    p = len(moment)
    return np.linalg.inv(moment + shrinkage * np.trace(moment) / p * np.eye(p))


def lengths(inverse, rows):
    return np.einsum("ni,ij,nj->n", rows.numpy(), inverse, rows.numpy())


@pytest.mark.parametrize(("n", "p"), [(50, 6), (6, 6), (5, 20)])
def test_lengths_are_those_of_the_dense_mahalanobis_distance(n, p):
    differences, rows = correlated(n, p), correlated(7, p, seed=1)
    metric = WhitenedMetric.fit(differences, shrinkage=0.1, max_rank=p)
    np.testing.assert_allclose(
        metric.squared_length(rows), lengths(dense(differences, 0.1), rows), rtol=1e-8
    )


def test_differences_are_measured_about_zero_and_not_about_their_mean():
    differences = correlated(50, 3) * 0.01 + 5.0
    metric = WhitenedMetric.fit(differences, shrinkage=1e-6, max_rank=3)
    # All differences are about (5, 5, 5), so its length is about 1.
    assert float(metric.squared_length(torch.full((1, 3), 5.0).double())) < 2


def test_directions_beyond_the_rank_share_their_mean_variance():
    differences, rows = correlated(80, 5), correlated(9, 5, seed=1)
    metric = WhitenedMetric.fit(differences, shrinkage=0.1, max_rank=2)
    moment = differences.numpy().T @ differences.numpy() / 80
    values, vectors = np.linalg.eigh(moment)
    kept = values.copy()
    kept[:3] = values[:3].mean()
    inverse = vectors @ np.diag(1 / (kept + 0.1 * values.mean())) @ vectors.T
    np.testing.assert_allclose(
        metric.squared_length(rows), lengths(inverse, rows), rtol=1e-8
    )
    assert metric.basis.shape == (5, 2)


def test_fewer_rows_than_features_and_more_give_the_same_metric():
    few = correlated(5, 8)
    many = few.repeat(4, 1)  # the same second moment from the other side
    rows = correlated(9, 8, seed=1)
    first, second = (WhitenedMetric.fit(d, 0.1, 8) for d in (few, many))
    np.testing.assert_allclose(
        first.squared_length(rows), second.squared_length(rows), rtol=1e-8
    )


def test_coordinates_are_whitened():
    differences = correlated(200, 4)
    metric = WhitenedMetric.fit(differences, shrinkage=1e-9, max_rank=4)
    coordinates = metric.coordinates(differences)
    np.testing.assert_allclose(coordinates.T @ coordinates / 200, np.eye(4), atol=1e-6)


def test_squared_distances_of_coordinates_are_squared_lengths_at_full_rank():
    differences, rows = correlated(50, 4), correlated(2, 4, seed=1)
    metric = WhitenedMetric.fit(differences, shrinkage=0.1, max_rank=4)
    a, b = metric.coordinates(rows)
    expected = metric.squared_length(rows[:1] - rows[1:])[0]
    np.testing.assert_allclose((a - b).square().sum(), expected, rtol=1e-8)


def test_multiplying_differences_and_rows_changes_no_length():
    differences, rows = correlated(50, 4), correlated(9, 4, seed=1)
    first = WhitenedMetric.fit(differences, 0.1, 4).squared_length(rows)
    second = WhitenedMetric.fit(1e4 * differences, 0.1, 4).squared_length(1e4 * rows)
    np.testing.assert_allclose(first, second, rtol=1e-8)


@pytest.mark.parametrize("shape", [(10, 4), (3, 4)])
def test_differences_of_zero_make_a_finite_metric(shape):
    metric = WhitenedMetric.fit(torch.zeros(shape), shrinkage=0.1, max_rank=4)
    assert torch.isfinite(metric.squared_length(torch.ones(2, 4))).all()


def test_a_length_is_never_negative():
    differences = correlated(50, 6, rank=2)
    metric = WhitenedMetric.fit(differences.float(), shrinkage=0.1, max_rank=6)
    assert (metric.squared_length(differences.float()) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_metric_has_the_dtype_of_the_differences(dtype):
    metric = WhitenedMetric.fit(correlated(20, 4).to(dtype), 0.1, 4)
    assert {b.dtype for b in metric.buffers()} == {dtype}


def test_nearest_agrees_with_brute_force():
    queries, bank = correlated(20, 4), correlated(50, 4, seed=1)
    distances = np.linalg.norm(queries.numpy()[:, None] - bank.numpy()[None], axis=2)
    assert np.array_equal(nearest(queries, bank).numpy(), distances.argmin(1))

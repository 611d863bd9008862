from functools import reduce
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bnlib.reference import (
    Statistics,
    algorithm2,
    batch_statistics,
    merge_statistics,
    pooled,
    unbiased_variance,
    update_running,
)


def channels(x):
    """One row per channel, with all its values."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def test_mean_and_variance_are_those_of_each_channels_values(x, tolerance):
    mean, var, _ = batch_statistics(x)
    np.testing.assert_allclose(mean, channels(x).mean(axis=1), **tolerance)
    np.testing.assert_allclose(var, np.diag(np.cov(channels(x), bias=True)), **tolerance)


def test_statistics_have_one_value_per_channel_in_the_dtype_of_the_input(x):
    mean, var, _ = batch_statistics(x)
    assert mean.shape == var.shape == (3,)
    assert mean.dtype == var.dtype == x.dtype


@pytest.mark.parametrize(
    ("shape", "count"), [((6, 3), 6), ((4, 3, 5), 20), ((2, 3, 4, 5), 40), ((1, 3, 2, 1), 2)]
)
def test_the_count_is_the_batch_times_the_positions(shape, count):
    assert batch_statistics(np.zeros(shape)).count == count


def test_a_single_value_has_no_variance():
    np.testing.assert_array_equal(batch_statistics(np.array([[5.0, -3.0]])).var, 0)


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0)])
def test_statistics_of_nothing_are_refused(shape):
    with pytest.raises(ValueError, match="at least one value per channel"):
        batch_statistics(np.zeros(shape))


@pytest.mark.parametrize("mean", [1e3, 1e4])
def test_the_variance_survives_a_large_mean_in_float32(rng, mean):
    # Rounding x itself moves the variance by less than 1e-3 here; E[x^2] - E[x]^2 loses every digit.
    x = rng.normal(mean, 1.0, size=(1000, 3)).astype(np.float32)
    exact = x.astype(np.float64).var(axis=0)
    np.testing.assert_allclose(batch_statistics(x).var, exact, rtol=1e-3)
    naive = np.mean(x**2, axis=0) - np.mean(x, axis=0) ** 2
    assert np.max(np.abs(naive - exact)) > 0.05


batches = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5), elements=st.floats(-100, 100)
)


@given(batches, st.data())
def test_merged_statistics_are_those_of_the_whole(x, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(x) - 1)))) if len(x) > 1 else []
    merged = reduce(merge_statistics, map(batch_statistics, np.split(x, cuts)))
    rows = channels(x)
    np.testing.assert_allclose(merged.mean, rows.mean(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(merged.var, rows.var(axis=1), rtol=0, atol=1e-10)
    assert merged.count == rows.shape[1]


@given(batches)
def test_merging_does_not_mind_the_order(x):
    a, b = batch_statistics(x), batch_statistics(x[:1] * 2 + 7)
    ab, ba = merge_statistics(a, b), merge_statistics(b, a)
    np.testing.assert_allclose(ab.mean, ba.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ab.var, ba.var, rtol=1e-12, atol=1e-12)


def test_merging_keeps_the_dtype(x):
    merged = merge_statistics(batch_statistics(x), batch_statistics(x[:1]))
    assert merged.mean.dtype == merged.var.dtype == x.dtype


def test_merging_survives_a_large_mean_in_float32(rng):
    x = rng.normal(1e4, 1.0, size=(1000, 3)).astype(np.float32)
    merged = merge_statistics(batch_statistics(x[:300]), batch_statistics(x[300:]))
    np.testing.assert_allclose(merged.var, x.astype(np.float64).var(axis=0), rtol=1e-2)


def test_the_unbiased_variance_divides_by_one_less(x, tolerance):
    np.testing.assert_allclose(
        unbiased_variance(batch_statistics(x)), channels(x).var(axis=1, ddof=1), **tolerance
    )


def test_the_unbiased_variance_is_right_on_average():
    population = [0.0, 1.0, 5.0]
    samples = [np.array(s).reshape(-1, 1) for s in product(population, repeat=3)]
    average = np.mean([unbiased_variance(batch_statistics(s)) for s in samples])
    assert average == pytest.approx(np.var(population), rel=1e-12)


def test_one_value_has_no_unbiased_variance():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        unbiased_variance(Statistics(np.zeros(3), np.zeros(3), 1))


def test_two_values_have_an_unbiased_variance():
    two = Statistics(np.zeros(1), np.array([0.25]), 2)
    np.testing.assert_array_equal(unbiased_variance(two), 0.5)


def test_momentum_is_the_weight_of_the_new_as_in_torch(rng):
    x, mean, var = rng.normal(3, 2, size=(6, 3)), rng.normal(size=3), rng.uniform(1, 2, size=3)
    theirs_mean, theirs_var = torch.tensor(mean), torch.tensor(var)
    F.batch_norm(torch.tensor(x), theirs_mean, theirs_var, training=True, momentum=0.3)
    new = batch_statistics(x)
    np.testing.assert_allclose(update_running(mean, new.mean, 0.3), theirs_mean, rtol=1e-12)
    np.testing.assert_allclose(update_running(var, unbiased_variance(new), 0.3), theirs_var, rtol=1e-12)


@pytest.mark.parametrize(("momentum", "steps"), [(0.1, 6.6), (0.01, 69), (0.001, 693)])
def test_half_of_the_start_is_forgotten_after_the_half_life(momentum, steps):
    running = np.ones(1)
    for _ in range(round(steps)):
        running = update_running(running, np.zeros(1), momentum)
    np.testing.assert_allclose(running, 0.5, atol=momentum / 2)


def test_algorithm_2_averages_the_means_and_the_unbiased_variances(rng, x, tolerance):
    batches = [x, 2 * x - 1, x[::-1] ** 2]
    mean, var = algorithm2(batch_statistics(batch) for batch in batches)
    rows = [channels(batch) for batch in batches]
    np.testing.assert_allclose(mean, sum(r.mean(axis=1) for r in rows) / 3, **tolerance)
    np.testing.assert_allclose(var, sum(r.var(axis=1, ddof=1) for r in rows) / 3, **tolerance)


def test_algorithm_2_leaves_out_the_spread_of_the_batch_means():
    batches = [np.full((4, 2), value) for value in (1.0, 5.0)]
    mean, var = algorithm2(map(batch_statistics, batches))
    np.testing.assert_array_equal(mean, 3)
    np.testing.assert_array_equal(var, 0)


def test_algorithm_2_refuses_ragged_batches():
    batches = [batch_statistics(np.zeros((n, 2))) for n in (4, 3)]
    with pytest.raises(ValueError, match=r"one size \(got \[3, 4\] values per channel\)"):
        algorithm2(batches)


def test_algorithm_2_refuses_batches_of_one_value():
    with pytest.raises(ValueError, match="more than 1 value"):
        algorithm2([batch_statistics(np.zeros((1, 2)))])


@pytest.mark.parametrize("population", [algorithm2, pooled])
def test_a_population_without_a_batch_is_refused(population):
    with pytest.raises(ValueError, match="at least one batch"):
        population([])


@pytest.mark.parametrize("population", [algorithm2, pooled])
def test_population_statistics_keep_the_dtype(x, population):
    mean, var = population([batch_statistics(x)] * 3)
    assert mean.dtype == var.dtype == x.dtype


def test_pooled_statistics_are_those_of_all_values_with_ragged_batches(x, tolerance):
    ragged = np.concatenate([x, x[:1] + 1])
    mean, var = pooled(map(batch_statistics, (ragged[:1], ragged[1:])))
    np.testing.assert_allclose(mean, channels(ragged).mean(axis=1), **tolerance)
    np.testing.assert_allclose(var, channels(ragged).var(axis=1), **tolerance)


def test_pooled_statistics_are_those_of_wu_and_johnson(rng):
    batches = [batch_statistics(rng.normal(1, 2, size=(n, 3))) for n in (2, 5, 9)]
    n = sum(b.count for b in batches)
    mu = sum(b.count * b.mean for b in batches) / n
    second_moment = sum(b.count * (b.mean**2 + b.var) for b in batches) / n
    mean, var = pooled(batches)
    np.testing.assert_allclose(mean, mu, rtol=1e-12)
    np.testing.assert_allclose(var, second_moment - mu**2, rtol=1e-12)

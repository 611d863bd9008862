"""The exact numbers are those of Shimodaira 2000, section 2."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnlib.reference import (
    OBSERVED,
    TARGET,
    Line,
    Normal,
    effective_sample_size,
    excess_risk,
    importance_weights,
    mean_squared_weight,
    population_line,
    sample,
    true_function,
    weighted_least_squares,
)

GRID = np.linspace(-8, 8, 20_001)
normals = st.builds(Normal, st.floats(-1, 1), st.floats(0.2, 0.8))


def expectation(values, distribution):
    """By the trapezoidal rule, which for smooth densities is exact to rounding."""
    return np.trapezoid(values * distribution.density(GRID), GRID)


def test_the_two_distributions_are_those_of_the_paper():
    assert OBSERVED == (0.5, 0.5)
    assert TARGET == (0.0, 0.3)


@given(normals, st.floats(-3, 3))
def test_the_density_is_that_of_the_standard_library(normal, x):
    assert normal.density(np.array(x)) == pytest.approx(NormalDist(*normal).pdf(x), rel=1e-12)


def test_a_line_is_intercept_plus_slope_times_x():
    np.testing.assert_array_equal(Line(2.0, -3.0)(np.array([0.0, 1.0, -1.0])), [2, -1, 5])


def test_the_true_function_is_a_cubic():
    np.testing.assert_array_equal(true_function(np.array([0.0, 1.0, -1.0, 2.0])), [0, 0, 0, 6])


def test_the_best_line_changes_the_sign_of_its_slope_between_the_distributions():
    np.testing.assert_allclose(population_line(OBSERVED), (-0.25, 0.5), rtol=0, atol=1e-15)
    np.testing.assert_allclose(population_line(TARGET), (0, -0.73), rtol=0, atol=1e-15)


@given(normals)
def test_the_population_line_solves_the_normal_equations(normal):
    residual = true_function(GRID) - population_line(normal)(GRID)
    assert expectation(residual, normal) == pytest.approx(0, abs=1e-10)
    assert expectation(residual * GRID, normal) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("fitted_on", "used_on", "risk"),
    [
        (OBSERVED, TARGET, 0.203035),
        (TARGET, TARGET, 0.004374),
        (OBSERVED, OBSERVED, 0.375),
        (TARGET, OBSERVED, 0.88645),
    ],
)
def test_the_excess_risks_are_those_of_the_example(fitted_on, used_on, risk):
    assert excess_risk(population_line(fitted_on), used_on) == pytest.approx(risk, abs=1e-9)


@given(normals, st.builds(Line, st.floats(-2, 2), st.floats(-2, 2)))
def test_the_excess_risk_is_the_expected_squared_error(normal, line):
    expected = expectation((true_function(GRID) - line(GRID)) ** 2, normal)
    assert excess_risk(line, normal) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_mean_squared_weight_is_that_of_the_example():
    assert mean_squared_weight() == pytest.approx(2.39464, abs=5e-6)
    assert 1 / mean_squared_weight() == pytest.approx(0.4176, abs=5e-5)


@pytest.mark.parametrize("target", [TARGET, Normal(-0.4, 0.5), Normal(0.5, 0.6)])
def test_the_mean_squared_weight_is_an_expectation_under_the_observed(target):
    expected = expectation(importance_weights(GRID, target, OBSERVED) ** 2, OBSERVED)
    assert mean_squared_weight(target, OBSERVED) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("std", [math.sqrt(2) * 0.5 + 1e-12, 1.0])
def test_the_mean_squared_weight_is_infinite_when_the_observed_tails_are_too_light(std):
    assert mean_squared_weight(Normal(0.0, std), OBSERVED) == math.inf


def test_the_mean_squared_weight_is_infinite_at_the_very_border_too():
    std, observed_std = math.sqrt(2) * 0.6, 0.6
    assert 2 * observed_std**2 == std**2  # these two round so that it holds
    assert mean_squared_weight(Normal(0.0, std), Normal(0.5, observed_std)) == math.inf


def test_the_weights_are_proportional_to_the_normal_density_of_the_example():
    x = np.linspace(-1, 2, 31)
    ratio = importance_weights(x) / Normal(-0.28125, 0.375).density(x)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)


def test_the_weights_turn_an_expectation_under_the_observed_into_one_under_the_target():
    w, y = importance_weights(GRID), true_function(GRID) ** 2
    assert expectation(w * y, OBSERVED) == pytest.approx(expectation(y, TARGET), rel=1e-9)


def test_unweighted_least_squares_are_numpys(rng):
    x, y = sample(OBSERVED, 50, rng)
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose(weighted_least_squares(x, y), (intercept, slope), rtol=1e-10)


def test_weighted_least_squares_are_numpys(rng):
    x, y = sample(OBSERVED, 50, rng)
    w = importance_weights(x)
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(w))  # polyfit weights the residual, not its square
    np.testing.assert_allclose(weighted_least_squares(x, y, w), (intercept, slope), rtol=1e-10)


def test_a_weight_of_zero_leaves_an_example_out(rng):
    x, y = sample(OBSERVED, 50, rng)
    w = np.ones(50)
    w[::2] = 0
    expected = weighted_least_squares(x[1::2], y[1::2])
    np.testing.assert_allclose(weighted_least_squares(x, y, w), expected, rtol=1e-12)


def test_two_different_x_are_enough_for_a_line():
    line = weighted_least_squares(np.array([1.0, 3.0, 3.0]), np.array([2.0, 8.0, 6.0]))
    assert line == pytest.approx((-0.5, 2.5), rel=1e-15)


def test_an_offset_costs_the_slope_no_digits(rng):
    whole, other = rng.integers(-50, 50, size=64).astype(float), rng.normal(size=64)
    far = whole + 2.0**40  # exact, and so is the mean of these 64
    near_slope, far_slope = (weighted_least_squares(x, other).slope for x in (whole, far))
    assert far_slope == pytest.approx(near_slope, rel=1e-12)
    near_slope, far_slope = (weighted_least_squares(other, y).slope for y in (whole, far))
    assert far_slope == pytest.approx(near_slope, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_fit_tends_to_the_population_line(rng, weighted):
    x, y = sample(OBSERVED, 200_000, rng)
    fit = weighted_least_squares(x, y, importance_weights(x) if weighted else None)
    np.testing.assert_allclose(fit, population_line(TARGET if weighted else OBSERVED), atol=0.03)


def test_a_sample_has_the_mean_the_spread_and_the_noise_that_are_said(rng):
    x, y = sample(OBSERVED, 100_000, rng)
    noise = y - true_function(x)
    assert (x.mean(), x.std()) == pytest.approx((0.5, 0.5), abs=0.01)
    assert (noise.mean(), noise.std()) == pytest.approx((0, 0.3), abs=0.005)


def test_a_seed_fixes_the_sample():
    first, again = (sample(OBSERVED, 20, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("w", "size"), [([2.0] * 10, 10), ([0, 0, 3.0, 0], 1), ([1.0, 1.0, 2.0], 16 / 6)])
def test_the_effective_sample_size_counts_equal_weights(w, size):
    assert effective_sample_size(np.array(w)) == pytest.approx(size, rel=1e-12)


def test_the_effective_sample_size_tends_to_n_over_the_mean_squared_weight(rng):
    w = importance_weights(sample(OBSERVED, 100_000, rng)[0])
    assert effective_sample_size(w) / 100_000 == pytest.approx(0.4176, abs=0.01)


@pytest.mark.parametrize(
    ("x", "y", "w", "message"),
    [
        ([0, 1, 2], [0, 1], None, r"one shape \(n,\) \(got \(3,\), \(2,\), \(3,\)\)"),
        ([0, 1, 2], [0, 1, 2], [1, 1], "one shape"),
        ([0, 1, 2], [0, 1, 2], [1, 1, 1, 1], "one shape"),
        ([0, 1, 2], [0, 1], [1, 1], "one shape"),
        ([0, 1], [0, 1, 2], [1, 1, 1], "one shape"),
        (0, 0, 1, "one shape"),
        ([[0, 1, 2]], [[0, 1, 2]], None, "one shape"),
        ([0, 1, 2], [0, 1, 2], [1, 1, -1], "not negative"),
        ([0, 1, 2], [0, 1, 2], [0, 1, 0], "two different x"),
        ([1, 1, 1], [0, 1, 2], None, "two different x"),
    ],
)
def test_what_no_line_can_be_fitted_to_is_refused(x, y, w, message):
    arrays = [None if a is None else np.array(a, float) for a in (x, y, w)]
    with pytest.raises(ValueError, match=message):
        weighted_least_squares(*arrays)

import numpy as np
import pytest

from bnlib.reference import numerical_gradient


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4)])
def test_the_gradient_of_an_elementwise_function_is_its_derivative_times_dy(rng, shape):
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    np.testing.assert_allclose(numerical_gradient(np.sin, x, dy), dy * np.cos(x), rtol=0, atol=1e-9)


def test_the_gradient_of_a_quadratic_form_sees_every_pair(rng):
    a, x = rng.normal(size=(4, 4)), rng.normal(size=4)
    np.testing.assert_allclose(numerical_gradient(lambda v: v @ a @ v, x), (a + a.T) @ x, rtol=0, atol=1e-8)


def test_dy_weights_an_output_of_another_shape(rng):
    a, x, dy = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=5)
    np.testing.assert_allclose(numerical_gradient(lambda v: a @ v, x, dy), a.T @ dy, rtol=0, atol=1e-9)


def test_the_point_stays_where_it_is(rng):
    x = rng.normal(size=3)
    before = x.copy()
    numerical_gradient(np.exp, x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128"])
def test_what_is_not_float64_is_refused(dtype):
    with pytest.raises(TypeError, match=rf"float64 array \(got {dtype}\)"):
        numerical_gradient(np.exp, np.ones(3, dtype))


def test_the_difference_is_central(rng):
    # One-sided, x^2 would be off by the step; central, it is exact up to rounding.
    x = rng.normal(size=3)
    np.testing.assert_allclose(numerical_gradient(np.square, x, step=0.5), 2 * x, rtol=1e-12)

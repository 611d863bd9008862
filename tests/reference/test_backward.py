import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bnlib.reference import (
    batch_norm_backward,
    batch_norm_backward_stepwise,
    batch_norm_forward,
    numerical_gradient,
)

EPS = 1e-2  # large enough that leaving it out, or adding it elsewhere, is seen

both = pytest.mark.parametrize("backward", [batch_norm_backward_stepwise, batch_norm_backward])


def pooled_axes(x):
    return tuple(axis for axis in range(x.ndim) if axis != 1)


@both
@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_the_gradients_are_those_of_central_differences(x, gamma, beta, dy, backward):
    ours = backward(dy, batch_norm_forward(x, gamma, beta, EPS)[1])
    by_x = numerical_gradient(lambda v: batch_norm_forward(v, gamma, beta, EPS)[0], x, dy)
    by_gamma = numerical_gradient(lambda v: batch_norm_forward(x, v, beta, EPS)[0], gamma, dy)
    by_beta = numerical_gradient(lambda v: batch_norm_forward(x, gamma, v, EPS)[0], beta, dy)
    for name, theirs in zip(ours._fields, (by_x, by_gamma, by_beta), strict=True):
        np.testing.assert_allclose(getattr(ours, name), theirs, rtol=1e-7, atol=1e-8, err_msg=name)


@both
def test_the_gradients_are_those_of_torchs_autograd(x, gamma, beta, dy, backward, tolerance):
    inputs = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = F.batch_norm(inputs[0], None, None, *inputs[1:], training=True, eps=EPS)
    theirs = torch.autograd.grad(y, inputs, torch.tensor(dy))
    ours = backward(dy, batch_norm_forward(x, gamma, beta, EPS)[1])
    scale = 10 if x.dtype == np.float32 else 1  # sums of up to 40 numbers, divided by a small spread
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **{k: scale * v for k, v in tolerance.items()})


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
def test_the_term_of_the_paper_that_vanishes_is_right_where_it_does_not(x, gamma, beta, dy):
    # Subtract the mean and one more: then the deviations do not add up to zero, nor does their term in dmean.
    def off_center(x):
        centered = x - x.mean(axis=pooled_axes(x), keepdims=True) - 1
        std = np.sqrt((centered**2).mean(axis=pooled_axes(x), keepdims=True) + EPS)
        return centered, std, centered / std

    centered, std, x_hat = off_center(x)
    saved = batch_norm_forward(x, gamma, beta, EPS)[1]
    saved = saved._replace(centered=centered, std=std.ravel(), x_hat=x_hat)
    along = (1, 3, *(1,) * (x.ndim - 2))
    by_x = numerical_gradient(lambda v: gamma.reshape(along) * off_center(v)[2] + beta.reshape(along), x, dy)
    np.testing.assert_allclose(batch_norm_backward_stepwise(dy, saved).dx, by_x, rtol=1e-7, atol=1e-8)


@both
def test_each_gradient_has_the_shape_and_dtype_of_what_it_is_taken_by(x, gamma, beta, dy, backward):
    gradients = backward(dy, batch_norm_forward(x, gamma, beta)[1])
    for gradient, by in zip(gradients, (x, gamma, beta), strict=True):
        assert (gradient.shape, gradient.dtype) == (by.shape, by.dtype)


@both
def test_a_dy_of_another_shape_is_refused(x, gamma, beta, dy, backward):
    saved = batch_norm_forward(x, gamma, beta)[1]
    for another in (dy[:1], np.concatenate([dy, dy])):
        with pytest.raises(ValueError, match="dy of the output's shape"):
            backward(another, saved)


seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from([(6, 3), (4, 3, 5), (2, 3, 4, 5)])


def random_case(seed, shape, eps=0.0):
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(3, 2, size=shape), rng.normal(size=shape)
    return dy, batch_norm_forward(x, rng.normal(size=3), rng.normal(size=3), eps)[1]


@both
@given(seed=seeds, shape=shapes, eps=st.sampled_from([0, 1e-5, 0.1]))
def test_dx_is_orthogonal_to_one(backward, seed, shape, eps):
    dy, saved = random_case(seed, shape, eps)
    dx = backward(dy, saved).dx
    np.testing.assert_allclose(dx.sum(axis=pooled_axes(dx)), 0, atol=1e-11)


@both
@given(seed=seeds, shape=shapes)
def test_dx_is_orthogonal_to_x_hat_without_eps(backward, seed, shape):
    dy, saved = random_case(seed, shape)
    dx = backward(dy, saved).dx
    np.testing.assert_allclose((dx * saved.x_hat).sum(axis=pooled_axes(dx)), 0, atol=1e-11)


@both
@given(seed=seeds, shape=shapes)
def test_dx_is_the_scaled_projection_of_dy_without_eps(backward, seed, shape):
    dy, saved = random_case(seed, shape)
    dx = backward(dy, saved).dx
    for channel in range(3):
        span = np.stack([np.ones(saved.statistics.count), saved.x_hat[:, channel].ravel()], axis=1)
        q, _ = np.linalg.qr(span)
        g = dy[:, channel].ravel()
        projected = g - q @ (q.T @ g)
        scale = saved.gamma[channel] / saved.std[channel]
        np.testing.assert_allclose(dx[:, channel].ravel(), scale * projected, rtol=1e-10, atol=1e-11)


@both
@given(seed=seeds, shape=shapes)
def test_the_length_of_dx_is_what_the_projection_leaves(backward, seed, shape):
    dy, saved = random_case(seed, shape)
    dx = backward(dy, saved).dx
    m, axes = saved.statistics.count, pooled_axes(dx)
    left = (dy**2).sum(axes) - dy.sum(axes) ** 2 / m - (dy * saved.x_hat).sum(axes) ** 2 / m
    np.testing.assert_allclose((dx**2).sum(axes), (saved.gamma / saved.std) ** 2 * left, rtol=1e-9)


@both
def test_the_sum_of_the_output_as_a_loss_has_gradient_zero(x, gamma, beta, backward, tolerance):
    # so a gradient check with y.sum() proves nothing
    dx = backward(np.ones_like(x), batch_norm_forward(x, gamma, beta)[1]).dx
    np.testing.assert_allclose(dx, 0, atol=10 * tolerance["atol"])


@both
def test_the_sum_of_squares_as_a_loss_has_a_gradient_of_order_eps(x, dtype, backward, tolerance):
    one, zero = np.ones(3, dtype), np.zeros(3, dtype)
    y, saved = batch_norm_forward(x, one, zero, EPS)
    std = saved.std.reshape(1, 3, *(1,) * (x.ndim - 2))
    np.testing.assert_allclose(
        backward(2 * y, saved).dx, 2 * EPS * y / std**3, rtol=0, atol=10 * tolerance["atol"]
    )


@both
def test_two_values_get_nearly_no_gradient(backward):
    x = np.array([[1.0, 5.0], [4.0, -1.0]])
    dx = backward(np.array([[0.3, -2.0], [1.1, 0.7]]), batch_norm_forward(x, np.ones(2), np.zeros(2))[1]).dx
    np.testing.assert_allclose(dx, 0, atol=1e-5)
    assert np.any(dx != 0)


@both
@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_the_gradient_by_the_weights_shrinks_as_the_weights_grow(rng, backward, scale):
    u, w = rng.normal(size=(50, 4)), rng.normal(size=(4, 3))
    dy, gamma, beta = rng.normal(size=(50, 3)), rng.normal(size=3), rng.normal(size=3)

    def by_weights(w):
        return u.T @ backward(dy, batch_norm_forward(u @ w, gamma, beta, eps=0)[1]).dx

    np.testing.assert_allclose(by_weights(scale * w), by_weights(w) / scale, rtol=1e-9, atol=1e-11 / scale)
    np.testing.assert_allclose((w * by_weights(w)).sum(axis=0), 0, atol=1e-11)

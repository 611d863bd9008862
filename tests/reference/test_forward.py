import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bnlib.reference import batch_norm_forward, inference_batch_norm, normalize

EPS = 1e-2  # large enough that leaving it out, or adding it elsewhere, is seen


def torch_batch_norm(x, gamma, beta, mean=None, var=None):
    """torch's training mode, or its inference if statistics are given."""
    x, gamma, beta = map(torch.tensor, (x, gamma, beta))
    if mean is None:
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS).numpy()
    return F.batch_norm(x, torch.tensor(mean), torch.tensor(var), gamma, beta, eps=EPS).numpy()


def pooled_axes(x):
    return tuple(axis for axis in range(x.ndim) if axis != 1)


@pytest.fixture
def mean(dtype):
    return np.array([2.5, -1.0, 0.0], dtype)


@pytest.fixture
def var(dtype):
    return np.array([4.0, 0.09, 1.3], dtype)


def test_training_agrees_with_torch(x, gamma, beta, tolerance):
    y, _ = batch_norm_forward(x, gamma, beta, EPS)
    np.testing.assert_allclose(y, torch_batch_norm(x, gamma, beta), **tolerance)


def test_inference_agrees_with_torch(x, gamma, beta, mean, var, tolerance):
    y = inference_batch_norm(x, gamma, beta, mean, var, EPS)
    np.testing.assert_allclose(y, torch_batch_norm(x, gamma, beta, mean, var), **tolerance)


def test_eps_is_1e_5_unless_given(rng):
    x, one, zero = rng.normal(scale=1e-3, size=(6, 3)), np.ones(3), np.zeros(3)
    theirs = F.batch_norm(torch.tensor(x), None, None, training=True)  # torch's default is 1e-5
    np.testing.assert_allclose(batch_norm_forward(x, one, zero)[0], theirs, rtol=1e-12)
    theirs = F.batch_norm(torch.tensor(x), torch.tensor(zero), torch.tensor(zero))
    np.testing.assert_allclose(inference_batch_norm(x, one, zero, zero, zero), theirs, rtol=1e-12)


def test_both_modes_keep_shape_and_dtype(x, gamma, beta, mean, var):
    for y in (batch_norm_forward(x, gamma, beta)[0], inference_batch_norm(x, gamma, beta, mean, var)):
        assert (y.shape, y.dtype) == (x.shape, x.dtype)


def test_both_modes_leave_the_input_as_it_was(x, gamma, beta, mean, var):
    before = x.copy()
    batch_norm_forward(x, gamma, beta)
    inference_batch_norm(x, gamma, beta, mean, var)
    np.testing.assert_array_equal(x, before)


def test_the_output_has_mean_beta_and_nearly_standard_deviation_gamma(x, gamma, beta, tolerance):
    y, _ = batch_norm_forward(x, gamma, beta, EPS)
    axes = pooled_axes(x)
    var = x.var(axis=axes)
    np.testing.assert_allclose(y.mean(axis=axes), beta, **tolerance)
    np.testing.assert_allclose(y.std(axis=axes), np.abs(gamma) * np.sqrt(var / (var + EPS)), **tolerance)


def test_what_is_saved_is_what_its_names_say(x, gamma, beta, tolerance):
    _, saved = batch_norm_forward(x, gamma, beta, EPS)
    axes = pooled_axes(x)
    centered = x - x.mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(saved.centered, centered, **tolerance)
    np.testing.assert_allclose(saved.std, np.sqrt(x.var(axis=axes) + EPS), **tolerance)
    np.testing.assert_allclose(
        saved.x_hat, centered / np.sqrt(x.var(axis=axes, keepdims=True) + EPS), **tolerance
    )
    np.testing.assert_array_equal(saved.gamma, gamma)
    np.testing.assert_allclose(saved.statistics.mean, x.mean(axis=axes), **tolerance)
    np.testing.assert_allclose(saved.statistics.var, x.var(axis=axes), **tolerance)
    assert saved.statistics.count == x.size // 3


def test_normalize_divides_by_the_square_root_of_var_plus_eps():
    x = np.array([[7.0, 1.0], [1.0, 2.0]])
    x_hat = normalize(x, np.array([1.0, 2.0]), np.array([8.0, 3.0]), eps=1.0)
    np.testing.assert_allclose(x_hat, [[2.0, -0.5], [0.0, 0.0]], rtol=1e-15)


def test_gamma_and_beta_can_undo_the_normalization(x, tolerance):
    axes = pooled_axes(x)
    y, _ = batch_norm_forward(x, np.sqrt(x.var(axis=axes) + EPS), x.mean(axis=axes), EPS)
    np.testing.assert_allclose(y, x, **tolerance)


def test_inference_with_the_batchs_own_statistics_is_training(x, gamma, beta, tolerance):
    y, saved = batch_norm_forward(x, gamma, beta, EPS)
    mean, var, _ = saved.statistics
    np.testing.assert_allclose(inference_batch_norm(x, gamma, beta, mean, var, EPS), y, **tolerance)


def test_at_inference_an_example_does_not_see_its_neighbors(x, gamma, beta, mean, var):
    together = inference_batch_norm(x, gamma, beta, mean, var)
    alone = [inference_batch_norm(x[i : i + 1], gamma, beta, mean, var) for i in range(len(x))]
    np.testing.assert_array_equal(np.concatenate(alone), together)


def test_in_training_an_example_sees_its_neighbors(x, gamma, beta):
    moved = x.copy()
    moved[1:] += 1
    moved[-1] *= 2
    assert np.all(batch_norm_forward(moved, gamma, beta)[0][0] != batch_norm_forward(x, gamma, beta)[0][0])


def test_channels_do_not_see_each_other(rng, x, gamma, beta):
    moved = x.copy()
    moved[:, 0] = rng.normal(size=moved[:, 0].shape)
    before, after = batch_norm_forward(x, gamma, beta)[0], batch_norm_forward(moved, gamma, beta)[0]
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


def test_two_values_are_normalized_to_plus_and_minus_nearly_one():
    x = np.array([[1.0, 5.0], [4.0, -1.0]])
    half = np.array([-1.5, 3.0])  # half the difference
    _, saved = batch_norm_forward(x, np.ones(2), np.zeros(2), EPS)
    np.testing.assert_allclose(saved.x_hat, np.outer([1, -1], half / np.sqrt(half**2 + EPS)), rtol=1e-15)


def test_a_channel_without_spread_becomes_beta(dtype):
    y, _ = batch_norm_forward(np.full((4, 2), 3, dtype), np.ones(2, dtype), np.array([5, -6], dtype))
    np.testing.assert_array_equal(y, np.tile(np.array([5, -6], dtype), (4, 1)))


def test_a_large_mean_is_normalized_accurately_in_float32(rng):
    x = rng.normal(1e4, 1.0, size=(500, 3)).astype(np.float32)
    y, _ = batch_norm_forward(x, np.ones(3, np.float32), np.zeros(3, np.float32))
    exact, _ = batch_norm_forward(x.astype(np.float64), np.ones(3), np.zeros(3))
    np.testing.assert_allclose(y, exact, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_one_value_per_channel_is_refused_in_training(shape):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch_norm_forward(np.ones(shape), np.ones(3), np.zeros(3))


def test_one_image_with_two_positions_is_enough():
    y, _ = batch_norm_forward(np.arange(6.0).reshape(1, 3, 2, 1), np.ones(3), np.zeros(3))
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("wrong", [(2,), (4,), (1,), (3, 1)])
@pytest.mark.parametrize("which", range(4))
def test_a_vector_without_one_value_per_channel_is_refused(wrong, which):
    vectors = [np.ones(3)] * 4
    vectors[which] = np.ones(wrong)
    with pytest.raises(ValueError, match="one value per channel"):
        inference_batch_norm(np.ones((6, 3)), *vectors)
    if which < 2:
        with pytest.raises(ValueError, match="one value per channel"):
            batch_norm_forward(np.arange(18.0).reshape(6, 3), *vectors[:2])


def test_a_negative_eps_is_refused():
    with pytest.raises(ValueError, match="eps >= 0"):
        batch_norm_forward(np.eye(3), np.ones(3), np.zeros(3), eps=-1e-5)


def test_a_channel_without_spread_is_refused_without_eps():
    with pytest.raises(ValueError, match="var \\+ eps > 0"):
        batch_norm_forward(np.ones((4, 3)), np.ones(3), np.zeros(3), eps=0)
    with pytest.raises(ValueError, match="var \\+ eps > 0"):
        inference_batch_norm(np.ones((4, 3)), np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3), eps=0)


def test_the_refusal_names_the_smallest_var_plus_eps():
    with pytest.raises(ValueError, match=r"in every channel \(got -1\.5\)"):
        normalize(np.ones((4, 3)), np.zeros(3), np.array([1.0, -2.0, 0.0]), eps=0.5)


def test_inference_refuses_what_has_no_channel_axis_and_what_is_not_floating():
    vectors = [np.ones(3)] * 4
    with pytest.raises(ValueError, match="got 1D input"):
        inference_batch_norm(np.ones(3), *vectors)
    with pytest.raises(TypeError, match="floating-point"):
        inference_batch_norm(np.ones((2, 3), int), *vectors)


batches = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=5, min_side=2, max_side=3), elements=st.floats(-100, 100)
)


def x_hat(x, eps=1e-5):
    channels = x.shape[1]
    return batch_norm_forward(x, np.ones(channels), np.zeros(channels), eps)[0]


@given(batches, st.floats(-100, 100))
def test_shifting_the_input_changes_nothing(x, shift):
    np.testing.assert_allclose(x_hat(x + shift), x_hat(x), rtol=0, atol=1e-9)


@given(batches, st.floats(0.1, 10))
def test_scaling_the_input_changes_nothing_if_eps_scales_too(x, scale):
    np.testing.assert_allclose(x_hat(scale * x, scale**2 * 1e-5), x_hat(x), rtol=0, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.sampled_from([1, -1]))
def test_scaling_the_input_keeps_all_but_the_sign_without_eps(seed, scale, sign):
    x = np.random.default_rng(seed).normal(size=(6, 3))
    np.testing.assert_allclose(x_hat(sign * scale * x, 0), sign * x_hat(x, 0), rtol=1e-10, atol=1e-10)


@given(batches, st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_output(x, random):
    order = list(range(len(x)))
    random.shuffle(order)
    np.testing.assert_allclose(x_hat(x[order]), x_hat(x)[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("scale", "eps", "deviation"), [(10, 0, 0), (10, 1e-5, 1e-4), (0.01, 0, 0)])
def test_the_scale_of_the_weights_does_not_matter_up_to_eps(rng, scale, eps, deviation):
    u, w = rng.normal(size=(50, 4)), rng.normal(size=(4, 3))
    np.testing.assert_allclose(x_hat(u @ (scale * w), eps), x_hat(u @ w, eps), atol=deviation + 1e-12)


def test_the_scale_of_small_weights_matters_when_there_is_an_eps(rng):
    u, w = rng.normal(size=(50, 4)), rng.normal(size=(4, 3))
    assert np.max(np.abs(x_hat(u @ (0.01 * w)) - x_hat(u @ w))) > 1e-3

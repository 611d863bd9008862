import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bnlib.reference import fold_batch_norm, inference_batch_norm

EPS = 1e-2  # large enough that leaving it out is seen
CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def random_norm(rng, channels, dtype="float64"):
    """gamma, beta, mean, var."""
    drawn = (rng.normal(size=channels), rng.normal(size=channels), rng.normal(3, 1, size=channels))
    return [v.astype(dtype) for v in (*drawn, rng.uniform(0.01, 4, size=channels))]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_a_folded_linear_layer_is_the_layer_and_its_norm(seed, inputs, outputs, with_bias):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, inputs))
    bias = rng.normal(size=outputs) if with_bias else None
    norm = random_norm(rng, outputs)
    u = rng.normal(size=(7, inputs))
    unfolded = inference_batch_norm(u @ weight.T + (bias if with_bias else 0), *norm, EPS)
    weight, bias = fold_batch_norm(weight, bias, *norm, EPS)
    np.testing.assert_allclose(u @ weight.T + bias, unfolded, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dimensions", CONVOLUTIONS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_folded_convolution_is_the_convolution_and_torchs_norm(rng, dimensions, with_bias):
    kernel = (3, 2, 3)[: dimensions - 2]
    weight = torch.tensor(rng.normal(size=(3, 2, *kernel)))
    bias = torch.tensor(rng.normal(size=3)) if with_bias else None
    gamma, beta, mean, var = norm = random_norm(rng, 3)
    x = torch.tensor(rng.normal(size=(2, 2, *(5, 6, 4)[: dimensions - 2])))
    convolution = CONVOLUTIONS[dimensions]
    unfolded = F.batch_norm(
        convolution(x, weight, bias, padding=1),
        *map(torch.tensor, (mean, var, gamma, beta)),
        eps=EPS,
    )
    folded = fold_batch_norm(weight.numpy(), bias.numpy() if with_bias else None, *norm, EPS)
    np.testing.assert_allclose(
        convolution(x, *map(torch.tensor, folded), padding=1), unfolded, rtol=1e-10, atol=1e-10
    )


def test_eps_is_1e_5_unless_given():
    weight, bias = fold_batch_norm(np.ones((1, 1)), None, np.ones(1), np.zeros(1), np.ones(1), np.zeros(1))
    np.testing.assert_allclose(weight, 1e-5**-0.5, rtol=1e-12)
    np.testing.assert_allclose(bias, -(1e-5**-0.5), rtol=1e-12)


@pytest.mark.parametrize("bias", [np.zeros(3), None])
def test_folding_keeps_shape_and_dtype(rng, dtype, bias):
    weight = rng.normal(size=(3, 2, 3, 3)).astype(dtype)
    bias = None if bias is None else bias.astype(dtype)
    folded, shift = fold_batch_norm(weight, bias, *random_norm(rng, 3, dtype))
    assert (folded.shape, folded.dtype) == (weight.shape, dtype)
    assert (shift.shape, shift.dtype) == ((3,), dtype)


def test_folding_leaves_its_arguments_as_they_were(rng):
    arguments = [rng.normal(size=(3, 2)), rng.normal(size=3), *random_norm(rng, 3)]
    before = [a.copy() for a in arguments]
    fold_batch_norm(*arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("which", ["bias", "gamma", "beta", "mean", "var"])
@pytest.mark.parametrize("length", [2, 4])
def test_a_vector_without_one_value_per_output_is_refused(which, length):
    vectors = dict.fromkeys(("bias", "gamma", "beta", "mean", "var"), np.ones(3)) | {which: np.ones(length)}
    with pytest.raises(ValueError, match=rf"{which} of shape \(3,\) \(got \({length},\)\)"):
        fold_batch_norm(np.ones((3, 2)), **vectors)

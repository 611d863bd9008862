import inspect

import pytest
import torch
import torch.nn.functional as F

from bnlib import reference
from bnlib.layers import (
    batch_statistics,
    inference_batch_norm,
    normalize,
    scale_and_shift,
    training_batch_norm,
)

EPS = 1e-2  # large enough that leaving it out, or adding it elsewhere, is seen

dense_or_convolution = pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)], ids=str, indirect=True)
double = pytest.mark.parametrize("dtype", [torch.float64], ids=str, indirect=True)


@pytest.fixture
def mean(dtype):
    return torch.tensor([2.5, -1.0, 0.0], dtype=dtype)


@pytest.fixture
def var(dtype):
    return torch.tensor([4.0, 0.09, 1.3], dtype=dtype)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (training_batch_norm, ["X", "gamma", "beta", "eps"]),
        (inference_batch_norm, ["X", "gamma", "beta", "running_mean", "running_var", "eps"]),
    ],
)
def test_the_signatures_are_those_of_the_book(function, names):
    parameters = inspect.signature(function).parameters
    assert list(parameters) == names
    assert parameters["eps"].default == 1e-5


@dense_or_convolution
def test_training_agrees_with_torch(x, gamma, beta, agree):
    theirs = F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
    agree(training_batch_norm(x, gamma, beta, EPS), theirs)


@dense_or_convolution
def test_inference_agrees_with_torch(x, gamma, beta, mean, var, agree):
    theirs = F.batch_norm(x, mean, var, gamma, beta, eps=EPS)
    agree(inference_batch_norm(x, gamma, beta, mean, var, EPS), theirs)


def test_the_three_steps_make_torchs_batch_norm_at_any_rank(x, gamma, beta, agree):
    y = scale_and_shift(normalize(x, *batch_statistics(x)[:2], EPS), gamma, beta)
    agree(y, F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS))


def test_statistics_are_the_mean_and_the_biased_variance_of_each_channel(x, agree):
    values = x.transpose(0, 1).flatten(1)
    mean, var, count = batch_statistics(x)
    assert type(batch_statistics(x)) is reference.Statistics
    assert count == values.shape[1]
    agree(mean, values.mean(dim=1))
    agree(var, torch.diag(torch.cov(values, correction=0)))


@dense_or_convolution
def test_the_gradients_are_those_of_torch(x, gamma, beta, dy, agree):
    inputs = [v.requires_grad_() for v in (x, gamma, beta)]
    ours = torch.autograd.grad(training_batch_norm(*inputs, EPS), inputs, dy)
    theirs = torch.autograd.grad(F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS), inputs, dy)
    for a, b in zip(ours, theirs, strict=True):
        agree(a, b, times=10)


@dense_or_convolution
@double
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_the_gradients_are_those_of_central_differences(x, gamma, beta, check):
    inputs = [v.requires_grad_() for v in (x[:2, ..., :2] if x.ndim == 4 else x, gamma, beta)]
    assert check(lambda *v: training_batch_norm(*v, EPS), inputs)


@dense_or_convolution
def test_torch_and_numpy_agree(x, gamma, beta, mean, var, agree):
    arrays = [v.numpy() for v in (x, gamma, beta, mean, var)]
    y, _ = reference.batch_norm_forward(*arrays[:3], EPS)
    agree(training_batch_norm(x, gamma, beta, EPS), torch.from_numpy(y))
    y = reference.inference_batch_norm(*arrays, EPS)
    agree(inference_batch_norm(x, gamma, beta, mean, var, EPS), torch.from_numpy(y))


@dense_or_convolution
def test_inference_takes_a_batch_of_one(x, gamma, beta, mean, var):
    together = inference_batch_norm(x, gamma, beta, mean, var)
    alone = inference_batch_norm(x[:1], gamma, beta, mean, var)
    torch.testing.assert_close(alone, together[:1], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(3,), (4, 3, 5), (2, 3, 4, 5, 6)])
def test_what_is_neither_dense_nor_convolutional_is_refused(shape):
    v = torch.ones(3)
    with pytest.raises(ValueError, match=rf"2D \(dense\) or 4D \(convolution\) input \(got {len(shape)}D"):
        training_batch_norm(torch.ones(shape), v, v)
    with pytest.raises(ValueError, match=rf"2D \(dense\) or 4D \(convolution\) input \(got {len(shape)}D"):
        inference_batch_norm(torch.ones(shape), v, v, v, v)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3), (2, 3, 0, 5)])
def test_one_value_per_channel_or_none_is_refused_in_training(shape):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        training_batch_norm(torch.ones(shape), torch.ones(3), torch.ones(3))


def test_one_image_with_two_positions_is_enough():
    y = training_batch_norm(torch.arange(6.0).reshape(1, 3, 2, 1), torch.ones(3), torch.zeros(3))
    assert torch.all(torch.isfinite(y))


@pytest.mark.parametrize("name", ["gamma", "beta", "running_mean", "running_var"])
@pytest.mark.parametrize("shape", [(2,), (1,), (3, 1)], ids=str)
def test_a_vector_without_one_value_per_channel_is_refused(name, shape):
    names = ("gamma", "beta", "running_mean", "running_var")
    vectors = dict.fromkeys(names, torch.ones(3)) | {name: torch.ones(shape)}
    with pytest.raises(ValueError, match=rf"expected {name} of shape \(3,\)"):
        inference_batch_norm(torch.ones(6, 3), **vectors)
    if name in names[:2]:
        with pytest.raises(ValueError, match=rf"expected {name} of shape \(3,\)"):
            training_batch_norm(torch.ones(6, 3), vectors["gamma"], vectors["beta"])


@pytest.mark.parametrize("mean", [1e3, 1e4])
def test_the_variance_survives_a_large_mean_in_float32(generator, mean):
    x = mean + torch.randn(1000, 3, generator=generator)
    var = batch_statistics(x).var
    torch.testing.assert_close(var.double(), x.double().var(dim=0, correction=0), rtol=1e-3, atol=0)


@dense_or_convolution
def test_eps_is_1e_5_unless_given(x, gamma, beta, mean, var, agree):
    x, var = 1e-3 * x, 1e-6 * var  # small, so that eps is seen
    theirs = F.batch_norm(x, None, None, gamma, beta, training=True)  # torch's default is 1e-5
    agree(training_batch_norm(x, gamma, beta), theirs)
    theirs = F.batch_norm(x, 1e-3 * mean, var, gamma, beta)
    agree(inference_batch_norm(x, gamma, beta, 1e-3 * mean, var), theirs)

import pytest
import torch
import torch.nn.functional as F

from bnlib import reference
from bnlib.layers import handmade_batch_norm

EPS = 1e-2  # large enough that leaving it out, or adding it elsewhere, is seen

double = pytest.mark.parametrize("dtype", [torch.float64], ids=str, indirect=True)


def torch_batch_norm(x, gamma, beta):
    return F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)


@pytest.fixture
def inputs(x, gamma, beta):
    return [v.requires_grad_() for v in (x, gamma, beta)]


def test_the_output_is_torchs(inputs, agree):
    agree(handmade_batch_norm(*inputs, EPS), torch_batch_norm(*inputs))


def test_eps_is_1e_5_unless_given(inputs, agree):
    agree(handmade_batch_norm(*inputs), F.batch_norm(inputs[0], None, None, *inputs[1:], training=True))


def test_the_gradients_are_those_of_torch(inputs, dy, agree):
    ours = torch.autograd.grad(handmade_batch_norm(*inputs, EPS), inputs, dy)
    theirs = torch.autograd.grad(torch_batch_norm(*inputs), inputs, dy)
    for a, b in zip(ours, theirs, strict=True):
        agree(a, b, times=10)


def test_the_gradients_are_those_of_the_reference(inputs, dy, agree):
    ours = torch.autograd.grad(handmade_batch_norm(*inputs, EPS), inputs, dy)
    _, saved = reference.batch_norm_forward(*(v.detach().numpy() for v in inputs), EPS)
    for a, b in zip(ours, reference.batch_norm_backward_stepwise(dy.numpy(), saved), strict=True):
        agree(a, torch.from_numpy(b), times=10)


@double
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2), (2, 3, 2, 2), (2, 3, 2, 1, 2)], ids=str, indirect=True)
def test_both_derivatives_are_those_of_central_differences(inputs, check):
    assert check(lambda *v: handmade_batch_norm(*v, EPS), inputs)


@pytest.mark.parametrize("wanted", range(3))
def test_a_gradient_can_be_asked_for_alone(x, gamma, beta, dy, agree, wanted):
    inputs = [x, gamma, beta]
    inputs[wanted].requires_grad_()
    (ours,) = torch.autograd.grad(handmade_batch_norm(*inputs, EPS), inputs[wanted], dy)
    (theirs,) = torch.autograd.grad(torch_batch_norm(*inputs), inputs[wanted], dy)
    agree(ours, theirs, times=10)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (0, 3), (2, 3, 0)], ids=str)
def test_one_value_per_channel_or_none_is_refused(shape):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        handmade_batch_norm(torch.ones(shape), torch.ones(3), torch.ones(3))


def test_input_without_a_channel_axis_is_refused():
    with pytest.raises(ValueError, match=r"\(N, C, \*spatial\) \(got 1D input\)"):
        handmade_batch_norm(torch.ones(3), torch.ones(3), torch.ones(3))

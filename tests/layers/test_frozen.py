"""Frozen means frozen: what torch.nn does in eval mode, ours does in both."""

import copy

import pytest
import torch

from bnlib.layers import FrozenBatchNorm

modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])


@modes
@pytest.mark.parametrize("affine", [True, False])
def test_it_does_in_both_modes_what_torch_does_at_inference(x, twins, train_alike, mode, affine):
    _, theirs = twins(x.ndim, 3, affine=affine, mode=False, dtype=x.dtype)
    frozen = FrozenBatchNorm(3, affine=affine, dtype=x.dtype).train(mode)
    frozen.load_state_dict(theirs.state_dict())
    train_alike(frozen, theirs, x)


@pytest.mark.parametrize("dtype", [torch.float64], ids=str, indirect=True)
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 2, 2)], ids=str, indirect=True)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_both_derivatives_in_training_are_those_of_central_differences(x, unlike_new, check):
    norm = unlike_new(FrozenBatchNorm(3, dtype=x.dtype))

    def call(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    assert check(call, [x.requires_grad_(), *norm.parameters()])


def test_one_value_per_channel_is_enough_in_training(twins):
    x, (ours, theirs) = torch.tensor([[1.0, -2.0, 3.0]]), twins(2, 3, mode=False)
    norm = FrozenBatchNorm(3)
    norm.load_state_dict(ours.state_dict())
    torch.testing.assert_close(norm(x), theirs(x))


@modes
def test_a_batch_with_nan_leaves_no_trace(x, unlike_new, mode, same_state):
    norm = unlike_new(FrozenBatchNorm(3, dtype=x.dtype)).train(mode)
    before = copy.deepcopy(norm)
    x[0] = torch.nan
    norm(x)
    same_state(norm, before)


def test_parameters_that_do_not_require_gradients_get_none(x, unlike_new):
    norm = unlike_new(FrozenBatchNorm(3, dtype=x.dtype)).requires_grad_(False)
    norm(x.requires_grad_()).square().sum().backward()
    assert norm.weight.grad is norm.bias.grad is None
    assert torch.all(x.grad != 0)


@modes
def test_another_number_of_channels_is_refused(mode):
    with pytest.raises(RuntimeError, match=r"3 channels \(got 2\)"):
        FrozenBatchNorm(3).train(mode)(torch.randn(6, 2))


@modes
@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
def test_without_both_running_statistics_it_refuses_to_work(missing, mode):
    norm = FrozenBatchNorm(3).train(mode)
    setattr(norm, missing, None)
    with pytest.raises(ValueError, match=r"running statistics \(got none\)"):
        norm(torch.randn(6, 3))

"""Checkpointing: the same gradients from less memory, and each batch counted once."""

import copy

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from bnlib.layers import (
    BatchNorm1d,
    FrozenBatchNorm,
    GuardedBatchNorm,
    MaskedBatchNorm,
    checkpoint,
    hold_statistics,
)

kinds = pytest.mark.parametrize("kind", [nn.BatchNorm1d, BatchNorm1d, GuardedBatchNorm])
modes = pytest.mark.parametrize("mode", [True, False])


@pytest.fixture
def block(kind, generator):
    def layer(inputs, outputs):
        linear = nn.Linear(inputs, outputs)
        for p in linear.parameters():
            p.data = torch.randn(p.shape, generator=generator)
        return linear

    return nn.Sequential(layer(4, 3), kind(3), nn.Tanh(), layer(3, 3), kind(3, momentum=None)).double()


@pytest.fixture
def x(generator):
    return torch.randn(6, 4, generator=generator, dtype=torch.float64)


@kinds
@modes
def test_outputs_gradients_and_statistics_are_those_without_checkpointing(
    block, x, generator, same_state, mode
):
    plain = copy.deepcopy(block)
    for step in range(3):
        for module in (block, plain):
            module.train(mode if step else True)
        x, x_plain = x.detach().requires_grad_(), x.detach().requires_grad_()
        y, y_plain = checkpoint(block, x), plain(x_plain)
        dy = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        y.backward(dy), y_plain.backward(dy)
        torch.testing.assert_close(y, y_plain, rtol=0, atol=0)
        torch.testing.assert_close(x.grad, x_plain.grad, rtol=0, atol=0)
        for p, q in zip(block.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=0)
        same_state(block, plain)


@pytest.mark.parametrize("reentrant", [True, False])
def test_plain_checkpointing_counts_a_batch_twice(x, reentrant):
    # why `checkpoint` exists; if torch ever cures this, it can go
    for norm in (nn.BatchNorm1d(4).double(), BatchNorm1d(4).double()):
        # not the norm alone: torch stops the second forward once it has all that it wanted
        block = nn.Sequential(norm, nn.Tanh())
        y = torch.utils.checkpoint.checkpoint(block, x.requires_grad_(), use_reentrant=reentrant)
        y.square().sum().backward()
        assert norm.num_batches_tracked == 2


@kinds
def test_the_forward_is_run_again_in_the_backward_pass(block, x):
    calls = []
    block[0].register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    y = checkpoint(block, x.requires_grad_())
    assert len(calls) == 1
    y.square().sum().backward()
    assert len(calls) == 2


@kinds
def test_a_second_backward_pass_takes_a_third_forward_and_counts_nothing_either(block, x, same_state):
    plain = copy.deepcopy(block)
    for module, forward in ((block, checkpoint), (plain, lambda module, x: module(x))):
        y = forward(module, x.requires_grad_())
        y.square().sum().backward(retain_graph=True)
        (dx,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        dx.square().sum().backward()
    for p, q in zip(block.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-12)
    same_state(block, plain)


def test_keywords_are_handed_on(x):
    norm = MaskedBatchNorm(4).double()
    y = checkpoint(norm, x.requires_grad_(), mask=torch.ones(6, dtype=torch.bool))
    y.pow(3).sum().backward()
    assert norm.num_batches_tracked == 1


@kinds
@modes
def test_holding_the_statistics_changes_no_output_and_moves_nothing(block, x, same_state, mode):
    block(x)
    plain, before = copy.deepcopy(block).train(mode), copy.deepcopy(block)
    block.train(mode)
    with hold_statistics(block):
        y = block(x + 1)
    torch.testing.assert_close(y, plain(x + 1), rtol=0, atol=0)
    same_state(block, before)


def test_a_norm_itself_can_be_held(x):
    norm = BatchNorm1d(4).double()
    with hold_statistics(norm):
        norm(x)
    assert norm.num_batches_tracked == 0
    norm(x)
    assert norm.num_batches_tracked == 1


def test_a_frozen_norm_is_held_as_it_is(x):
    norm = FrozenBatchNorm(4).double()
    with hold_statistics(norm):
        torch.testing.assert_close(norm(x), x, rtol=1e-5, atol=0)


def test_nothing_but_norms_is_held(x):
    class Counting(nn.Sequential):
        def forward(self, x):
            self.count += 1
            return super().forward(x)

    model = Counting(BatchNorm1d(4).double())
    model.register_buffer("count", torch.tensor(0))
    with hold_statistics(model):
        model(x)
    assert (model.count, model[0].num_batches_tracked) == (1, 0)


def test_an_error_inside_lets_go_again(x):
    model = nn.Sequential(nn.BatchNorm1d(4), BatchNorm1d(4, track_running_stats=False)).double()
    before = dict(model.named_buffers())
    with pytest.raises(KeyError), hold_statistics(model):
        model(x)
        raise KeyError
    assert dict(model.named_buffers()).keys() == before.keys()
    assert all(buffer is before[name] for name, buffer in model.named_buffers())
    assert model[0].num_batches_tracked == 0


def test_an_instance_norm_is_held_too(x):
    norm = nn.InstanceNorm1d(4, track_running_stats=True).double()
    with hold_statistics(norm):
        norm(x.reshape(2, 4, 3))
    assert norm.num_batches_tracked == 0


def test_holding_can_be_entered_again_and_from_within(x):
    norm = BatchNorm1d(4).double()
    before, hold = dict(norm.named_buffers()), hold_statistics(norm)
    for _ in range(2):
        with hold:
            norm(x)
            with hold:
                norm(x)
            assert norm.num_batches_tracked == 1  # the inner block's batch is forgotten with it
    assert all(buffer is before[name] for name, buffer in norm.named_buffers())
    assert norm.num_batches_tracked == 0

"""Checkpointing: the same gradients from less memory, and each batch counted once."""

import copy
import subprocess
import sys
from contextlib import nullcontext

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


def test_torchs_own_keywords_go_to_torch_and_the_rest_to_the_forward(x):
    class Noting(nn.Sequential):
        def forward(self, x, **keywords):
            noted.append(keywords)
            return super().forward(x)

    noted, ended = [], []
    model = Noting(BatchNorm1d(4).double(), nn.Identity())
    model[1].register_forward_hook(lambda *_: ended.append(True))
    own = {"preserve_rng_state": False, "determinism_check": "none", "debug": False, "early_stop": False}
    y = checkpoint(model, x.requires_grad_(), use_reentrant=False, gain=2, **own)
    y.pow(3).sum().backward()
    assert noted == [{"gain": 2}] * 2
    assert len(ended) == 2  # stopped early, the second forward would not get here
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(model, x, determinism_check="strange")


@pytest.mark.parametrize("reentrant", [True, None])
def test_a_reentrant_checkpoint_is_refused_and_moves_nothing(x, reentrant):
    norm = BatchNorm1d(4).double()
    with pytest.raises(ValueError, match=rf"expected use_reentrant=False \(got {reentrant}\)"):
        checkpoint(norm, x, use_reentrant=reentrant)
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("contexts", [None, lambda: (nullcontext(), nullcontext())])
def test_a_context_of_ones_own_is_refused_and_moves_nothing(x, contexts):
    norm = BatchNorm1d(4).double()
    with pytest.raises(ValueError, match=r"expected no context_fn \(got one\)"):
        checkpoint(norm, x, context_fn=contexts)
    assert norm.num_batches_tracked == 0


def test_a_function_is_refused_and_what_the_error_advises_counts_once(x):
    norm = BatchNorm1d(4).double()
    for function, name in ((lambda x: norm(x), "function"), (norm.forward, "method")):
        with pytest.raises(TypeError, match=rf"expected an nn.Module \(got {name}\)"):
            checkpoint(function, x)
    assert norm.num_batches_tracked == 0
    contexts = {"context_fn": lambda: (nullcontext(), hold_statistics(norm))}
    y = torch.utils.checkpoint.checkpoint(
        lambda x: norm(x), x.requires_grad_(), use_reentrant=False, **contexts
    )
    y.pow(3).sum().backward()
    assert norm.num_batches_tracked == 1


# --- compiled

# torch's own, at every break that a computed tensor crosses, where warnings are errors
across_a_break = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@across_a_break
@kinds
@modes
def test_inside_a_compiled_model_each_batch_is_counted_once(block, x, generator, same_state, mode):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, x):
            # on both sides of the break there is something to compile
            return checkpoint(self.block, x.tanh() + 1, use_reentrant=False).square() - 1

    torch.compiler.reset()
    model = Model().train(mode)
    plain = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager")
    for rows in (6, 9):
        x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
        dy = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
        x_plain, x = x.clone().requires_grad_(), x.requires_grad_()
        compiled(x).backward(dy), plain(x_plain).backward(dy)
        torch.testing.assert_close(x.grad, x_plain.grad, rtol=1e-12, atol=1e-12)
        same_state(model, plain, 1e-12)
    assert block[1].num_batches_tracked == (2 if mode else 0)


def test_inside_a_compiled_program_the_errors_are_the_same(x):
    torch.compiler.reset()
    norm = BatchNorm1d(4).double()
    wrong = torch.compile(lambda x: checkpoint(norm, x, use_reentrant=True), backend="aot_eager")
    with pytest.raises(ValueError, match="expected use_reentrant=False"):
        wrong(x)


@across_a_break
@kinds
def test_statistics_are_held_in_a_compiled_program(block, kind, x, same_state):
    # the others branch on a value: on whether it is finite, or on the count
    @torch.compile(fullgraph=kind is BatchNorm1d, backend="aot_eager")
    def held(x):
        with hold_statistics(block):
            return block(x)

    torch.compiler.reset()
    before, plain = copy.deepcopy(block), copy.deepcopy(block)
    torch.testing.assert_close(held(x), plain(x), rtol=1e-12, atol=1e-12)
    same_state(block, before)


def test_importing_the_layers_does_not_load_the_compiler():
    program = "import sys, bnlib.layers; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


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

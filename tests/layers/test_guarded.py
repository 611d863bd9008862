"""Guarded: one bad batch spoils torch.nn's statistics for ever, and ours not at all."""

import copy
import shutil

import pytest
import torch
from torch import nn

from bnlib.layers import BatchNorm, GuardedBatchNorm, SkippingBatchNorm

guarded = pytest.mark.parametrize("guarded", [GuardedBatchNorm, SkippingBatchNorm])
bad = pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
momenta = pytest.mark.parametrize("momentum", [0.1, None])


def spoil(x, value):
    """One bad value, in channel 1."""
    spoiled = x.clone()
    spoiled[(0, 1, *(0,) * (x.ndim - 2))] = value
    return spoiled


@bad
@momenta
def test_one_bad_batch_poisons_torch_for_ever_and_ours_not_at_all(new_batch, pair, value, momentum, agree):
    arguments = {"momentum": momentum, "dtype": new_batch().dtype}
    ours = SkippingBatchNorm(3, **arguments)
    theirs, never = (pair(new_batch().ndim, 3, **arguments)[1] for _ in range(2))
    for i in range(30):
        batch = new_batch()
        if i == 5:
            ours(spoil(batch, value)), theirs(spoil(batch, value))
        else:
            ours(batch), theirs(batch), never(batch)
    assert theirs.running_var.isnan().tolist() == [False, True, False]
    assert not theirs.running_mean[1].isfinite()
    assert theirs.eval()(new_batch())[:, 1].isnan().all()
    agree(ours.running_mean, never.running_mean, times=50)
    agree(ours.running_var, never.running_var, times=50)
    assert ours.num_batches_tracked == never.num_batches_tracked == 29


@bad
@momenta
def test_the_default_raises_names_the_channels_and_moves_nothing(x, unlike_new, same_state, value, momentum):
    norm = unlike_new(GuardedBatchNorm(3, momentum=momentum, dtype=x.dtype))
    before = copy.deepcopy(norm)
    with pytest.raises(
        ValueError, match=r"finite batch statistics \(got NaN or infinity in channels \[1\]\)"
    ):
        norm(spoil(x, value))
    same_state(norm, before)
    norm(x), before(x)
    same_state(norm, before)


@bad
def test_a_skipped_batch_moves_no_channel_and_is_not_hidden(x, unlike_new, same_state, value):
    norm = unlike_new(SkippingBatchNorm(3, dtype=x.dtype))
    before = copy.deepcopy(norm)
    y = norm(spoil(x, value))
    same_state(norm, before)
    assert y[:, 1].isnan().any()
    assert y[:, ::2].isfinite().all()


@guarded
@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"affine": False}], ids=str)
def test_finite_batches_are_treated_as_by_torch(new_batch, twins, train_alike, guarded, arguments):
    _, theirs = twins(new_batch().ndim, 3, **arguments, dtype=new_batch().dtype)
    ours = guarded(3, **arguments, dtype=new_batch().dtype)
    ours.load_state_dict(theirs.state_dict())
    for mode in (True, True, True, False):
        train_alike(ours.train(mode), theirs.train(mode), new_batch())


def test_finite_values_whose_variance_overflows_are_refused_or_skipped(unlike_new):
    x = torch.tensor([[1e30, 1.0], [-1e30, 2.0]])
    theirs, ours = nn.BatchNorm1d(2), GuardedBatchNorm(2)
    theirs(x)
    assert theirs.running_var.isinf().tolist() == [True, False]
    with pytest.raises(ValueError, match=r"channels \[0\]"):
        ours(x)
    skipping = unlike_new(SkippingBatchNorm(2))
    assert (skipping(x)[:, 0] == skipping.bias[0]).all()


def test_a_variance_too_large_for_a_half_buffer_is_refused(same_state):
    x = torch.tensor([[1e3, 1.0], [-1e3, 2.0]], dtype=torch.float16)  # computed in float32, kept in float16
    plain, norm = BatchNorm(2).half(), GuardedBatchNorm(2).half()
    plain(x)
    assert not (plain.running_mean.isfinite() & plain.running_var.isfinite())[0]
    with pytest.raises(ValueError, match=r"channels \[0\]"):
        norm(x)
    same_state(norm, BatchNorm(2).half())


@guarded
@pytest.mark.parametrize("x", [torch.full((6, 3), torch.nan)], ids=["all NaN"])
def test_nothing_is_guarded_where_nothing_is_kept(x, unlike_new, same_state, guarded):
    for norm in (unlike_new(guarded(3)).eval(), guarded(3, track_running_stats=False)):
        before = copy.deepcopy(norm)
        assert norm(x).isnan().all()
        same_state(norm, before)


def test_a_subclass_says_what_else_to_do(x, same_state):
    class Noting(GuardedBatchNorm):
        def refuse(self, bad):
            self.noted = bad

    norm = Noting(3, dtype=x.dtype)
    norm(spoil(x, torch.nan))
    assert norm.noted.tolist() == [False, True, False]
    same_state(norm, BatchNorm(3, dtype=x.dtype))


@guarded
def test_one_value_per_channel_is_refused_as_by_the_layer(guarded):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        guarded(3)(torch.ones(1, 3))


def test_a_mean_too_large_for_a_half_buffer_is_refused(same_state):
    norm = GuardedBatchNorm(2).half()
    with pytest.raises(ValueError, match=r"channels \[0\]"):
        norm.keep(torch.tensor([1e5, 1.0]), torch.ones(2))
    same_state(norm, BatchNorm(2).half())


@bad
def test_of_a_population_the_skipping_norm_counts_what_it_does_not_skip(x, value):
    norm = SkippingBatchNorm(3, dtype=x.dtype)
    assert norm.counted(x) is x
    assert norm.counted(spoil(x, value)).shape == (0, *x.shape[1:])


def test_of_a_population_a_batch_too_large_for_the_buffers_does_not_count():
    norm = SkippingBatchNorm(2).half()
    assert len(norm.counted(torch.tensor([[1e3, 1.0], [-1e3, 2.0]], dtype=torch.float16))) == 0


# --- computed, not branched


def test_the_skipping_norm_asks_for_no_value():
    norm = SkippingBatchNorm(3, device="meta")  # tensors with shapes and no values
    assert norm(torch.empty(6, 3, device="meta")).shape == (6, 3)


@momenta
def test_without_a_count_a_bad_batch_is_skipped_too(x, unlike_new, same_state, momentum):
    norm = unlike_new(SkippingBatchNorm(3, momentum=momentum, dtype=x.dtype))
    norm.num_batches_tracked = None
    before = copy.deepcopy(norm)
    norm(spoil(x, torch.nan))
    same_state(norm, before)
    norm(x)
    moved = not torch.equal(norm.running_mean, before.running_mean)
    assert moved == (momentum is not None)  # as in torch.nn


def compiled(norm, x, **arguments):
    torch.compiler.reset()
    norm.compile(fullgraph=True, **arguments)
    return norm


def exported(norm, x):
    return torch.export.export(norm, (x,)).module()


def traced(norm, x):
    return torch.jit.trace(norm, x, check_trace=False)


def inductor(norm, x):
    return compiled(norm, x)


def aot_eager(norm, x):
    return compiled(norm, x, backend="aot_eager")


no_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the default backend compiles C++")
records = [pytest.param(exported, id="export"), pytest.param(traced, id="trace")]
programs = [
    pytest.param(aot_eager, id="compile"),
    pytest.param(inductor, id="compile by the default backend", marks=no_compiler),
    *records,
]
one_shape = pytest.mark.parametrize("shape", [(4, 3, 5)], ids=str, indirect=True)
# torch's own: that TorchScript is old, and that a trace takes shapes for fixed
quiet = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")


@quiet
@one_shape
@momenta
@pytest.mark.parametrize("program", programs)
def test_a_program_skips_what_the_layer_skips(
    new_batch, unlike_new, agree, same_state, tolerance, program, momentum
):
    norm = SkippingBatchNorm(3, momentum=momentum, dtype=new_batch().dtype)
    program, plain = program(unlike_new(norm), new_batch()), copy.deepcopy(norm)
    plain.load_state_dict(program.state_dict())  # to trace is to run
    started = plain.num_batches_tracked.item()
    for value in (None, torch.nan, None, torch.inf, -torch.inf):
        x = new_batch() if value is None else spoil(new_batch(), value)
        y, y_plain = program(x), plain(x)
        agree(y.nan_to_num(7), y_plain.nan_to_num(7), times=10)
        # a trace takes m / (m - 1) in float32, of tensors
        same_state(program, plain, max(10 * tolerance, 1e-6))
    assert plain.num_batches_tracked == started + 2
    assert plain.running_var.isfinite().all()


@quiet
@one_shape
@pytest.mark.parametrize("program", records)
def test_a_recorded_program_cannot_raise_so_the_default_is_not_recorded(x, same_state, program):
    norm = GuardedBatchNorm(3, dtype=x.dtype)
    with pytest.raises(RuntimeError, match=r"\(got traced or exported, .*take a SkippingBatchNorm"):
        program(norm, x)
    same_state(norm, BatchNorm(3, dtype=x.dtype))
    norm.eval()
    torch.testing.assert_close(program(norm, x)(x), norm(x))


@one_shape
def test_compiled_the_default_raises_as_the_layer_does(x, agree, same_state):
    torch.compiler.reset()
    norm, plain = GuardedBatchNorm(3, dtype=x.dtype), BatchNorm(3, dtype=x.dtype)
    program = torch.compile(norm, backend="aot_eager")
    agree(program(x), plain(x), times=10)
    before = copy.deepcopy(norm)
    with pytest.raises(ValueError, match=r"channels \[1\]"):
        program(spoil(x, torch.nan))
    same_state(norm, before)


@one_shape
def test_compiled_in_one_graph_the_default_is_refused(x, same_state):
    norm = GuardedBatchNorm(3, dtype=x.dtype)
    with pytest.raises(RuntimeError, match="Data-dependent branching"):
        aot_eager(norm, x)(x)
    same_state(norm, BatchNorm(3, dtype=x.dtype))

"""Guarded: one bad batch spoils torch.nn's statistics for ever, and ours not at all."""

import copy

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


def test_finite_values_whose_variance_overflows_are_refused():
    x = torch.tensor([[1e30, 1.0], [-1e30, 2.0]])
    theirs, ours = nn.BatchNorm1d(2), GuardedBatchNorm(2)
    theirs(x)
    assert theirs.running_var.isinf().tolist() == [True, False]
    with pytest.raises(ValueError, match=r"channels \[0\]"):
        ours(x)


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

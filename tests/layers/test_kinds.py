"""What is a batch norm? One answer for ours, torch.nn's, and what only looks like one."""

import copy

import pytest
import torch
from torch import nn

from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm3d,
    BatchNormBase,
    BatchRenorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    GuardedBatchNorm,
    MaskedBatchNorm,
    SkippingBatchNorm,
    counted,
    input_ranks,
    is_batch_norm,
    keeps_statistics,
    may_move_buffers,
    only_normalizes,
)


class WithReLU(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x).relu()


class WithOtherStatistics(BatchNorm):
    def statistics(self, x):
        return x.amin(0), x.amax(0)


class InPairs(GhostBatchNorm):
    def __init__(self, num_features, **keywords):
        super().__init__(num_features, 2, **keywords)


PLAIN = [
    *(BatchNorm, BatchNorm1d, FrozenBatchNorm, GuardedBatchNorm, SkippingBatchNorm, InPairs, BatchRenorm),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
]
BATCH_NORMS = [*PLAIN, MaskedBatchNorm, WithReLU, WithOtherStatistics]
OTHERS = [
    nn.LayerNorm(3),
    nn.GroupNorm(1, 3),
    nn.Linear(3, 3),
    nn.InstanceNorm1d(3, track_running_stats=True),
]


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_what_is_a_batch_norm_may_move_buffers_and_keeps_statistics_unless_frozen(kind):
    assert is_batch_norm(kind(3))
    assert may_move_buffers(kind(3))
    assert keeps_statistics(kind(3)) == (kind is not FrozenBatchNorm)
    assert not keeps_statistics(kind(3, track_running_stats=False))


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: type(other).__name__)
def test_what_is_no_batch_norm_is_none_and_of_these_an_instance_norm_moves_buffers(other):
    assert not is_batch_norm(other)
    assert not keeps_statistics(other)
    assert may_move_buffers(other) == isinstance(other, nn.InstanceNorm1d)


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_a_norm_that_adds_something_of_its_own_does_not_only_normalize(kind):
    assert only_normalizes(kind(3)) == (kind in PLAIN)


@pytest.mark.parametrize(
    ("kind", "ranks"),
    [
        *((BatchNorm, None), (BatchNorm1d, (2, 3)), (BatchNorm3d, (5,)), (nn.BatchNorm1d, (2, 3))),
        *((nn.BatchNorm2d, (4,)), (nn.BatchNorm3d, (5,)), (WithReLU, (2, 3)), (nn.SyncBatchNorm, None)),
    ],
)
def test_the_ranks_of_the_input_are_those_that_the_class_takes(kind, ranks):
    assert input_ranks(kind(3)) == ranks


def test_of_a_population_torchs_norms_count_all_and_ours_what_they_say():
    x, mask = torch.randn(4, 3), torch.tensor([True, False, True, False])
    assert counted(nn.BatchNorm1d(3), x) is counted(nn.BatchNorm1d(3), input=x) is x
    assert counted(BatchNorm(3), x) is counted(BatchNorm(3), x=x) is x
    torch.testing.assert_close(counted(MaskedBatchNorm(3), x, mask=mask), x[mask], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [kind for kind in BATCH_NORMS if issubclass(kind, BatchNormBase)])
def test_ours_of_every_kind_have_torchs_state_dict_and_copies_that_share_nothing(
    kind, unlike_new, same_state
):
    norm, theirs = unlike_new(kind(3), seed=1), unlike_new(nn.BatchNorm1d(3), seed=2)
    assert norm.state_dict()._metadata == theirs.state_dict()._metadata
    before, twin = copy.deepcopy(norm), copy.deepcopy(norm)
    twin.load_state_dict(theirs.state_dict())
    same_state(twin, theirs)
    same_state(norm, before)
    theirs.load_state_dict(norm.state_dict())
    same_state(theirs, norm)

"""One batch on many workers is one batch: compared with a single process that has all of it."""

import copy
import multiprocessing
import os
import pickle

import pytest
import torch
import torch.distributed as dist
from torch import nn

from bnlib.lab import WorkersError, run_workers
from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    FrozenBatchNorm,
    GuardedBatchNorm,
    MaskedBatchNorm,
    SyncBatchNorm,
    as_torch,
    convert_to_sync,
    fold_model,
    freeze,
    only_normalizes,
    revert_from_sync,
)
from tests.layers import sync_cases

WORKERS = 2, 3, 4


@pytest.fixture(scope="module", params=WORKERS)
def equal(request):
    return run_workers(sync_cases.equality, request.param)


def test_output_gradients_and_statistics_are_those_of_one_process(equal):
    # 1e-12, relative to running means of order 30 and to gradients of order 10
    wrong = {
        (rank, *case): worst
        for rank, found in enumerate(equal)
        for case, (worst, _) in found.items()
        if not worst < (1e-4 if case[0] == "float32" else 1e-12)
    }
    assert not wrong
    assert len(equal[0]) >= 60


def test_the_running_statistics_are_the_same_on_all_workers_bit_for_bit(equal):
    for case in equal[0]:
        assert all(found[case][1] == equal[0][case][1] for found in equal), case


@pytest.mark.parametrize("workers", WORKERS)
def test_a_worker_with_something_else_ends_the_step_for_all_and_moves_nothing(workers):
    found = run_workers(sync_cases.mistakes, workers)
    others = [errors for errors, _, _ in found[:-1]]
    last = found[-1][0]
    refused = f"got some that workers [{workers - 1}] refused"
    says = {  # what the last hears, and what the others hear
        "another layer's channels": ("expected one number of channels", "expected one number of channels"),
        "channels at first": ("expected 3 channels (got 5)", refused),
        "channels later": ("expected 3 channels (got 5)", refused),
        "dtype of the input": ("expected torch.float32 input", "got"),
        "no tensor": ("expected a tensor (got NoneType)", refused),
        "half precision": ("expected one dtype", "expected one dtype"),
        "dtype of the layer": ("expected one dtype", "expected one dtype"),
        "gradients": ("answer to requires_grad", "answer to requires_grad"),
        "one value": ("Expected more than 1 value", "Expected more than 1 value"),
    }
    for case, (own, heard) in says.items():
        assert own in last[case][0], (case, last[case])
        for errors in others:
            assert heard in errors[case][0], (case, errors[case])
        assert all(errors[case][1] for errors in (*others, last)), case
    assert all(errors["fine"] == ("nothing", False) for errors in (*others, last))
    # and the layer still works: two good steps were counted
    assert all(counted == 2 and state == found[0][2] for _, counted, state in found)


@pytest.mark.parametrize("how", ["dies", "raises", "hangs"])
def test_a_worker_that_is_gone_or_late_is_an_error_for_all(how):
    if how == "dies" and os.name == "nt":
        pytest.skip("Windows sends no signals")
    with pytest.raises(WorkersError) as caught:
        # the one that hangs is killed after the others have lost their patience
        run_workers(sync_cases.one_fails, 3, how, limit=30, patience=5)
    own = {"dies": "killed by SIGKILL", "raises": "KeyError", "hangs": "still running"}[how]
    assert list(caught.value.found) == [2] and own in caught.value.found[2], caught.value
    for rank in (0, 1):
        assert "expected all workers of the group to meet" in caught.value.results[rank]
    spawned = multiprocessing.get_context("spawn").Process  # joblib's own processes may still be there
    assert not [p for p in multiprocessing.active_children() if isinstance(p, spawned)]


def test_statistics_taken_anew_are_those_of_everybodys_share():
    found = run_workers(sync_cases.population, 2)
    for worst, stored, messages, unmoved in found:
        assert worst < 1e-12
        assert stored == found[0][1]
        assert unmoved
        assert len(messages) == 2 and "batch" in messages[1]
    assert "worker 0" in found[1][2][0]


def test_compiled_it_breaks_the_graph_and_a_trace_is_refused():
    for alike, (whole, traced, exported) in run_workers(sync_cases.compiled, 2):
        assert alike < 1e-12
        assert whole.startswith("Unsupported")
        assert "expected to be run" in traced and "expected to be run" in exported


def test_without_a_process_group_it_is_a_batch_norm(x, dtype, train_alike):
    assert not dist.is_initialized()
    ours, theirs = (kind(3, dtype=dtype) for kind in (SyncBatchNorm, BatchNorm))
    train_alike(ours, theirs, x)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-5)


def test_its_state_dict_copies_and_pickles_are_a_batch_norms(same_state, unlike_new):
    norm = unlike_new(SyncBatchNorm(3))
    for twin in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        same_state(twin, norm)
    BatchNorm(3).load_state_dict(norm.state_dict())


PLAIN = BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


@pytest.mark.parametrize("kind", PLAIN)
def test_there_and_back_changes_the_class_alone(kind, same_state, unlike_new):
    model = nn.Sequential(nn.Linear(2, 3), unlike_new(kind(3, momentum=None)).eval())
    there = convert_to_sync(model)
    back = revert_from_sync(there)
    assert type(model[1]) is kind and type(there[1]) is SyncBatchNorm
    assert issubclass(type(back[1]), kind) or type(back[1]).__name__ == kind.__name__
    assert there[1].dimensions == back[1].dimensions and there[1].momentum is None
    for copied in (there, back):
        same_state(copied, model)
        assert not copied[1].training
        assert copied[1].weight is not model[1].weight
    assert "process_group" not in vars(back[1])


def test_torchs_synchronized_norms_become_ours_and_plain():
    norm = nn.SyncBatchNorm(3)
    assert type(convert_to_sync(norm)) is SyncBatchNorm
    assert type(revert_from_sync(norm)) is BatchNorm


def test_a_frozen_norm_stays_as_it_is():
    assert type(convert_to_sync(FrozenBatchNorm(3))) is FrozenBatchNorm


class WithReLU(BatchNorm1d):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize("kind", [MaskedBatchNorm, GuardedBatchNorm, WithReLU, nn.LazyBatchNorm1d])
def test_what_does_more_is_refused_by_name(kind):
    norm = kind() if kind is nn.LazyBatchNorm1d else kind(3)
    with pytest.raises(TypeError, match=rf"do nothing but normalize \(got {kind.__name__} '0'\)"):
        convert_to_sync(nn.Sequential(norm))


def test_a_subclass_of_a_synchronized_norm_is_not_reverted():
    class Own(SyncBatchNorm):
        pass

    with pytest.raises(TypeError, match="got Own '0'"):
        revert_from_sync(nn.Sequential(Own(3)))


def test_trained_it_freezes_folds_and_becomes_torchs(unlike_new):
    model = nn.Sequential(nn.Linear(4, 3), unlike_new(SyncBatchNorm(3))).eval()
    model[1].dimensions = (2, 3)
    x = torch.randn(5, 4)
    y = model(x)
    assert only_normalizes(model[1])
    for other in (freeze(model), fold_model(model), as_torch(model)):
        torch.testing.assert_close(other(x), y)
    assert type(as_torch(model)[1]) is nn.BatchNorm1d
    with pytest.raises(TypeError, match="SyncBatchNorm '1'"):
        as_torch(model.train())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.nn.SyncBatchNorm needs a GPU")
def test_it_is_torchs_on_a_gpu():
    dist.init_process_group("nccl", init_method="tcp://127.0.0.1:29511", rank=0, world_size=1)
    try:
        ours, theirs = SyncBatchNorm(3).cuda(), nn.SyncBatchNorm(3).cuda()
        x = torch.randn(8, 3, 4, device="cuda")
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours.running_var, theirs.running_var)
    finally:
        dist.destroy_process_group()

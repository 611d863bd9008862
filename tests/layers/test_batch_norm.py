"""Drop-in means: what torch.nn's layers do, ours do, over every argument of the constructor."""

import copy
import inspect
from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bnlib.layers import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d

THEIRS = {BatchNorm1d: nn.BatchNorm1d, BatchNorm2d: nn.BatchNorm2d, BatchNorm3d: nn.BatchNorm3d}

arguments = pytest.mark.parametrize(
    "arguments",
    [
        dict(zip(("eps", "momentum", "affine", "track_running_stats"), values, strict=True))
        for values in product((1e-5, 1e-2), (0.1, 0.7, None), (True, False), (True, False))
    ],
    ids=lambda arguments: "-".join(map(str, arguments.values())),
)
pairs = pytest.mark.parametrize(("ours", "theirs"), THEIRS.items(), ids=lambda c: c.__module__.split(".")[0])
whose = pytest.mark.parametrize("whose", [0, 1], ids=["ours", "theirs"])
modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])


@arguments
def test_training_then_inference_is_what_torch_does(new_batch, twins, train_alike, arguments):
    ours, theirs = twins(new_batch().ndim, 3, dtype=new_batch().dtype, **arguments)
    for mode in (True, True, True, False):
        train_alike(ours.train(mode), theirs.train(mode), new_batch())


@modes
def test_the_layer_for_any_rank_does_what_the_one_for_its_rank_does(x, twins, mode):
    one, _ = twins(x.ndim, 3, mode=mode, dtype=x.dtype)
    anything = BatchNorm(3, dtype=x.dtype).train(mode)
    anything.load_state_dict(one.state_dict())
    assert_close(anything(x), one(x), rtol=0, atol=0)


# --- the constructor and the state


@arguments
@pytest.mark.parametrize("rank", [2, 4, 5])
def test_a_new_layer_has_the_state_of_torchs(pair, same_state, arguments, rank):
    ours, theirs = pair(rank, 3, **arguments)
    same_state(ours, theirs)
    for named in (nn.Module.named_parameters, nn.Module.named_buffers):
        assert [name for name, _ in named(ours)] == [name for name, _ in named(theirs)]


@pairs
def test_the_constructor_takes_torchs_arguments_in_torchs_order(ours, theirs):
    ours, theirs = (inspect.signature(c).parameters.values() for c in (ours, theirs))
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@arguments
@pairs
@pytest.mark.parametrize("bias", [True, False])
def test_the_repr_is_torchs(ours, theirs, bias, arguments):
    assert repr(ours(3, **arguments, bias=bias)) == repr(theirs(3, **arguments, bias=bias))


@pairs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parameters_and_buffers_have_the_dtype_and_device_asked_for(ours, theirs, dtype, device):
    a, b = (c(3, device=device, dtype=dtype).state_dict() for c in (ours, theirs))
    assert [(v.device, v.dtype) for v in a.values()] == [(v.device, v.dtype) for v in b.values()]


def test_half_casts_the_buffers_as_torchs_does(pair):
    ours, theirs = (norm.half().state_dict() for norm in pair(4, 3))
    assert [v.dtype for v in ours.values()] == [v.dtype for v in theirs.values()]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track_running_stats", [True, False])
@whose
def test_state_dicts_load_both_ways(x, pair, unlike_new, same_state, affine, track_running_stats, whose):
    norms = pair(x.ndim, 3, affine=affine, track_running_stats=track_running_stats, dtype=x.dtype)
    source, target = unlike_new(norms[whose], seed=1), unlike_new(norms[1 - whose], seed=2)
    if track_running_stats:
        source.num_batches_tracked += 7
    target.load_state_dict(source.state_dict())
    same_state(target, source)


@whose
@pytest.mark.parametrize("metadata", [None, 1])
def test_a_state_dict_from_before_the_count_keeps_the_count_that_is_there(pair, unlike_new, whose, metadata):
    old = unlike_new(nn.BatchNorm2d(3)).state_dict()
    del old["num_batches_tracked"]
    if metadata is None:
        del old._metadata
    else:
        old._metadata[""]["version"] = metadata
    norm = pair(4, 3)[whose]
    norm.num_batches_tracked += 5
    norm.load_state_dict(old)
    assert norm.num_batches_tracked == 5
    assert_close(norm.running_var, old["running_var"], rtol=0, atol=0)


def test_a_state_dict_from_before_the_count_loads_inside_a_model(unlike_new):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), BatchNorm2d(3))
    old = nn.Sequential(nn.Conv2d(1, 3, 3), unlike_new(nn.BatchNorm2d(3))).state_dict()
    del old["1.num_batches_tracked"]
    old._metadata["1"]["version"] = 1
    model.load_state_dict(old)
    assert_close(model[1].weight, old["1.weight"], rtol=0, atol=0)


def test_a_state_dict_from_before_the_count_loads_into_a_layer_without_memory(pair):
    for norm in pair(2, 3, device="meta"):
        old = nn.BatchNorm1d(3).state_dict()
        del old["num_batches_tracked"], old._metadata
        norm.load_state_dict(old, assign=True)
        assert (norm.num_batches_tracked.device.type, norm.num_batches_tracked.item()) == ("cpu", 0)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("rank", [2, 4, 5])
def test_a_state_dict_of_this_version_or_a_later_without_the_count_is_refused(pair, rank, version):
    for norm in pair(rank, 3):
        state = norm.state_dict()
        del state["num_batches_tracked"]
        state._metadata[""]["version"] = version
        with pytest.raises(RuntimeError, match="num_batches_tracked"):
            norm.load_state_dict(state)


def test_our_state_dicts_carry_torchs_version(pair):
    ours, theirs = pair(4, 3)
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata


# --- the running statistics


def test_momentum_none_keeps_the_plain_average_of_the_batches(new_batch, agree):
    batches = [new_batch() for _ in range(5)]
    norm = BatchNorm(3, momentum=None, dtype=batches[0].dtype)
    for batch in batches:
        norm(batch)
    values = [batch.transpose(0, 1).flatten(1) for batch in batches]
    agree(norm.running_mean, sum(v.mean(dim=1) for v in values) / 5)
    agree(norm.running_var, sum(v.var(dim=1, correction=1) for v in values) / 5)
    assert norm.num_batches_tracked == 5


def test_resetting_the_statistics_starts_the_plain_average_anew(x, agree):
    norm = BatchNorm(3, momentum=None, dtype=x.dtype)
    norm(x), norm(x + 1)
    norm.reset_running_stats()
    assert norm.num_batches_tracked == 0
    assert_close(norm.running_var, torch.ones(3, dtype=x.dtype), rtol=0, atol=0)
    norm(2 * x)
    agree(norm.running_mean, (2 * x).transpose(0, 1).flatten(1).mean(dim=1))


def test_resetting_the_parameters_resets_everything(x, unlike_new, same_state):
    norm = unlike_new(BatchNorm(3, dtype=x.dtype))
    norm(x)
    norm.reset_parameters()
    same_state(norm, BatchNorm(3, dtype=x.dtype))


def test_inference_moves_no_buffer(x, unlike_new, same_state):
    norm = unlike_new(BatchNorm(3, dtype=x.dtype)).eval()
    before = copy.deepcopy(norm)
    norm(x)
    same_state(norm, before)


@whose
def test_buffers_move_without_gradients_too(x, pair, whose):
    # so requires_grad_(False) freezes nothing of the statistics
    norm = pair(x.ndim, 3, dtype=x.dtype)[whose].requires_grad_(False)
    with torch.no_grad():
        norm(x)
    assert norm.num_batches_tracked == 1
    assert torch.all(norm.running_mean != 0)


@whose
def test_one_batch_with_nan_poisons_its_channel(x, pair, whose):
    norm = pair(x.ndim, 3, dtype=x.dtype)[whose]
    x[0, 1] = torch.nan
    norm(x)
    assert norm.running_mean.isnan().tolist() == norm.running_var.isnan().tolist() == [False, True, False]


@modes
def test_tracking_switched_off_afterwards_holds_the_buffers_as_in_torch(x, twins, same_state, agree, mode):
    # the known way to freeze the statistics while the rest trains
    ours, theirs = twins(x.ndim, 3, mode=mode, dtype=x.dtype)
    ours.track_running_stats = theirs.track_running_stats = False
    agree(ours(x), theirs(x), times=10)
    same_state(ours, theirs)
    assert ours.num_batches_tracked == 0


def test_buffers_taken_away_afterwards_mean_batch_statistics_as_in_torch(x, pair, agree):
    ours, theirs = pair(x.ndim, 3, dtype=x.dtype)
    for norm in (ours, theirs):
        norm.running_mean = norm.running_var = None
    for mode in (True, False):
        agree(ours.train(mode)(x), theirs.train(mode)(x))


@modes
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_count_taken_away_is_not_missed_as_in_torch(x, twins, same_state, agree, tolerance, momentum, mode):
    # as older converters and pruners leave a norm; the plain average has no weight then, and nothing moves
    ours, theirs = twins(x.ndim, 3, momentum=momentum, mode=mode, dtype=x.dtype)
    ours.num_batches_tracked = theirs.num_batches_tracked = None
    for batch in (x, x[:0]):
        agree(ours(batch), theirs(batch), times=10)
        same_state(ours, theirs, tolerance)


def test_who_overrides_keep_is_handed_statistics_without_a_graph():
    handed = []

    class Recorded(BatchNorm):
        def keep(self, mean, unbiased_var):
            handed.extend([mean, unbiased_var])

    Recorded(3)(torch.randn(4, 3, requires_grad=True))
    assert len(handed) == 2
    assert not any(v.requires_grad for v in handed)


def test_statistics_kept_by_hand_bring_no_graph_with_them():
    norm = BatchNorm(3)
    norm.keep(torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True))
    assert not any(v.requires_grad for v in norm.buffers())


def test_of_a_population_every_value_counts(x):
    assert BatchNorm(3).counted(x) is x


# --- what is refused


@pairs
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4, 5, 6])
def test_the_ranks_accepted_are_torchs(ours, theirs, ndim):
    x, norm = torch.randn((2, 3, 2, 2, 2, 2)[:ndim]), ours(3)
    try:
        theirs(3)(x)
    except ValueError:
        with pytest.raises(ValueError, match=rf"expected .*D input \(got {ndim}D input\)"):
            norm(x)
        assert norm.num_batches_tracked == 0
    else:
        assert norm(x).shape == x.shape


def test_the_error_names_every_rank_that_is_accepted():
    with pytest.raises(ValueError, match=r"expected 2D or 3D input \(got 4D input\)"):
        BatchNorm1d(3)(torch.ones(2, 3, 1, 1))
    with pytest.raises(ValueError, match=r"at least 2D input \(got 1D input\)"):
        BatchNorm(3)(torch.ones(3))


@modes
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_another_number_of_channels_is_refused_as_by_torch(pair, mode, channels):
    for norm in pair(4, 3):
        with pytest.raises(RuntimeError):
            norm.train(mode)(torch.randn(2, channels, 4, 5))
    norm = BatchNorm(3, track_running_stats=False, affine=False).train(mode)
    with pytest.raises(RuntimeError, match=rf"3 channels \(got {channels}\)"):
        norm(torch.randn(2, channels))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"track_running_stats": False}], ids=str)
def test_one_value_per_channel_is_refused_as_by_torch_and_moves_nothing(pair, same_state, shape, arguments):
    norms, messages = pair(len(shape), 3, **arguments), set()
    for norm in norms:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel") as error:
            norm(torch.ones(shape))
        messages.add(str(error.value))
    assert len(messages) == 1
    same_state(norms[0], type(norms[0])(3, **arguments))  # torch.nn has counted the batch by then


def test_one_value_per_channel_is_refused_at_inference_without_running_statistics(pair):
    for norm in pair(2, 3, track_running_stats=False):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            norm.eval()(torch.ones(1, 3))


def test_one_value_per_channel_is_enough_at_inference(twins, agree, dtype):
    ours, theirs = twins(2, 3, mode=False, dtype=dtype)
    x = torch.tensor([[1.0, -2.0, 3.0]], dtype=dtype)
    agree(ours(x), theirs(x))


def test_one_image_with_two_positions_is_enough(pair, same_state, agree, tolerance, dtype):
    ours, theirs = pair(4, 3, dtype=dtype)
    x = torch.arange(6, dtype=dtype).reshape(1, 3, 2, 1)
    agree(ours(x), theirs(x))
    same_state(ours, theirs, tolerance)


@pytest.mark.parametrize("eps", [0.0, -1e-5])
def test_eps_that_is_not_positive_is_refused_in_training_as_by_torch(pair, eps):
    for norm in pair(2, 3, eps=eps):
        with pytest.raises(ValueError, match="eps"):
            norm(torch.randn(6, 3))


def test_the_error_names_the_dtype_that_is_no_floating_point():
    with pytest.raises(NotImplementedError, match=r"floating-point input \(got torch.int64\)"):
        BatchNorm(3)(torch.ones(2, 3, dtype=torch.int64))


def test_a_norm_may_hold_modules_and_parameters_of_other_sizes():
    norm = BatchNorm(3)
    norm.other, norm.factor = nn.Linear(5, 5, dtype=torch.float64), nn.Parameter(torch.ones(1))
    x = torch.randn(6, 3)
    assert_close(norm(x), BatchNorm(3)(x), rtol=0, atol=0)


def conditional(base):
    class Conditional(base):
        """A gain for each class and channel."""

        def __init__(self, channels, classes):
            super().__init__(channels, affine=False)
            self.gains = nn.Parameter(torch.linspace(0.5, 2, classes * channels).reshape(classes, channels))

        def forward(self, x, label):
            return self.gains[label][:, :, None, None] * super().forward(x)

    return Conditional(channels=3, classes=10)


@modes
@pytest.mark.parametrize("shape", [(2, 3, 4, 5)], ids=str, indirect=True)
def test_a_conditional_batch_norm_is_a_subclass_with_gains_of_its_own(
    x, dy, agree, same_state, tolerance, mode
):
    norms, label = (conditional(BatchNorm2d), conditional(nn.BatchNorm2d)), torch.tensor([7, 2])
    for norm in norms:
        norm.to(x.dtype)(x, label)
    y, torchs = (norm.train(mode)(1 + x, label) for norm in norms)
    agree(y, torchs, times=10)
    y.backward(dy), torchs.backward(dy)
    agree(*(norm.gains.grad for norm in norms), times=10)
    same_state(*norms, tolerance)

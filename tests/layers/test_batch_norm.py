"""Drop-in means: what torch.nn's layers do, ours do, over every argument of the constructor."""

import copy
import inspect
from itertools import product

import pytest
import torch
from torch import nn

from bnlib.layers import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d

THEIRS = {BatchNorm1d: nn.BatchNorm1d, BatchNorm2d: nn.BatchNorm2d, BatchNorm3d: nn.BatchNorm3d}
OF_RANK = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}

arguments = pytest.mark.parametrize(
    "arguments",
    [
        dict(zip(("eps", "momentum", "affine", "track_running_stats"), values, strict=True))
        for values in product((1e-5, 1e-2), (0.1, 0.7, None), (True, False), (True, False))
    ],
    ids=lambda arguments: "-".join(map(str, arguments.values())),
)
double = pytest.mark.parametrize("dtype", [torch.float64], ids=str, indirect=True)
pairs = pytest.mark.parametrize(("ours", "theirs"), THEIRS.items(), ids=lambda c: c.__module__.split(".")[0])


def pair(rank, dtype=None, **arguments):
    """Our layer and torch.nn's."""
    ours = OF_RANK[rank]
    return ours(3, dtype=dtype, **arguments), THEIRS[ours](3, dtype=dtype, **arguments)


def assert_same_state(ours, theirs, agree):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for name in theirs:
        agree(ours[name], theirs[name])


@arguments
def test_training_then_inference_is_what_torch_does(new_batch, generator, unlike_new, agree, arguments):
    batches = [new_batch() for _ in range(4)]
    ours, theirs = pair(batches[0].ndim, batches[0].dtype, **arguments)
    theirs.load_state_dict(unlike_new(ours).state_dict())
    for i, batch in enumerate(batches):
        if i == 3:
            ours.eval(), theirs.eval()
        x, x_theirs = batch.clone().requires_grad_(), batch.clone().requires_grad_()
        dy = torch.randn(batch.shape, generator=generator, dtype=batch.dtype)
        y, y_theirs = ours(x), theirs(x_theirs)
        agree(y, y_theirs, times=10)
        y.backward(dy), y_theirs.backward(dy)
        agree(x.grad, x_theirs.grad, times=50)
        for p, p_theirs in zip(ours.parameters(), theirs.parameters(), strict=True):
            agree(p.grad, p_theirs.grad, times=50)
            for q in (p, p_theirs):
                q.data -= 0.1 * q.grad
                q.grad = None
        assert_same_state(ours, theirs, lambda a, b: agree(a, b, times=50))


def test_the_layer_for_any_rank_does_what_the_one_for_its_rank_does(x, unlike_new):
    one = OF_RANK[x.ndim](3, dtype=x.dtype)
    anything = BatchNorm(3, dtype=x.dtype)
    anything.load_state_dict(unlike_new(one).state_dict())
    for mode in (True, False):
        one.train(mode), anything.train(mode)
        torch.testing.assert_close(anything(x), one(x), rtol=0, atol=0)


@arguments
@pytest.mark.parametrize("rank", [2, 4, 5])
def test_a_new_layer_has_the_state_of_torchs(arguments, rank):
    ours, theirs = pair(rank, **arguments)
    assert_same_state(ours, theirs, lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0))
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_buffers()] == [name for name, _ in theirs.named_buffers()]


@pairs
def test_the_constructor_takes_torchs_arguments_in_torchs_order(ours, theirs):
    ours, theirs = (inspect.signature(c).parameters.values() for c in (ours, theirs))
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@arguments
@pairs
def test_the_repr_is_torchs(ours, theirs, arguments):
    for bias in (True, False):
        assert repr(ours(3, **arguments, bias=bias)) == repr(theirs(3, **arguments, bias=bias))


@pairs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str, indirect=True)
def test_parameters_and_buffers_have_the_dtype_and_device_asked_for(ours, theirs, dtype):
    for device in ("cpu", "meta"):
        a, b = (c(3, device=device, dtype=dtype).state_dict() for c in (ours, theirs))
        assert [(v.device, v.dtype) for v in a.values()] == [(v.device, v.dtype) for v in b.values()]


def test_half_casts_the_buffers_as_torchs_does():
    ours, theirs = (norm.half() for norm in pair(4))
    assert [v.dtype for v in ours.state_dict().values()] == [v.dtype for v in theirs.state_dict().values()]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track_running_stats", [True, False])
def test_state_dicts_load_both_ways(x, unlike_new, affine, track_running_stats):
    for source, target in (pair(x.ndim), reversed(pair(x.ndim))):
        arguments = {"affine": affine, "track_running_stats": track_running_stats, "dtype": x.dtype}
        source, target = (unlike_new(type(norm)(3, **arguments)) for norm in (source, target))
        if track_running_stats:
            source.num_batches_tracked += 7
        target.load_state_dict(source.state_dict())
        for a, b in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("which", ["ours", "theirs"])
@pytest.mark.parametrize("metadata", [None, 1])
def test_a_state_dict_from_before_the_count_keeps_the_count_that_is_there(unlike_new, which, metadata):
    ours, theirs = pair(4)
    old = unlike_new(pair(4)[1]).state_dict()
    del old["num_batches_tracked"]
    if metadata is None:
        del old._metadata
    else:
        old._metadata[""]["version"] = metadata
    norm = ours if which == "ours" else theirs
    norm.num_batches_tracked += 5
    norm.load_state_dict(old)
    assert norm.num_batches_tracked == 5
    torch.testing.assert_close(norm.running_var, old["running_var"], rtol=0, atol=0)


def test_a_state_dict_from_before_the_count_loads_inside_a_model(unlike_new):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), BatchNorm2d(3))
    old = nn.Sequential(nn.Conv2d(1, 3, 3), unlike_new(nn.BatchNorm2d(3))).state_dict()
    del old["1.num_batches_tracked"]
    old._metadata["1"]["version"] = 1
    model.load_state_dict(old)
    torch.testing.assert_close(model[1].weight, old["1.weight"], rtol=0, atol=0)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("rank", [2, 4, 5])
def test_a_state_dict_of_this_version_or_a_later_without_the_count_is_refused_as_by_torch(rank, version):
    for norm in pair(rank):
        state = norm.state_dict()
        del state["num_batches_tracked"]
        state._metadata[""]["version"] = version
        with pytest.raises(RuntimeError, match="num_batches_tracked"):
            norm.load_state_dict(state)


def test_our_state_dicts_carry_torchs_version():
    ours, theirs = pair(4)
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata


def test_momentum_none_keeps_the_plain_average_of_the_batches(new_batch, agree):
    norm = BatchNorm(3, momentum=None, dtype=new_batch().dtype)
    batches = [new_batch() for _ in range(5)]
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
    torch.testing.assert_close(norm.running_var, torch.ones(3, dtype=x.dtype), rtol=0, atol=0)
    norm(2 * x)
    agree(norm.running_mean, (2 * x).transpose(0, 1).flatten(1).mean(dim=1))


def test_resetting_the_parameters_resets_everything(x, unlike_new):
    norm = unlike_new(BatchNorm(3, dtype=x.dtype))
    norm(x)
    norm.reset_parameters()
    new = BatchNorm(3, dtype=x.dtype).state_dict()
    for name, v in norm.state_dict().items():
        torch.testing.assert_close(v, new[name], rtol=0, atol=0)


def test_inference_moves_no_buffer(x, unlike_new):
    norm = unlike_new(BatchNorm(3, dtype=x.dtype)).eval()
    before = copy.deepcopy(norm.state_dict())
    norm(x)
    for name, v in norm.state_dict().items():
        torch.testing.assert_close(v, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_buffers_move_without_gradients_too(x, which):
    # so requires_grad_(False) freezes nothing of the statistics
    norm = pair(x.ndim, x.dtype)[which == "theirs"].requires_grad_(False)
    with torch.no_grad():
        norm(x)
    assert norm.num_batches_tracked == 1
    assert torch.all(norm.running_mean != 0)


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_one_batch_with_nan_poisons_its_channel(x, which):
    norm = pair(x.ndim, x.dtype)[which == "theirs"]
    x[0, 1] = torch.nan
    norm(x)
    assert norm.running_mean.isnan().tolist() == norm.running_var.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("mode", [True, False])
def test_tracking_switched_off_afterwards_keeps_the_buffers_as_in_torch(x, unlike_new, agree, mode):
    # the known way to freeze the statistics while the rest trains
    ours, theirs = pair(x.ndim, x.dtype)
    theirs.load_state_dict(unlike_new(ours).state_dict())
    for norm in (ours, theirs):
        norm.train(mode)
        norm.track_running_stats = False
    agree(ours(x), theirs(x))
    assert_same_state(ours, theirs, agree)
    assert ours.num_batches_tracked == 0


def test_buffers_taken_away_afterwards_mean_batch_statistics_as_in_torch(x, agree):
    ours, theirs = pair(x.ndim, x.dtype)
    for norm in (ours, theirs):
        norm.running_mean = norm.running_var = None
    for mode in (True, False):
        agree(ours.train(mode)(x), theirs.train(mode)(x))


@double
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2), (2, 3, 2, 2), (2, 3, 2, 1, 2)], ids=str, indirect=True)
def test_both_derivatives_are_those_of_central_differences(x, unlike_new, check, mode):
    norm = unlike_new(BatchNorm(3, eps=1e-2, dtype=x.dtype)).train(mode)

    def call(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    assert check(call, [x.requires_grad_(), *norm.parameters()])


def test_the_buffers_hold_no_graph(x):
    norm = BatchNorm(3, dtype=x.dtype)
    norm(x.requires_grad_())
    assert not norm.running_mean.requires_grad
    assert not norm.running_var.requires_grad


def test_a_deep_copy_shares_nothing(x):
    norm = BatchNorm(3, dtype=x.dtype)
    twin = copy.deepcopy(norm)
    torch.testing.assert_close(twin(x), norm(x), rtol=0, atol=0)
    twin(x + 1)
    assert twin.num_batches_tracked == 2
    assert norm.num_batches_tracked == 1
    assert not torch.equal(twin.running_mean, norm.running_mean)


@pairs
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4, 5, 6])
def test_the_ranks_accepted_are_torchs(ours, theirs, ndim):
    x = torch.randn((2, 3, 2, 2, 2, 2)[:ndim])
    try:
        theirs(3)(x)
    except ValueError:
        norm = ours(3)
        with pytest.raises(ValueError, match=rf"expected .*D input \(got {ndim}D input\)"):
            norm(x)
        assert norm.num_batches_tracked == 0
    else:
        assert ours(3)(x).shape == x.shape


def test_the_layer_for_any_rank_refuses_one_dimension():
    with pytest.raises(ValueError, match=r"at least 2D input \(got 1D input\)"):
        BatchNorm(3)(torch.ones(3))


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_another_number_of_channels_is_refused_as_by_torch(mode, channels):
    for norm in pair(4):
        norm.train(mode)
        with pytest.raises(RuntimeError):
            norm(torch.randn(2, channels, 4, 5))
    norm = BatchNorm(3, track_running_stats=False, affine=False).train(mode)
    with pytest.raises(RuntimeError, match=rf"3 channels \(got {channels}\)"):
        norm(torch.randn(2, channels))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"track_running_stats": False}], ids=str)
def test_one_value_per_channel_is_refused_as_by_torch_and_moves_nothing(shape, arguments):
    ours, theirs = pair(len(shape), **arguments)
    messages = []
    for norm in (ours, theirs):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel") as error:
            norm(torch.ones(shape))
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    # torch.nn has counted the batch by then
    new = type(ours)(3, **arguments).state_dict()
    for name, v in ours.state_dict().items():
        torch.testing.assert_close(v, new[name], rtol=0, atol=0)


def test_one_value_per_channel_is_refused_at_inference_without_running_statistics():
    for norm in pair(2, track_running_stats=False):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            norm.eval()(torch.ones(1, 3))


def test_one_value_per_channel_is_enough_at_inference(unlike_new, agree, dtype):
    ours, theirs = pair(2, dtype)
    theirs.load_state_dict(unlike_new(ours).state_dict())
    x = torch.tensor([[1.0, -2.0, 3.0]], dtype=dtype)
    agree(ours.eval()(x), theirs.eval()(x))


def test_one_image_with_two_positions_is_enough(agree, dtype):
    ours, theirs = pair(4, dtype)
    x = torch.arange(6, dtype=dtype).reshape(1, 3, 2, 1)
    agree(ours(x), theirs(x))
    assert_same_state(ours, theirs, agree)


@pytest.mark.parametrize("eps", [0.0, -1e-5])
def test_eps_that_is_not_positive_is_refused_in_training_as_by_torch(eps):
    for norm in pair(2, eps=eps):
        with pytest.raises(ValueError, match="eps"):
            norm(torch.randn(6, 3))


def test_a_large_mean_is_normalized_accurately_in_float32(generator):
    x = 1e4 + torch.randn(500, 3, generator=generator)
    torch.testing.assert_close(BatchNorm(3)(x).double(), BatchNorm(3).double()(x.double()), rtol=0, atol=2e-3)


def test_the_error_names_every_rank_that_is_accepted():
    with pytest.raises(ValueError, match=r"expected 2D or 3D input \(got 4D input\)"):
        BatchNorm1d(3)(torch.ones(2, 3, 1, 1))


def test_the_error_names_the_dtype_that_is_no_floating_point():
    with pytest.raises(NotImplementedError, match=r"floating-point input \(got torch.int64\)"):
        BatchNorm(3)(torch.ones(2, 3, dtype=torch.int64))


def test_statistics_kept_by_hand_bring_no_graph_with_them():
    norm = BatchNorm(3)
    norm.keep(torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True))
    assert not any(v.requires_grad for v in norm.buffers())


def test_a_norm_may_hold_modules_of_other_sizes():
    norm = BatchNorm(3)
    norm.other = nn.Linear(5, 5, dtype=torch.float64)
    x = torch.randn(6, 3)
    torch.testing.assert_close(norm(x), BatchNorm(3)(x), rtol=0, atol=0)

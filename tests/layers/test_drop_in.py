"""Drop-in, continued: torch's own inputs, random cases, every precision, and torch's other machinery.

The tolerances: float64 1e-12, float32 1e-5, bfloat16 and float16 two units in the last place, each relative
to the largest of the terms that a number is made of (see `conditioning`).
"""

import copy
import io
import warnings
from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim, export
from torch.testing import assert_close

from bnlib.layers import BatchNorm, BatchNorm1d, BatchNorm2d

with warnings.catch_warnings():  # torch's own test suite warns of its own
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db

RANKS = {nn.BatchNorm1d: 2, nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}  # one that each takes
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2 * 2**-7, torch.float16: 2 * 2**-10}

modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def normal(*shape, seed=0, dtype=torch.float64):
    """The same numbers in every dtype, but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def agree(ours, theirs, dtype=torch.float64, scale=1.0):
    """Assert that two tensors agree to the tolerance of a dtype, relative to the size of their terms."""
    scale = max([scale, *theirs.detach().abs().flatten().tolist()])
    assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def conditioning(norm, x):
    """How large the terms of the outputs and gradients are: gamma / std and, in low precision, x / std.

    Two examples come out as +1 and -1 whatever they were: their gradient is nearly zero, and what is left
    of it is the rounding of terms as large as gamma / std. And torch rounds the mean to x's precision.
    """
    if x.numel() == 0:
        return 1.0, 1.0
    std = (x.double().transpose(0, 1).flatten(1).var(dim=1, correction=0) + norm.eps).sqrt().min().item()
    gamma = 1.0 if norm.weight is None else norm.weight.abs().max().item()
    low = x.dtype in (torch.bfloat16, torch.float16)
    return 2 * gamma / min(1.0, std), 1 + x.abs().max().item() / std if low else 1.0


def same_step(ours, theirs, x):
    """Forward and backward through both: outputs, gradients, statistics and dtypes are the same."""
    dtype = x.dtype
    x, x_theirs = x.detach().clone().requires_grad_(), x.detach().clone().requires_grad_()
    y, y_theirs = ours(x), theirs(x_theirs)
    gain, ratio = conditioning(theirs, x.detach())
    agree(y, y_theirs, dtype, gain * ratio)
    dy = normal(*y.shape, seed=1, dtype=y.dtype)
    y.backward(dy), y_theirs.backward(dy)
    largest = max([1.0, *dy.abs().flatten().tolist()])
    agree(x.grad, x_theirs.grad, dtype, gain * ratio * largest)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        agree(p.grad, q.grad, dtype, len(x) * ratio * largest)
        p.grad = q.grad = None
    similar_state(ours, theirs, dtype)


def similar_state(ours, theirs, dtype):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for name in theirs:
        agree(ours[name], theirs[name], dtype)


# --- the inputs with which torch tests its own modules


def torchs_inputs():
    for info in module_db:
        if info.module_cls in RANKS:
            make = partial(info.module_inputs_func, info, device="cpu", requires_grad=False, training=True)
            for i, case in enumerate(make(dtype=torch.float64)):
                name = f"{info.module_cls.__name__}-{case.desc or i}"
                yield pytest.param(RANKS[info.module_cls], make, i, id=name)


@pytest.mark.parametrize(("rank", "make", "i"), list(torchs_inputs()))
@modes
@dtypes
def test_torchs_own_inputs_give_torchs_own_results(twins, rank, make, i, mode, dtype):
    torch.manual_seed(0)  # make draws from the global generator
    case = make(dtype=dtype)[i]
    arguments = case.constructor_input
    ours, theirs = twins(rank, *arguments.args, **arguments.kwargs, mode=mode, dtype=dtype)
    (x,) = case.forward_input.args
    for batch in (x, 2 * x - 1):
        same_step(ours, theirs, batch)


@pytest.mark.parametrize("theirs", RANKS, ids=lambda c: c.__name__)
def test_what_torch_tests_to_be_an_error_is_the_same_error(pair, theirs):
    info = next(info for info in module_db if info.module_cls is theirs)
    make = info.module_error_inputs_func
    cases = make(info, device="cpu", dtype=torch.float64, requires_grad=False, training=True)
    assert cases
    for case in cases:
        wrong = case.module_error_input
        arguments = wrong.constructor_input
        norm, _ = pair(RANKS[theirs], *arguments.args, **arguments.kwargs, dtype=torch.float64)
        with pytest.raises(case.error_type, match="eps"):
            norm(*wrong.forward_input.args)
        assert norm.num_batches_tracked == 0


# --- random cases


@st.composite
def cases(draw):
    """Constructor arguments, a seed, and the sizes, centers, spreads and modes of one to four batches."""
    rank, channels = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    arguments = {
        "eps": draw(st.sampled_from([1e-5, 1e-3, 0.5])),
        "momentum": draw(st.one_of(st.none(), st.floats(0, 1))),
        "affine": draw(st.booleans()),
        "track_running_stats": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    positions = st.tuples(*[st.integers(1, 4)] * (rank - 2))
    shapes = st.tuples(st.integers(0, 6), st.just(channels), positions).map(lambda s: (*s[:2], *s[2]))
    batches = st.lists(
        st.tuples(shapes, st.floats(-10, 10), st.floats(0.3, 3), st.booleans()), min_size=1, max_size=4
    )
    return rank, channels, arguments, draw(st.integers(0, 2**31)), draw(batches)


def check_random_case(twins, case, dtype):
    """Batch by batch; those that torch refuses, we refuse with the same words."""
    rank, channels, arguments, seed, batches = case
    ours, theirs = twins(rank, channels, **arguments, dtype=dtype)
    for i, (shape, mean, std, mode) in enumerate(batches):
        ours.train(mode), theirs.train(mode)
        x = (mean + std * normal(*shape, seed=seed + i)).to(dtype)
        try:
            copy.deepcopy(theirs)(x)
        except ValueError as error:
            with pytest.raises(ValueError, match="more than 1 value") as ours_error:
                ours(x)
            assert str(ours_error.value) == str(error)
        else:
            same_step(ours, theirs, x)


@settings(max_examples=300)
@given(case=cases())
def test_random_cases_agree_in_float64(twins, case):
    check_random_case(twins, case, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@settings(max_examples=100)
@given(case=cases())
def test_random_cases_agree_in_lower_precision(twins, dtype, case):
    check_random_case(twins, case, dtype)


@settings(max_examples=300)
@given(data=st.data())
def test_one_thing_wrong_is_the_error_type_of_torch(twins, same_state, data):
    rank = data.draw(st.integers(2, 5))
    shape = [data.draw(st.integers(2, 4)), 3, *[2] * (rank - 2)]
    arguments, dtype = {"mode": data.draw(st.booleans())}, torch.float32
    wrong = data.draw(st.sampled_from(["rank", "channels", "one value", "eps", "dtype"]))
    if wrong == "rank":
        shape = [2, 3, 1, 2, 2, 3, 1][: data.draw(st.integers(0, 7))]
    elif wrong == "channels":
        shape[1] = data.draw(st.sampled_from([1, 2, 4]))
    elif wrong == "one value":
        shape = [1, 3, *[1] * (rank - 2)]
    elif wrong == "eps":
        arguments["eps"] = data.draw(st.sampled_from([0.0, -1e-5, -1.0]))
    else:
        dtype = data.draw(st.sampled_from([torch.float64, torch.int64, torch.bool, torch.complex64]))
    ours, theirs = twins(rank, 3, **arguments)
    x, before = torch.ones(shape).to(dtype), copy.deepcopy(ours)
    try:
        y = theirs(x)
    except Exception as error:
        with pytest.raises(type(error)) as raised:
            ours(x)
        assert raised.type is type(error)  # and no subclass
        same_state(ours, before)
    else:
        agree(ours(x), y, torch.float32)


# --- precisions


@dtypes
@pytest.mark.parametrize("layer", TOLERANCE, ids=str)
@modes
def test_the_dtypes_that_go_together_are_torchs(twins, same_state, layer, dtype, mode):
    ours, theirs = twins(4, 3, mode=mode, dtype=layer)
    x, before = normal(2, 3, 4, 5, dtype=dtype), copy.deepcopy((ours, theirs))
    try:
        theirs(x)
    except RuntimeError:
        with pytest.raises(RuntimeError, match=rf"expected {layer} input, as the layer is \(got {dtype}\)"):
            ours(x)
        same_state(ours, before[0])
    else:
        same_step(*before, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("center", [0.0, 5.0])
@modes
def test_in_low_precision_we_are_no_farther_from_the_exact_result_than_torch(twins, dtype, center, mode):
    x = (center + normal(64, 3)).to(dtype)
    ours, theirs = twins(2, 3, mode=mode, dtype=dtype)
    exact = copy.deepcopy(ours).double()(x.double())
    error, torchs = ((norm(x).double() - exact).abs().max() for norm in (ours, theirs))
    assert error <= torchs


def test_a_dead_channel_of_float16_stays_finite_at_inference():
    norm = BatchNorm1d(3, eps=1e-8, dtype=torch.float16).eval()
    norm.running_var.zero_()  # sqrt(0 + 1e-8) is 0 in float16
    assert norm(torch.full((2, 3), 1e-3, dtype=torch.float16)).isfinite().all()


def test_sums_of_half_precision_neither_overflow_nor_stop_growing():
    x = 300 * normal(4000, 3, dtype=torch.half)  # of variance 90,000 > 65,504
    assert_close(BatchNorm1d(3)(x).float().std(dim=0), torch.ones(3), rtol=1e-2, atol=0)
    norm = BatchNorm1d(3, momentum=1.0)
    norm(torch.ones(4000, 3, dtype=torch.bfloat16))  # where 256 + 1 = 256
    assert_close(norm.running_mean, torch.ones(3), rtol=0, atol=0)


@modes
def test_under_autocast_the_layer_takes_bfloat16_and_gives_it_back(twins, mode):
    conv, norms = nn.Conv2d(2, 3, 3), twins(4, 3, mode=mode)
    x = normal(4, 2, 6, 6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (norm(conv(x)) for norm in norms)
    assert ours.dtype == torch.bfloat16
    agree(ours, theirs, torch.bfloat16)
    similar_state(*norms, torch.float32)
    assert norms[0].running_mean.dtype == torch.float32


# --- difficult data


@pytest.mark.parametrize("center", [1e4, 1e6])
def test_a_huge_mean_costs_no_more_than_in_torch(pair, center):
    x = center + normal(500, 3, dtype=torch.float32)
    ours, theirs = pair(2, 3)
    exact = nn.BatchNorm1d(3).double()(x.double())
    error, torchs = ((norm(x).double() - exact).abs().max() for norm in (ours, theirs))
    assert error <= 2 * torchs + 1e-6
    # the mean is a float32 and off by half a unit in its last place at most, or a few
    assert error <= 4 * center * 2**-24 * 1.1
    assert_close(ours.running_var, theirs.running_var, rtol=center * 1e-9, atol=0)


@pytest.mark.parametrize("shape", [(6, 3), (2000, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 4, 2, 5)], ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@modes
@dtypes
def test_a_value_that_is_not_finite_spoils_what_it_spoils_in_torch_and_no_other_channel(
    twins, shape, value, last, mode, dtype
):
    x = normal(*shape, dtype=dtype)
    x = x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x
    bad, dy = x.clone(), normal(*shape, seed=1, dtype=dtype)
    bad[(0, 1, *(0,) * (len(shape) - 2))] = value

    def step(norm, x):
        z = x.clone().requires_grad_()
        y = norm(z)
        y.backward(dy)
        by_channel = (y.detach().movedim(1, 0), z.grad.movedim(1, 0))
        return *by_channel, *(p.grad for p in norm.parameters()), norm.running_mean, norm.running_var

    ours, theirs = twins(len(shape), 3, mode=mode, dtype=dtype)
    clean = step(copy.deepcopy(ours), x)
    for own, torchs, good in zip(step(ours, bad), step(theirs, bad), clean, strict=True):
        assert torch.equal(own.isfinite(), torchs.isfinite())
        agree(own[::2], good[::2], dtype, scale=10)


@dtypes
def test_a_channel_of_one_repeated_value_comes_out_as_its_bias(twins, dtype):
    ours, theirs = twins(2, 3, dtype=dtype)
    x = torch.full((8, 3), 2.5, dtype=dtype)
    same_step(ours, theirs, x)
    assert_close(ours(x), ours.bias.expand(8, 3), rtol=0, atol=0)
    assert ours.running_var.isfinite().all()


@pytest.mark.parametrize("scale", [1e-20, 1e-22])
def test_a_subnormal_variance_is_drowned_by_eps_and_moves_nothing_wrongly(twins, scale):
    x = scale * normal(50, 3, dtype=torch.float32)
    assert 0 <= x.var(dim=0).max() < torch.finfo(torch.float32).tiny
    same_step(*twins(2, 3), x)


def test_two_values_per_channel_come_out_as_plus_and_minus_one(twins):
    ours, theirs = twins(2, 3, eps=1e-12, affine=False, dtype=torch.float64)
    x = torch.tensor([[1.0, -7.0, 0.1], [2.0, 5.0, 0.3]], dtype=torch.float64)
    same_step(ours, theirs, x)
    assert_close(ours(x).abs(), torch.ones_like(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (4, 3, 0), (0, 3, 2, 2), (2, 3, 0, 5)], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"track_running_stats": False}], ids=str)
@modes
def test_an_empty_batch_is_counted_and_moves_nothing_as_in_torch(twins, shape, arguments, mode):
    same_step(*twins(len(shape), 3, mode=mode, **arguments), torch.ones(shape))


def test_no_channels_are_no_error():
    # torch raises an IndexError from inside its kernel
    assert BatchNorm1d(0)(torch.ones(4, 0)).shape == (4, 0)


# --- changed after construction


@modes
@pytest.mark.parametrize("missing", [["weight"], ["bias"], ["weight", "bias"]], ids=str)
def test_what_is_taken_away_is_missing_as_in_torch(twins, missing, mode):
    ours, theirs = twins(2, 3, mode=mode, dtype=torch.float64)
    for name in missing:
        setattr(ours, name, None), setattr(theirs, name, None)
    same_step(ours, theirs, normal(6, 3))


@modes
def test_pruned_channels_count_by_their_tensors_as_in_torch(twins, mode):
    ours, theirs = twins(2, 3, mode=mode, dtype=torch.float64)
    for norm in (ours, theirs):
        for name in ("weight", "bias"):
            setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[1:]))
        norm.running_mean, norm.running_var = norm.running_mean[1:], norm.running_var[1:]
    same_step(ours, theirs, normal(6, 2))


@modes
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_a_tensor_of_one_channel_is_refused_where_torch_refuses_it(twins, name, mode):
    for norm in twins(2, 3, mode=mode):
        vector = torch.ones(1)
        setattr(norm, name, nn.Parameter(vector) if name in ("weight", "bias") else vector)
        with pytest.raises(RuntimeError):
            norm(torch.randn(6, 3))


# --- copies, files, layouts, devices


def test_a_state_dict_saved_and_loaded_with_weights_only_is_the_same(twins, same_state):
    ours, theirs = twins(4, 3)
    ours(normal(2, 3, 4, 5, dtype=torch.float32))
    for source in (ours, theirs):
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        for target in (BatchNorm2d(3), nn.BatchNorm2d(3)):
            file.seek(0)
            target.load_state_dict(torch.load(file, weights_only=True))
            same_state(target, source)


@modes
def test_a_deep_copy_goes_on_as_the_original_would(twins, same_state, mode):
    ours, before = twins(4, 3, mode=mode, dtype=torch.float64)
    x = normal(2, 3, 4, 5)
    twin, spoiled = copy.deepcopy(ours), copy.deepcopy(ours)
    spoiled(x + 1)
    for v in spoiled.parameters():
        v.data.zero_()
    same_state(ours, before)
    assert twin.training == mode
    assert_close(twin(x), ours(x), rtol=0, atol=0)
    same_state(twin, ours)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 4, 2, 5)], ids=str)
@modes
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_whatever_the_order_of_its_axes_in_memory_the_output_lies_as_torchs(twins, shape, mode, dtype):
    # y.view(...) works where it does after torch.nn; channels last, of images alone, stays so
    ours, theirs = twins(len(shape), 3, mode=mode, dtype=dtype)
    x = normal(*shape, dtype=dtype)
    for order in permutations(range(len(shape))):
        permuted = x.permute(order).contiguous().permute(*(order.index(axis) for axis in range(len(shape))))
        same_step(ours, theirs, permuted)
        z = permuted.requires_grad_()
        y, torchs = ours(z), theirs(z)
        assert y.stride() == torchs.stride()
        strides = [torch.autograd.grad(v, z, torch.ones_like(v))[0].stride() for v in (y, torchs)]
        assert strides[0] == strides[1]
        with torch.no_grad():
            assert ours(z).stride() == theirs(z).stride()


def test_values_that_do_not_lie_one_after_another_are_no_hindrance(twins):
    ours, theirs = twins(3, 3, dtype=torch.float64)
    x = normal(5, 3, 4)
    for view in (x.transpose(0, 2), x[::2], x[..., ::2], x[:1].expand(4, 3, 4)):
        same_step(ours, theirs, view)


@modes
@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_meta_device_gives_shapes(mode, momentum):
    norm = BatchNorm2d(3, momentum=momentum, device="meta").train(mode)
    y = norm(torch.empty(2, 3, 4, 5, device="meta"))
    assert (y.shape, y.device.type, y.dtype) == ((2, 3, 4, 5), "meta", torch.float32)


def test_the_layer_of_any_rank_takes_part_in_all_of_this():
    x = normal(2, 3, 4, 1, 2, 2, dtype=torch.bfloat16)
    assert BatchNorm(3)(x).dtype == torch.bfloat16


# --- compile, export


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own
@modes
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_whole_layer_compiles_without_a_break(twins, mode, momentum, dtype):
    torch.compiler.reset()
    ours, theirs = twins(4, 3, momentum=momentum, mode=mode, dtype=dtype)
    # aot_eager traces forward and backward as the default backend does, and needs no C++ compiler
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for n in (2, 5):
        x = normal(n, 3, 4, 5, seed=n, dtype=dtype)
        y, y_theirs = compiled(x), theirs(x)
        agree(y, y_theirs, dtype)
        y.float().square().sum().backward(), y_theirs.float().square().sum().backward()
        agree(ours.weight.grad, theirs.weight.grad, dtype, scale=100)
        similar_state(ours, theirs, dtype)


@modes
def test_an_exported_program_does_what_the_layer_does_at_any_batch_size(twins, same_state, mode):
    ours, theirs = twins(4, 3, mode=mode, dtype=torch.float64)
    shapes = ({0: Dim("n", min=1)},)
    program = export(ours, (normal(4, 3, 4, 5),), dynamic_shapes=shapes).module(check_guards=False)
    for n in (4, 1, 7):
        x = normal(n, 3, 4, 5, seed=n)
        agree(program(x), theirs(x))
    same_state(program, theirs, tolerance=1e-12)

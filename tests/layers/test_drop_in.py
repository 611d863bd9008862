"""Drop-in, continued: torch's own inputs, random cases, every precision, and torch's other machinery.

The tolerances: float64 1e-12, float32 1e-5, bfloat16 and float16 two units in the last place, each relative
to the largest of the terms that a number is made of (see `conditioning`).
"""

import copy
import io
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim, export
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap
from torch.testing import assert_close

from bnlib.layers import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, handmade_batch_norm

with warnings.catch_warnings():  # torch's own test suite warns of its own
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db

THEIRS = {BatchNorm1d: nn.BatchNorm1d, BatchNorm2d: nn.BatchNorm2d, BatchNorm3d: nn.BatchNorm3d}
OURS = {theirs: ours for ours, theirs in THEIRS.items()}
OF_RANK = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2 * 2**-7, torch.float16: 2 * 2**-10}

# torch's own forward mode imports what torch itself calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def agree(ours, theirs, dtype=torch.float64, scale=1.0):
    """Assert that two tensors agree to the tolerance of a dtype, relative to the size of their terms."""
    scale = max([scale, *theirs.detach().abs().flatten().tolist()])
    assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def twins(ours, *args, **kwargs):
    """Our layer and torch.nn's, with the same parameters and statistics, none of them as in a new layer."""
    theirs = THEIRS[ours](*args, **kwargs)
    generator = torch.Generator().manual_seed(0)
    for name, v in theirs.state_dict(keep_vars=True).items():
        if v.is_floating_point():
            drawn = torch.rand(v.shape, generator=generator, dtype=torch.float64)
            v.data.copy_(drawn + 0.1 if name == "running_var" else 2 * drawn - 1.3)
    ours = ours(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


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


def same_step(ours, theirs, x, dtype):
    """Forward and backward through both: outputs, gradients, statistics and dtypes are the same."""
    x, x_theirs = x.detach().clone().requires_grad_(), x.detach().clone().requires_grad_()
    y, y_theirs = ours(x), theirs(x_theirs)
    gain, ratio = conditioning(theirs, x.detach())
    agree(y, y_theirs, dtype, gain * ratio)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    y.backward(dy), y_theirs.backward(dy)
    largest = max([1.0, *dy.abs().flatten().tolist()])
    agree(x.grad, x_theirs.grad, dtype, gain * ratio * largest)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        agree(p.grad, q.grad, dtype, len(x) * ratio * largest)
        p.grad = q.grad = None
    same_state(ours, theirs, dtype)


def same_state(ours, theirs, dtype=torch.float64):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for name in theirs:
        agree(ours[name], theirs[name], dtype)


# --- the inputs with which torch tests its own modules


def torchs_inputs():
    for info in module_db:
        if info.module_cls in OURS:
            make = partial(info.module_inputs_func, info, device="cpu", requires_grad=False, training=True)
            for i, case in enumerate(make(dtype=torch.float64)):
                name = f"{info.module_cls.__name__}-{case.desc or i}"
                yield pytest.param(info.module_cls, make, i, id=name)


@pytest.mark.parametrize(("theirs", "make", "i"), list(torchs_inputs()))
@modes
@dtypes
def test_torchs_own_inputs_give_torchs_own_results(theirs, make, i, mode, dtype):
    torch.manual_seed(0)  # make draws from the global generator
    case = make(dtype=dtype)[i]
    args, kwargs = case.constructor_input.args, case.constructor_input.kwargs
    ours, theirs = twins(OURS[theirs], *args, **kwargs, dtype=dtype)
    ours.train(mode), theirs.train(mode)
    (x,) = case.forward_input.args
    for batch in (x, 2 * x - 1):
        same_step(ours, theirs, batch, dtype)


@pytest.mark.parametrize("theirs", OURS, ids=lambda c: c.__name__)
def test_what_torch_tests_to_be_an_error_is_the_same_error(theirs):
    info = next(info for info in module_db if info.module_cls is theirs)
    make = info.module_error_inputs_func
    cases = make(info, device="cpu", dtype=torch.float64, requires_grad=False, training=True)
    assert cases
    for case in cases:
        wrong = case.module_error_input
        norm = OURS[theirs](
            *wrong.constructor_input.args, **wrong.constructor_input.kwargs, dtype=torch.float64
        )
        with pytest.raises(case.error_type, match="eps"):
            norm(*wrong.forward_input.args)
        assert norm.num_batches_tracked == 0


# --- random cases


@st.composite
def cases(draw):
    """Constructor arguments, a seed, and the sizes, centers, spreads and modes of one to four batches."""
    rank = draw(st.integers(2, 5))
    channels = draw(st.integers(1, 4))
    arguments = {
        "eps": draw(st.sampled_from([1e-5, 1e-3, 0.5])),
        "momentum": draw(st.one_of(st.none(), st.floats(0, 1))),
        "affine": draw(st.booleans()),
        "track_running_stats": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    sizes = st.lists(st.integers(1, 4), min_size=rank - 2, max_size=rank - 2)
    batches = [
        (
            (draw(st.integers(0, 6)), channels, *draw(sizes)),
            draw(st.floats(-10, 10)),
            draw(st.floats(0.3, 3)),
            draw(st.booleans()),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    return arguments, draw(st.integers(0, 2**31)), batches


def batches_of(case, dtype):
    """The layers of a random case, and its batches; those that torch refuses, and we too, are left out."""
    arguments, seed, batches = case
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = twins(OF_RANK[len(batches[0][0])], batches[0][0][1], **arguments, dtype=dtype)
    for shape, mean, std, mode in batches:
        ours.train(mode), theirs.train(mode)
        x = (mean + std * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        try:
            copy.deepcopy(theirs)(x)
        except ValueError as error:
            with pytest.raises(ValueError, match="more than 1 value") as ours_error:
                ours(x)
            assert str(ours_error.value) == str(error)
        else:
            yield ours, theirs, x


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases())
def test_random_cases_agree_in_float64(case):
    for ours, theirs, x in batches_of(case, torch.float64):
        same_step(ours, theirs, x, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(case=cases())
def test_random_cases_agree_in_lower_precision(dtype, case):
    for ours, theirs, x in batches_of(case, dtype):
        same_step(ours, theirs, x, dtype)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_one_thing_wrong_is_the_error_type_of_torch(data):
    rank = data.draw(st.integers(2, 5))
    shape = [data.draw(st.integers(2, 4)), 3, *[2] * (rank - 2)]
    arguments, mode, dtype = {}, data.draw(st.booleans()), torch.float32
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
    ours, theirs = twins(OF_RANK[rank], 3, **arguments)
    ours.train(mode), theirs.train(mode)
    x = torch.ones(shape).to(dtype)
    before = copy.deepcopy(ours)
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
def test_the_dtypes_that_go_together_are_torchs(layer, dtype, mode):
    ours, theirs = (norm.train(mode) for norm in twins(BatchNorm2d, 3, dtype=layer))
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    try:
        theirs(x)
    except RuntimeError:
        before = copy.deepcopy(ours)
        with pytest.raises(RuntimeError, match=rf"expected {layer} input, as the layer is \(got {dtype}\)"):
            ours(x)
        same_state(ours, before)
    else:
        ours, theirs = (norm.train(mode) for norm in twins(BatchNorm2d, 3, dtype=layer))
        same_step(ours, theirs, x, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("center", [0.0, 5.0])
@modes
def test_in_low_precision_we_are_no_farther_from_the_exact_result_than_torch(dtype, center, mode):
    x = (center + torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(
        dtype
    )
    ours, theirs = twins(BatchNorm1d, 3, dtype=dtype)
    exact = BatchNorm1d(3, dtype=torch.float64)
    exact.load_state_dict(ours.state_dict())
    for norm in (ours, theirs, exact):
        norm.train(mode)
    errors = [
        (norm(x.to(norm.weight.dtype)).double() - exact(x.double())).abs().max() for norm in (ours, theirs)
    ]
    assert errors[0] <= errors[1]


def test_a_dead_channel_of_float16_stays_finite_at_inference():
    norm = BatchNorm1d(3, eps=1e-8, dtype=torch.float16).eval()
    norm.running_var.zero_()  # sqrt(0 + 1e-8) is 0 in float16
    assert norm(torch.full((2, 3), 1e-3, dtype=torch.float16)).isfinite().all()


def test_sums_of_half_precision_neither_overflow_nor_stop_growing():
    x = (300 * torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))).half()  # var 90,000 > 65,504
    assert_close(BatchNorm1d(3)(x).float().std(dim=0), torch.ones(3), rtol=1e-2, atol=0)
    ones = torch.ones(4000, 3, dtype=torch.bfloat16)  # 256 + 1 = 256 in bfloat16
    norm = BatchNorm1d(3, momentum=1.0)
    norm(ones)
    assert_close(norm.running_mean, torch.ones(3), rtol=0, atol=0)


@modes
def test_under_autocast_the_layer_takes_bfloat16_and_gives_it_back(mode):
    norms = twins(BatchNorm2d, 3)
    conv = nn.Conv2d(2, 3, 3)
    x = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    outputs = []
    for norm in norms:
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(nn.Sequential(conv, norm).train(mode)(x))
    assert outputs[0].dtype == torch.bfloat16
    agree(*outputs, torch.bfloat16)
    same_state(*norms, torch.float32)
    assert norms[0].running_mean.dtype == torch.float32


# --- difficult data


@pytest.mark.parametrize("center", [1e4, 1e6])
def test_a_huge_mean_costs_no_more_than_in_torch(center):
    x = center + torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = BatchNorm1d(3), nn.BatchNorm1d(3)
    exact = nn.BatchNorm1d(3).double()(x.double())
    error, torchs = ((norm(x).double() - exact).abs().max() for norm in (ours, theirs))
    assert error <= 2 * torchs + 1e-6
    # the mean is a float32 and off by half a unit in its last place at most, or a few
    assert error <= 4 * center * 2**-24 * 1.1
    assert_close(ours.running_var, theirs.running_var, rtol=center * 1e-9, atol=0)


@dtypes
def test_a_channel_of_one_repeated_value_comes_out_as_its_bias(dtype):
    ours, theirs = twins(BatchNorm1d, 3, dtype=dtype)
    x = torch.full((8, 3), 2.5, dtype=dtype)
    same_step(ours, theirs, x, dtype)
    assert_close(ours(x), ours.bias.expand(8, 3), rtol=0, atol=0)
    assert ours.running_var.isfinite().all()


@pytest.mark.parametrize("scale", [1e-20, 1e-22])
def test_a_subnormal_variance_is_drowned_by_eps_and_moves_nothing_wrongly(scale):
    ours, theirs = twins(BatchNorm1d, 3)
    x = scale * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert 0 <= x.var(dim=0).max() < torch.finfo(torch.float32).tiny
    same_step(ours, theirs, x, torch.float32)


def test_two_values_per_channel_come_out_as_plus_and_minus_one():
    ours, theirs = twins(BatchNorm1d, 3, eps=1e-12, affine=False, dtype=torch.float64)
    x = torch.tensor([[1.0, -7.0, 0.1], [2.0, 5.0, 0.3]], dtype=torch.float64)
    same_step(ours, theirs, x, torch.float64)
    assert_close(ours(x).abs(), torch.ones_like(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (4, 3, 0), (0, 3, 2, 2), (2, 3, 0, 5)], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"momentum": None}, {"track_running_stats": False}], ids=str)
@modes
def test_an_empty_batch_is_counted_and_moves_nothing_as_in_torch(shape, arguments, mode):
    ours, theirs = (norm.train(mode) for norm in twins(OF_RANK[len(shape)], 3, **arguments))
    same_step(ours, theirs, torch.ones(shape), torch.float32)


def test_no_channels_are_no_error():
    # torch raises an IndexError from inside its kernel
    assert BatchNorm1d(0)(torch.ones(4, 0)).shape == (4, 0)


# --- changed after construction


@modes
@pytest.mark.parametrize("missing", [["weight"], ["bias"], ["weight", "bias"]], ids=str)
def test_what_is_taken_away_is_missing_as_in_torch(missing, mode):
    ours, theirs = (norm.train(mode) for norm in twins(BatchNorm1d, 3, dtype=torch.float64))
    for norm in (ours, theirs):
        for name in missing:
            setattr(norm, name, None)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same_step(ours, theirs, x, torch.float64)


@modes
def test_pruned_channels_count_by_their_tensors_as_in_torch(mode):
    ours, theirs = (norm.train(mode) for norm in twins(BatchNorm1d, 3, dtype=torch.float64))
    for norm in (ours, theirs):
        for name in ("weight", "bias"):
            setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[1:]))
        norm.running_mean, norm.running_var = norm.running_mean[1:], norm.running_var[1:]
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same_step(ours, theirs, x, torch.float64)


@modes
@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_a_tensor_of_one_channel_is_refused_where_torch_refuses_it(name, mode):
    for norm in twins(BatchNorm1d, 3):
        norm.train(mode)
        vector = torch.ones(1)
        setattr(norm, name, nn.Parameter(vector) if name in ("weight", "bias") else vector)
        with pytest.raises(RuntimeError):
            norm(torch.randn(6, 3))


def test_a_state_dict_from_before_the_count_loads_into_a_layer_without_memory():
    for norm in (BatchNorm1d(3, device="meta"), nn.BatchNorm1d(3, device="meta")):
        old = nn.BatchNorm1d(3).state_dict()
        del old["num_batches_tracked"], old._metadata
        norm.load_state_dict(old, assign=True)
        assert (norm.num_batches_tracked.device.type, norm.num_batches_tracked.item()) == ("cpu", 0)


# --- copies, files, layouts, devices


def test_a_state_dict_saved_and_loaded_with_weights_only_is_the_same():
    ours, theirs = twins(BatchNorm2d, 3)
    ours(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)))
    for source in (ours, theirs):
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        for target in (BatchNorm2d(3), nn.BatchNorm2d(3)):
            file.seek(0)
            target.load_state_dict(torch.load(file, weights_only=True))
            for name, v in source.state_dict().items():
                assert_close(target.state_dict()[name], v, rtol=0, atol=0)


@modes
def test_a_deep_copy_goes_on_as_the_original_would(mode):
    ours, _ = twins(BatchNorm2d, 3, dtype=torch.float64)
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    original = copy.deepcopy(ours.train(mode).state_dict())
    twin, spoiled = copy.deepcopy(ours), copy.deepcopy(ours)
    spoiled(x + 1)
    for v in spoiled.parameters():
        v.data.zero_()
    for name, v in ours.state_dict().items():
        assert_close(v, original[name], rtol=0, atol=0)
    assert twin.training == mode
    assert_close(twin(x), ours(x), rtol=0, atol=0)
    same_state(twin, ours)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((2, 3, 4, 5), torch.channels_last), ((2, 3, 4, 2, 3), torch.channels_last_3d)],
    ids=["2d", "3d"],
)
@modes
def test_channels_last_goes_in_and_comes_out(shape, layout, mode):
    ours, theirs = (norm.train(mode) for norm in twins(OF_RANK[len(shape)], 3, dtype=torch.float64))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x.to(memory_format=layout)
    assert ours(x).is_contiguous(memory_format=layout)
    theirs(x)
    same_step(ours, theirs, x, torch.float64)


def test_values_that_do_not_lie_one_after_another_are_no_hindrance():
    ours, theirs = twins(BatchNorm1d, 3, dtype=torch.float64)
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for view in (x.transpose(0, 2), x[::2], x[..., ::2], x[:1].expand(4, 3, 4)):
        same_step(ours, theirs, view, torch.float64)


@modes
@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_meta_device_gives_shapes(mode, momentum):
    norm = BatchNorm2d(3, momentum=momentum, device="meta").train(mode)
    y = norm(torch.empty(2, 3, 4, 5, device="meta"))
    assert (y.shape, y.device.type, y.dtype) == ((2, 3, 4, 5), "meta", torch.float32)


# --- compile, export


@modes
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_the_whole_layer_compiles_without_a_break(mode, momentum, dtype):
    torch.compiler.reset()
    ours, theirs = (norm.train(mode) for norm in twins(BatchNorm2d, 3, momentum=momentum, dtype=dtype))
    # aot_eager traces forward and backward as the default backend does, and needs no C++ compiler
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for n in (2, 5):
        x = torch.randn(n, 3, 4, 5, generator=torch.Generator().manual_seed(n)).to(dtype)
        y, y_theirs = compiled(x), theirs(x)
        agree(y, y_theirs, dtype)
        y.float().square().sum().backward(), y_theirs.float().square().sum().backward()
        agree(ours.weight.grad, theirs.weight.grad, dtype, scale=100)
        same_state(ours, theirs, dtype)


@modes
def test_an_exported_program_does_what_the_layer_does_at_any_batch_size(mode):
    ours, theirs = (norm.train(mode) for norm in twins(BatchNorm2d, 3, dtype=torch.float64))
    x = torch.randn(4, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    program = export(ours, (x,), dynamic_shapes=({0: Dim("n", min=1)},)).module(check_guards=False)
    for n in (4, 1, 7):
        x = torch.randn(n, 3, 4, 5, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        agree(program(x), theirs(x))
    same_state(program, theirs)


# --- torch.func, and derivatives of higher order


def call(norm, x, **parameters):
    """A norm as a pure function; its buffers are handed in, so that those that move are copies."""
    buffers = {name: b.clone() for name, b in norm.named_buffers()}
    return functional_call(norm, (parameters, buffers), (x,))


@pytest.fixture
def x():
    return 3 + 2 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def v():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@modes
def test_grad_and_jvp_are_those_of_torch(x, v, mode):
    ours, theirs = (norm.train(mode) for norm in twins(BatchNorm1d, 3, dtype=torch.float64))
    agree(*(grad(lambda x, n=n: (call(n, x) * v).sum())(x) for n in (ours, theirs)))
    agree(*(grad(lambda w, n=n: (call(n, x, weight=w) * v).sum())(n.weight) for n in (ours, theirs)))
    for a, b in zip(*(jvp(partial(call, n), (x,), (v,)) for n in (ours, theirs)), strict=True):
        agree(a, b)
    assert_close(jacfwd(partial(call, ours))(x), jacrev(partial(call, ours))(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_vmap_is_refused_while_statistics_move_and_free_otherwise(which):
    # the documented limit: which of the examples should move the buffers?
    xs = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = twins(BatchNorm1d, 3, dtype=torch.float64)[which == "theirs"]
    before = copy.deepcopy(norm)
    with pytest.raises(RuntimeError):
        vmap(norm)(xs)
    assert_close(norm.running_mean, before.running_mean, rtol=0, atol=0)
    norm.eval()
    assert_close(vmap(norm)(xs), torch.stack([norm(x) for x in xs]), rtol=1e-12, atol=1e-12)
    norm = twins(BatchNorm1d, 3, track_running_stats=False, dtype=torch.float64)[which == "theirs"]
    assert_close(vmap(norm)(xs), torch.stack([norm(x) for x in xs]), rtol=1e-12, atol=1e-12)


def third(norm, x, v):
    """The third directional derivative of a sum of cubes along v, by torch.func.grad three times."""

    def along(f):
        return lambda x: (grad(f)(x) * v).sum()

    return along(along(along(lambda x: norm(x).pow(3).sum())))(x)


def by_differences(f, x, v, order, step=1e-2):
    """Directional derivative of f by central differences of sixth order, in a 20-digit neighbourhood of x."""
    offsets = torch.arange(-4, 5, dtype=torch.float64)
    # weights that are exact for polynomials up to degree 8
    powers = torch.linalg.solve(
        offsets ** torch.arange(9).unsqueeze(1), torch.eye(9, dtype=torch.float64)[order]
    )
    factorial = torch.arange(1, order + 1).prod()
    return (
        sum(w * f(x + o * step * v) for w, o in zip(powers, offsets, strict=True)) * factorial / step**order
    )


@modes
def test_the_nested_forward_mode_second_derivative_is_right(x, v, mode):
    norm = twins(BatchNorm1d, 3, eps=1e-2, dtype=torch.float64)[0].train(mode)

    def f(x):
        return call(norm, x).pow(3).sum()

    def second(x):
        return jvp(lambda x: jvp(f, (x,), (v,))[1], (x,), (v,))[1]

    assert_close(second(x), by_differences(f, x, v, order=2), rtol=1e-7, atol=1e-8)
    reverse = grad(lambda x: (grad(f)(x) * v).sum())(x)
    assert_close(second(x), (reverse * v).sum(), rtol=1e-10, atol=1e-10)


def test_torchs_nested_forward_mode_second_derivative_is_still_wrong(x, v):
    # github.com/pytorch/pytorch/issues/196699; when this fails, the book can say that it is mended
    norm = twins(BatchNorm1d, 3, eps=1e-2, track_running_stats=False, dtype=torch.float64)[1]

    def f(x):
        return norm(x).pow(3).sum()

    second = jvp(lambda x: jvp(f, (x,), (v,))[1], (x,), (v,))[1]
    right = by_differences(f, x, v, order=2)
    assert abs(second - right) > 0.1 * abs(right)


@modes
def test_the_third_reverse_derivative_is_right(x, v, mode):
    norm = twins(BatchNorm1d, 3, eps=1e-2, dtype=torch.float64)[0].train(mode)
    right = by_differences(lambda x: call(norm, x).pow(3).sum(), x, v, order=3)
    assert_close(third(partial(call, norm), x, v), right, rtol=1e-5, atol=1e-6)


def test_torchs_third_reverse_derivative_is_still_wrong(x, v):
    # silently in torch 2.13; when this fails, the book can say that it is mended
    norm = twins(BatchNorm1d, 3, eps=1e-2, track_running_stats=False, dtype=torch.float64)[1]
    right = by_differences(lambda x: norm(x).pow(3).sum(), x, v, order=3)
    assert abs(third(norm, x, v) - right) > 0.1 * abs(right)


def test_the_layer_written_by_hand_has_all_reverse_derivatives_too(x, v):
    gamma, beta = torch.tensor([1.5, -0.7, 2.0]).double(), torch.tensor([-1.0, 0.4, 3.0]).double()

    def f(x):
        return handmade_batch_norm(x, gamma, beta, 1e-2)

    right = by_differences(lambda x: f(x).pow(3).sum(), x, v, order=3)
    assert_close(third(f, x, v), right, rtol=1e-5, atol=1e-6)


def test_the_layer_of_any_rank_takes_part_in_all_of_this():
    x = torch.randn(2, 3, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert BatchNorm(3)(x).dtype == torch.bfloat16

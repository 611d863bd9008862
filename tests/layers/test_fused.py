"""The fast ways compute what the plain one does, lose no digit and no derivative, and step aside."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from bnlib.layers import BatchNorm, BatchNorm1d, BatchNormBase, batch_statistics, fused, normalize

EPS = 1e-2
double = pytest.mark.parametrize("dtype", [torch.float64], ids=str, indirect=True)


@pytest.fixture(params=["_by_kernel", "_by_blocks", "_centered"])
def way(request, monkeypatch):
    """Each of the ways through the forward pass, and both through the backward pass."""
    monkeypatch.setattr(fused, "_way", lambda x: getattr(fused, request.param))
    monkeypatch.setattr(fused, "FAR", 1e9)
    monkeypatch.setattr(fused, "ROWS", 4)  # several blocks
    if request.param != "_by_kernel":
        monkeypatch.setattr(fused, "_kernel_is_exact", lambda x, rows: False)
    return request.param


def plain(norm):
    """The same layer by elementary operations."""
    other = BatchNormBase(norm.num_features, eps=norm.eps)
    other.__dict__.update(copy.deepcopy(norm).__dict__)
    return other


@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, True), (False, False)], ids=str)
def test_every_way_trains_as_the_plain_one(way, train_alike, new_batch, unlike_new, dtype, affine):
    norm = unlike_new(BatchNorm(3, eps=EPS, dtype=dtype))
    for name, there in zip(("weight", "bias"), affine, strict=True):
        if not there:
            norm.register_parameter(name, None)
    other = plain(norm)
    for _ in range(3):
        train_alike(norm, other, new_batch())


@double
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("shape", [(5, 3), (3, 3, 2, 1)], ids=str, indirect=True)
def test_both_derivatives_are_those_of_central_differences(way, x, gamma, beta, check):
    inputs = [v.requires_grad_() for v in (x, gamma, beta)]
    assert check(lambda *v: fused.training_batch_norm(*v, EPS)[0], inputs)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [torch.float32, "half"], ids=str)
@pytest.mark.parametrize("shape", [(60, 3), (1025, 3), (3, 3, 40, 40), (2**17 + 1, 3)], ids=str)
def test_autocast_changes_nothing_of_it(generator, shape, kind, half):
    x = 2 + torch.randn(shape, generator=generator)
    if len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    x = x.to(half if kind == "half" else kind)
    results = []
    for enabled in (False, True):
        z, norm = x.clone().requires_grad_(), BatchNorm(3)
        with torch.autocast("cpu", dtype=half, enabled=enabled):
            y = norm(z)
        y.backward(x)
        results.append((y, z.grad, norm.running_var))
    for plain, cast in zip(*results, strict=True):
        assert torch.equal(plain, cast)


@double
@pytest.mark.parametrize("shape", [(5, 3)], ids=str, indirect=True)
def test_without_gamma_and_beta_the_second_derivative_is_right_too(x):
    f = partial(fused.training_batch_norm, weight=None, bias=None, eps=EPS)
    assert torch.autograd.gradgradcheck(lambda z: f(z)[0], x.requires_grad_())


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("again", [False, True])
def test_gradients_come_in_the_dtype_of_what_they_are_taken_by(x, gamma, beta, half, again):
    inputs = [v.to(half).requires_grad_() for v in (x, gamma, beta)]
    y, statistics = fused.training_batch_norm(*inputs, EPS)
    assert y.dtype is half and statistics.mean.dtype is statistics.var.dtype is torch.float32
    for g, v in zip(torch.autograd.grad(y.sum(), inputs, create_graph=again), inputs, strict=True):
        assert g.dtype is half and g.shape == v.shape


def test_a_gradient_that_will_be_differentiated_is_the_same_gradient(way, x, gamma, beta, dy, agree):
    # gradgradcheck compares it with itself alone
    inputs = [v.requires_grad_() for v in (x, gamma, beta)]
    y, _ = fused.training_batch_norm(*inputs, EPS)
    once = torch.autograd.grad(y, inputs, dy, retain_graph=True)
    again = torch.autograd.grad(y, inputs, dy, create_graph=True)
    for a, b in zip(once, again, strict=True):
        agree(a, b, times=10)


@double
@pytest.mark.parametrize("shape", [(5, 3)], ids=str, indirect=True)
def test_the_third_derivative_is_that_of_the_plain_operations(way, x, dy):
    def third(norm):
        z = x.clone().requires_grad_()
        d = norm(z).pow(3).sum()
        for _ in range(3):
            (d,) = torch.autograd.grad((d * dy).sum() if d.dim() else d, z, create_graph=True)
        return d

    norm = BatchNorm(3, eps=EPS).double()
    assert_close(third(norm), third(plain(norm)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("wanted", range(3))
def test_a_gradient_can_be_asked_for_alone(way, x, gamma, beta, dy, agree, wanted):
    inputs = [x, gamma, beta]
    inputs[wanted].requires_grad_()
    (ours,) = torch.autograd.grad(fused.training_batch_norm(*inputs, EPS)[0], inputs[wanted], dy)
    y = nn.functional.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
    agree(ours, torch.autograd.grad(y, inputs[wanted], dy)[0], times=10)


def test_a_gradient_that_is_a_view_of_one_number_is_taken(way, x, gamma, beta, agree):
    # what y.sum() hands back
    y, _ = fused.training_batch_norm(x.requires_grad_(), gamma, beta, EPS)
    y.sum().backward()
    agree(x.grad, torch.zeros_like(x), times=10)


@pytest.mark.parametrize("layout", ["contiguous", "channels-last", "transposed", "every second"])
def test_every_layout_gives_the_same(generator, layout):
    x = 2 + torch.randn(4, 3, 6, 5, generator=generator)
    of_layout = {
        "contiguous": x,
        "channels-last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.mT.contiguous().mT,
        "every second": x.repeat_interleave(2, dim=3)[..., ::2],
    }[layout]
    assert torch.equal(of_layout, x)
    norm, other = BatchNorm(3), BatchNorm(3)
    a, b = of_layout.clone().requires_grad_(), x.double().requires_grad_()
    other.double()
    y, z = norm(a), other(b)
    (y * x).sum().backward(), (z * x).sum().backward()
    assert_close(y.double(), z, rtol=1e-5, atol=1e-5)
    assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-5)
    assert_close(norm.running_var.double(), other.running_var, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mean", [0, 1, 10, 30, 1_000, 30_000])
@pytest.mark.parametrize("shape", [(60, 5), (4_000, 5), (40_000, 5), (40_000, 5, 2), (8, 5, 9, 9)], ids=str)
def test_the_output_is_as_exact_as_that_of_the_plain_operations(generator, shape, mean):
    x = mean + torch.randn(shape, generator=generator)

    def off(y):
        center, var, _ = batch_statistics(x.double())
        return (y.double() - normalize(x.double(), center, var, 1e-5)).abs().max()

    mean, var, _ = batch_statistics(x)
    y, statistics = fused.training_batch_norm(x, None, None, 1e-5)
    # twice: a lucky rounding of the mean is not matched
    assert off(y) <= 2 * off(normalize(x, mean, var, 1e-5)) + 2e-6
    assert_close(
        statistics.var.double(),
        x.double().var(unbiased=False, dim=[0, *range(2, x.dim())]),
        rtol=1e-5,
        atol=0,
    )


def test_each_input_goes_its_way():
    def ways(*inputs):
        return {fused._way(fused.laid_out(x)) for x in inputs}

    images, last = torch.empty(3, 4, 50, 50), {"memory_format": torch.channels_last}
    rows, many_images, sequences = torch.empty(1024, 4), torch.empty(1025, 4, 2), torch.empty(3, 50, 4).mT
    assert ways(rows, images, images.double(), many_images) == {fused._by_kernel}
    assert ways(sequences, images[..., ::2], images[:, ::2]) == {fused._by_kernel}
    assert ways(torch.empty(1025, 4), torch.empty(2**17, 4), images.to(**last)) == {fused._by_blocks}
    assert ways(torch.empty(2**17 + 1, 4), torch.empty(1, 4, 2**9, 2**9).to(**last)) == {fused._centered}
    assert ways(images.to("meta")) == {fused._centered}


@pytest.mark.parametrize("value", [2.5, 0.1, 255.3, 1000.1, 10_000.3, -100_000.7])
@pytest.mark.parametrize("shape", [(1, 1, 37, 41), (60, 1), (3_000, 1)], ids=str)
def test_a_channel_of_one_repeated_value_comes_out_as_its_bias(shape, value):
    # torch.nn is off by 0.08 at 10,000.3, since the mean is rounded and eps is small
    norm = BatchNorm(1)
    nn.init.constant_(norm.bias, 0.7)
    assert (norm(torch.full(shape, value)) - 0.7).abs().max() < 1e-6


def test_long_columns_lose_no_digit_in_their_gradients(generator):
    # added one by one in float32, half of the gradient's digits are gone
    x = torch.rand(2_000_000, 1, generator=generator)
    dy = 1 + torch.rand(2_000_000, 1, generator=generator)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        norm = BatchNorm1d(1, dtype=dtype)
        z = x.to(dtype, copy=True).requires_grad_()
        norm(z).backward(dy.to(dtype))
        gradients.append([v.double() for v in (z.grad, norm.weight.grad / len(x), norm.bias.grad / len(x))])
    for single, exact in zip(*gradients, strict=True):
        assert_close(single, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
def test_no_more_is_kept_for_the_backward_pass_than_x_and_a_few_vectors(way, generator, transposed):
    x = torch.randn(64, 100, generator=generator)
    x = (x.T.contiguous().T if transposed else x).requires_grad_()
    kept = {}

    def pack(v):
        kept[v.untyped_storage().data_ptr()] = v.numel()
        return v

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
        y = BatchNorm(100)(x)
    assert y.requires_grad and x.data_ptr() in kept
    assert sum(kept.values()) <= x.numel() + 5 * 100


def test_the_gradient_does_not_read_what_moved_since(way, x, dy, dtype):
    norm = BatchNorm(3, dtype=dtype)
    other = copy.deepcopy(norm)
    x, z = x.requires_grad_(), x.detach().clone().requires_grad_()
    y = norm(x)
    norm(x.detach() + 5)  # moves the running statistics before the first backward pass
    y.backward(dy), other(z).backward(dy)
    assert torch.equal(x.grad, z.grad)


def test_inference_without_gradients_is_torchs_to_the_last_bit(twins, new_batch, shape, dtype):
    ours, theirs = twins(len(shape), 3, mode=False, dtype=dtype)
    x = new_batch()
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.fixture(params=[0, 1, 4, 10, 30, 1_000, 30_000, 1_000_000])
def far_off(request, unlike_new, generator):
    """A float32 norm with one channel's mean far from zero, a batch like it, and float64's answer."""
    norm = unlike_new(BatchNorm(3)).eval()
    norm.running_mean[1] += request.param
    std = (norm.running_var + norm.eps).sqrt()
    x = norm.running_mean + std * torch.randn(1000, 3, generator=generator)
    return norm, x, copy.deepcopy(norm).double()(x.double())


def test_inference_without_gradients_is_as_exact_as_with_them(far_off):
    # torch.nn's is off by 3e-4 at 10,000, with gradients and without
    norm, x, exact = far_off
    plain = (norm(x) - exact).abs().max()
    with torch.no_grad():
        assert (norm(x) - exact).abs().max() <= plain + 2e-6
    assert plain < 1e-6


def exported(norm, x):
    return torch.export.export(norm, (x,)).module()


def compiled(norm, x):
    torch.compiler.reset()
    return torch.compile(norm, backend="aot_eager", fullgraph=True)


@pytest.mark.parametrize("program", [exported, compiled])
def test_a_program_is_as_exact_and_branches_on_no_value(far_off, program):
    norm, x, exact = far_off
    with torch.no_grad():
        assert (program(norm, x)(x) - exact).abs().max() < 1e-6


def test_an_accelerator_is_not_asked_how_far_its_means_are():
    mean, var = torch.empty(2, 3, device="meta")
    assert not fused.is_far(mean, var, EPS)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_statistics_that_are_nan_reach_no_other_channel(x, unlike_new, agree, dtype, name):
    norm = unlike_new(BatchNorm(3, dtype=dtype)).eval()
    good = norm(x)
    getattr(norm, name)[1] = torch.nan
    with torch.no_grad():
        y = norm(x)
    assert y[:, 1].isnan().all()
    agree(y[:, ::2], good[:, ::2], times=10)


@pytest.mark.parametrize("affine", [True, False])
def test_the_operations_that_are_to_be_fused_are_right_as_they_are(x, gamma, beta, agree, affine):
    weight, bias = (gamma, beta) if affine else (None, None)
    y, *statistics = fused._for_a_compiler(x, weight, bias, EPS)
    agree(y, nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=EPS))
    for ours, plain in zip(statistics, batch_statistics(x), strict=False):
        agree(ours, plain)
    assert fused._for_a_compiler(x.half(), weight, bias, EPS)[0].dtype is torch.float16


@pytest.mark.parametrize("affine", [True, False])
def test_a_compiler_gets_operations_that_train_as_the_eager_ones(new_batch, dtype, affine):
    torch.compiler.reset()
    norm = BatchNorm(3, eps=EPS, affine=affine, dtype=dtype)
    compiled = torch.compile(copy.deepcopy(norm), backend="aot_eager", fullgraph=True)
    for _ in range(2):
        x = new_batch().requires_grad_()
        z = x.detach().clone().requires_grad_()
        y, w = compiled(x), norm(z)
        assert_close(y, w, rtol=1e-5, atol=1e-5)
        y.pow(3).sum().backward(), w.pow(3).sum().backward()
        assert_close(x.grad, z.grad, rtol=1e-3, atol=1e-3)
    for name, v in norm.named_buffers():
        assert_close(dict(compiled._orig_mod.named_buffers())[name], v, rtol=1e-5, atol=1e-6)


def test_a_constant_channel_comes_out_as_its_bias_from_a_compiler_too():
    torch.compiler.reset()
    norm = torch.compile(BatchNorm(1), backend="aot_eager", fullgraph=True)
    assert norm(torch.full((60, 1), 10_000.3)).abs().max() < 1e-6


@pytest.fixture
def taken(monkeypatch):
    """Whether the layer went a fast way, asked after a forward pass."""
    calls = []
    whole = fused.training_batch_norm
    monkeypatch.setattr(fused, "training_batch_norm", lambda *args: calls.append(1) or whole(*args))
    return lambda: bool(calls)


def test_eager_training_is_fast(taken):
    BatchNorm(3)(torch.randn(4, 3))
    assert taken()


def test_a_subclass_with_statistics_of_its_own_is_obeyed(taken, x, dtype):
    class Centered(BatchNorm):
        def statistics(self, x):
            mean, var = super().statistics(x)
            return mean, torch.ones_like(var)

    y = Centered(3, eps=1e-12, dtype=dtype)(x)
    assert_close(y, x - x.mean([0, *range(2, x.dim())], keepdim=True), rtol=1e-5, atol=1e-5)
    assert not taken()


def traced(norm, x):
    return torch.jit.trace(norm, x, check_trace=False)(x)


def forward_mode(norm, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(norm(forward_ad.make_dual(x, torch.ones_like(x)))).primal


STEPS_ASIDE = {
    "make_fx": lambda norm, x: make_fx(norm)(x)(x),
    "traced": traced,
    "forward mode": forward_mode,
    "vmap": lambda norm, x: torch.vmap(norm)(x[None])[0],
    "grad": lambda norm, x: torch.func.grad(lambda z: norm(z).pow(3).sum())(x),
    "meta": lambda norm, x: norm.to("meta")(x.to("meta")),
    "empty": lambda norm, x: norm(x[:0]),
}


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*is deprecated:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
@pytest.mark.parametrize("call", STEPS_ASIDE.values(), ids=STEPS_ASIDE)
def test_what_wants_elementary_operations_gets_them(taken, call):
    norm = BatchNorm(3, track_running_stats=False)
    call(norm, torch.randn(4, 3))
    assert not taken()


def test_a_subclass_of_tensor_is_left_to_its_own_operations(taken):
    class Own(torch.Tensor):
        pass

    assert type(BatchNorm(3)(torch.randn(4, 3).as_subclass(Own))) is Own
    assert not taken()


def test_numbers_that_are_not_finite_come_out_as_of_the_plain_operations(x, dtype):
    norm = partial(BatchNorm, 3, dtype=dtype)
    for bad in (float("nan"), float("inf")):
        x[0, 1] = bad
        y, z = norm()(x), plain(norm())(x)
        assert torch.equal(y.isfinite(), z.isfinite())
        assert not y[:, 1].isfinite().any()

"""The cousins as modules: torch's norms, the reference, and central differences of it."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import skip_init
from torch.testing import assert_close

from bnlib import layers, reference
from bnlib.layers import (
    BatchNorm,
    BatchRenorm,
    ExampleGroupNorm,
    ExampleInstanceNorm,
    ExampleLayerNorm,
    ExampleRMSNorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    ScaledConv2d,
    ScaledSkip,
    StandardizedConv2d,
    as_torch,
    fold_model,
    fold_pair,
    freeze,
    standardize_weight,
)

CLOSE = {"rtol": 1e-11, "atol": 1e-11}


@pytest.fixture(params=[(6, 3), (4, 6, 5), (2, 4, 4, 5)], ids=str)
def x(request, generator):
    return 3 + torch.randn(request.param, generator=generator, dtype=torch.float64).exp()


EXAMPLE = {
    "layer": lambda c: ExampleLayerNorm(c),
    "instance": lambda c: ExampleInstanceNorm(c),
    "group": lambda c: ExampleGroupNorm(2 if c % 2 == 0 else 1, c),
    "rms": lambda c: ExampleRMSNorm(c),
}
BATCH = {"ghost": lambda c: GhostBatchNorm(c, 2), "renorm": lambda c: BatchRenorm(c)}
ALL = EXAMPLE | BATCH


@pytest.fixture
def make(x, unlike_new):
    """A norm of a name for x, unlike a new one."""

    def new(name):
        if name == "instance" and x.dim() == 2:
            pytest.skip("an instance of dense input has one value")
        return unlike_new(ALL[name](x.shape[1]).double())

    return new


def reference_of(norm, x):
    """What NumPy's floor gives for it in training, with r and d of its buffers at this moment."""
    array, weight = x.detach().numpy(), norm.weight.detach().numpy()
    bias = None if norm.bias is None else norm.bias.detach().numpy()
    if isinstance(norm, ExampleRMSNorm):
        return lambda x: reference.rms_norm(x, weight)
    if isinstance(norm, ExampleLayerNorm):
        return lambda x: reference.layer_norm(x, weight, bias)
    if isinstance(norm, ExampleInstanceNorm):
        return lambda x: reference.instance_norm(x, weight, bias)
    if isinstance(norm, ExampleGroupNorm):
        return lambda x: reference.group_norm(x, weight, bias, norm.num_groups)
    if isinstance(norm, GhostBatchNorm):
        return lambda x: reference.ghost_batch_norm(x, weight, bias, norm.size)
    kept = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
    batch = reference.batch_statistics(array)
    r, d = reference.renorm_factors(batch, *kept, norm.r_max, norm.d_max)
    return lambda x: reference.batch_renorm(x, weight, bias, r, d)


@pytest.mark.parametrize("name", ALL)
def test_forward_and_backward_are_those_of_the_reference(name, make, x, dy):
    norm = make(name)
    f = reference_of(norm, x)
    y = norm(x.requires_grad_())
    assert_close(y.detach(), torch.from_numpy(f(x.detach().numpy())), **CLOSE)
    y.backward(dy)
    dx = reference.numerical_gradient(f, x.detach().numpy(), dy.numpy())
    assert_close(x.grad, torch.from_numpy(dx), rtol=1e-6, atol=1e-7)
    dims = (0, *range(2, x.dim()))
    if norm.bias is not None:
        assert_close(norm.bias.grad, dy.sum(dims), **CLOSE)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("x", [(4, 2, 2)], ids=str, indirect=True)
def test_second_derivatives_are_right_too(name, make, x):
    norm = make(name)
    if name == "renorm":
        norm.r_max, norm.d_max = 1.0, 0.0  # else r and d hide a dependence on purpose

    def call(x, *parameters):
        named = dict(zip(dict(norm.named_parameters()), parameters, strict=True))
        return functional_call(copy.deepcopy(norm), named, (x,))

    assert torch.autograd.gradgradcheck(call, (x.requires_grad_(), *norm.parameters()))


@pytest.mark.parametrize("name", EXAMPLE)
def test_torchs_norms_take_the_state_dict_and_give_the_same(name, make, x):
    ours, channels = make(name), x.shape[1]
    dense = x.dim() == 2
    theirs = {
        "layer": nn.LayerNorm(channels) if dense else nn.GroupNorm(1, channels),
        "instance": nn.InstanceNorm1d(channels, affine=True)
        if x.dim() == 3
        else nn.InstanceNorm2d(channels, affine=True),
        "group": nn.GroupNorm(2 if channels % 2 == 0 else 1, channels),
        "rms": nn.RMSNorm(channels, eps=1e-5),
    }[name].double()
    if name == "rms" and not dense:
        theirs = nn.RMSNorm(x.shape[1:], eps=1e-5).double()
        with torch.no_grad():
            theirs.weight.copy_(ours.weight.reshape(-1, *(1,) * (x.dim() - 2)).expand(x.shape[1:]))
    else:
        theirs.load_state_dict(ours.state_dict())
    for mode in (True, False):
        assert_close(ours.train(mode)(x), theirs.train(mode)(x), **CLOSE)


@pytest.mark.parametrize("name", EXAMPLE)
def test_an_example_by_itself_gets_the_same_answer(name, make, x):
    norm = make(name)
    assert_close(norm(x)[:1], norm(x[:1]), **CLOSE)
    assert not list(norm.buffers())


@pytest.mark.parametrize("name", ALL)
def test_a_half_input_comes_out_in_half_precision(name, make, x):
    norm = make(name).float()
    twin = copy.deepcopy(norm)
    y = norm(x.half())
    assert y.dtype == torch.float16
    assert_close(y, twin(x.half().float()).half(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shape", [(0, 6), (0, 6, 5), (4, 6, 0)], ids=str)
@pytest.mark.parametrize("name", EXAMPLE)
def test_an_empty_batch_comes_out_empty_as_from_torchs_group_norm(name, shape):
    if name == "instance" and len(shape) == 2:
        pytest.skip("an instance of dense input has one value")
    norm, x = EXAMPLE[name](6), torch.empty(shape, requires_grad=True)
    y, theirs = norm(x), nn.GroupNorm(2, 6)(x)
    assert (y.shape, y.dtype) == (theirs.shape, theirs.dtype)
    y.sum().backward()
    assert x.grad.shape == shape
    assert_close(norm.weight.grad, torch.zeros(6))


@pytest.mark.parametrize("name", ALL)
def test_whole_numbers_are_refused_and_not_rounded(name):
    with pytest.raises(NotImplementedError, match=r"floating-point input \(got torch.int64\)"):
        ALL[name](6)(torch.arange(48).reshape(2, 6, 4))


# --- over the batch


def test_ghost_is_batch_norm_on_the_parts_in_turn(x, unlike_new, same_state):
    ghost = unlike_new(GhostBatchNorm(x.shape[1], 2)).double()
    plain = BatchNorm(x.shape[1]).double()
    plain.load_state_dict(ghost.state_dict())
    parts = [plain(part) for part in x.split(2)]
    assert_close(ghost(x), torch.cat(parts), **CLOSE)
    same_state(ghost, plain, 1e-12)
    assert ghost.num_batches_tracked == len(x) // 2
    assert_close(ghost.eval()(x[:1]), plain.eval()(x[:1]), **CLOSE)


def test_the_memory_of_ghosts_over_k_parts_is_that_of_a_kth_root(generator):
    # as the docstring says: how much of the old statistics is left behind a batch of 512
    x = torch.randn(512, 3, generator=generator, dtype=torch.float64)
    left = []
    for kind in (
        partial(BatchNorm, momentum=0.1),
        partial(GhostBatchNorm, size=8, momentum=1 - (1 - 0.1) ** (1 / 64)),
        partial(GhostBatchNorm, size=8, momentum=0.1),
    ):
        zero, one = kind(3, dtype=torch.float64), kind(3, dtype=torch.float64)
        one.running_mean.fill_(1), one.running_var.fill_(2)
        zero(x), one(x)
        left.append((one.running_mean - zero.running_mean, one.running_var - zero.running_var))
    of = [(torch.full((3,), share).double(),) * 2 for share in (0.9, 0.9, 0.9**64)]
    assert_close(left, of, rtol=1e-6, atol=0)


def test_with_r_1_and_d_0_renorm_is_batch_norm(x, dy, same_state, unlike_new):
    ours = unlike_new(BatchRenorm(x.shape[1], r_max=1.0, d_max=0.0)).double()
    theirs = BatchNorm(x.shape[1]).double()
    theirs.load_state_dict(ours.state_dict())
    gradients = []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        y.backward(dy)
        gradients.append((y.detach(), leaf.grad, norm.weight.grad, norm.bias.grad))
    assert_close(*gradients, **CLOSE)
    same_state(ours, theirs, 1e-12)


def test_unclipped_renorm_trains_with_what_inference_uses(x, unlike_new):
    norm = unlike_new(BatchRenorm(x.shape[1], r_max=1e6, d_max=1e6)).double()
    expected = copy.deepcopy(norm).eval()(x)
    assert_close(norm(x), expected, **CLOSE)


def test_and_its_gradient_is_not_that_of_fixed_statistics(x, dy, unlike_new):
    norm = unlike_new(BatchRenorm(x.shape[1], r_max=1e6, d_max=1e6)).double()
    frozen = copy.deepcopy(norm).eval()
    dx, fixed = (torch.autograd.grad(n(x.requires_grad_()), x, dy)[0] for n in (norm, frozen))
    # the batch's mean still takes part: what moves all of a channel together moves no output
    assert_close(dx.sum((0, *range(2, x.dim()))), torch.zeros(x.shape[1]).double(), rtol=0, atol=1e-10)
    assert not torch.allclose(dx, fixed)


def test_the_statistics_that_renorm_keeps_are_those_of_batch_norm(x, same_state):
    ours, theirs = BatchRenorm(x.shape[1]).double(), BatchNorm(x.shape[1]).double()
    for factor in (1.0, 2.0, 0.5):
        ours(factor * x), theirs(factor * x)
    same_state(ours, theirs, 1e-12)


@pytest.mark.parametrize("name", BATCH)
def test_in_eval_mode_they_are_batch_norms_that_freeze_fold_and_become_torchs(name, generator, unlike_new):
    x = 3 + torch.randn(5, 4, generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(4, 6), unlike_new(BATCH[name](6))).double().eval()
    y, theirs, folded = model(x), as_torch(model, plain=nn.BatchNorm1d), fold_model(model)
    assert [type(m) for m in theirs] == [nn.Linear, nn.BatchNorm1d]
    assert vars(theirs[1]).keys() == vars(nn.BatchNorm1d(6)).keys()
    assert [type(m) for m in folded] == [nn.Linear, nn.Identity]
    for other in (theirs, folded, fold_pair(*model), freeze(model), freeze(model).train()):
        assert_close(other(x), y, **CLOSE)
    assert type(freeze(model.train())[1]) is FrozenBatchNorm


@pytest.mark.parametrize("name", BATCH)
def test_without_kept_statistics_they_are_batch_norms_in_eval_mode_too(name, x):
    ours, theirs = (n.double().eval() for n in (BATCH[name](x.shape[1]), BatchNorm(x.shape[1])))
    for norm in (ours, theirs):
        norm.running_mean = norm.running_var = None
    assert_close(ours(x), theirs(x), **CLOSE)


# --- weights


def test_a_standardized_convolution_is_a_convolution_with_the_references_weights(generator):
    image = torch.randn(2, 3, 6, 6, generator=generator, dtype=torch.float64)
    for kind, standardized in (
        (StandardizedConv2d, reference.standardize_weight),
        (ScaledConv2d, lambda w: reference.scaled_weight(w, ScaledConv2d.gain)),
    ):
        ours, plain = (k(3, 4, 3, padding=1, stride=2).double() for k in (kind, nn.Conv2d))
        plain.load_state_dict(ours.state_dict())
        weight = torch.from_numpy(standardized(ours.weight.detach().numpy()))
        assert_close(ours.standardized().detach(), weight, **CLOSE)
        plain.weight.data = weight
        assert_close(ours(image), plain(image), **CLOSE)


@pytest.mark.parametrize("kind", [StandardizedConv2d, ScaledConv2d])
def test_eps_is_added_to_the_variance_of_the_weights(kind):
    plain, other = (kind(3, 4, 3, **eps).double() for eps in ({}, {"eps": 0.5}))
    other.load_state_dict(plain.state_dict())
    assert (plain.eps, other.eps) == (1e-5, 0.5)
    var = plain.weight.detach().var(dim=(1, 2, 3), correction=0).view(4, 1, 1, 1)
    ratio = torch.sqrt((var + 1e-5) / (var + 0.5)).expand(4, 3, 3, 3)
    assert_close((other.standardized() / plain.standardized()).detach(), ratio, **CLOSE)
    assert "bias=False, eps=0.5" in repr(kind(3, 4, 3, bias=False, eps=0.5))
    assert skip_init(kind, 3, 4, kernel_size=3, eps=0.5).eps == 0.5


def test_its_gradient_is_that_of_central_differences(generator):
    weight = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(standardize_weight, weight)
    # nothing pushes a weight towards its own mean or length
    dw = torch.autograd.grad(standardize_weight(weight, 0.0), weight, torch.randn(3, 2, 2).double())[0]
    assert_close(dw.sum((1, 2)), torch.zeros(3).double(), rtol=0, atol=1e-12)
    assert_close((dw * weight).sum((1, 2)), torch.zeros(3).double(), rtol=0, atol=1e-12)


def test_scaled_convolutions_keep_the_variance_behind_a_relu(generator):
    x = torch.randn(8, 64, 16, 16, generator=generator)
    for _ in range(4):
        convolution = ScaledConv2d(64, 64, 3, padding=1, padding_mode="circular", bias=False)
        x = convolution(torch.relu(x))
    assert x.var().item() == pytest.approx(1, abs=0.15)


def test_a_scaled_skip_grows_as_it_says(generator):
    h = torch.randn(50, 1000, generator=generator)
    for scale in reference.skip_scales(5, 0.5):
        assert h.std().item() == pytest.approx(scale, rel=0.02)
        shuffle = torch.randperm(1000, generator=generator)

        class Shuffled(nn.Module):
            def forward(self, x, order=shuffle):
                return x[:, order]

        h = ScaledSkip(Shuffled(), float(scale), 0.5)(h)


# --- stacked, shown, refused


@pytest.mark.parametrize("name", ALL)
def test_many_of_them_are_one_under_vmap(name, make, x, unlike_new):
    norms = [unlike_new(copy.deepcopy(make(name)), seed=i) for i in range(3)]
    alone = [copy.deepcopy(norm)(x) for norm in norms]
    parameters, buffers = stack_module_state(norms)
    stacked = vmap(lambda p, b: functional_call(norms[0], (p, b), (x,)))(parameters, buffers)
    assert_close(stacked, torch.stack(alone), **CLOSE)


def test_they_say_what_they_are():
    assert "size=4" in repr(GhostBatchNorm(6, 4))
    assert "r_max=3.0, d_max=5.0" in repr(BatchRenorm(6))
    assert repr(ExampleGroupNorm(2, 6)) == "ExampleGroupNorm(2, 6, eps=1e-05)"


def test_no_public_name_is_one_of_torchs():
    assert not [name for name in layers.cousins.__all__ if hasattr(nn, name)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GhostBatchNorm(6, 0), r"positive size \(got 0\)"),
        (lambda: GhostBatchNorm(6, 3)(torch.randn(4, 6)), r"a multiple of 3 examples \(got 4\)"),
        (lambda: GhostBatchNorm(6, 1)(torch.randn(4, 6)), "more than 1 value per channel"),
        (lambda: GhostBatchNorm(6, 2)(torch.randn(4)), r"at least 2D input \(got 1D input\)"),
        (lambda: BatchRenorm(6, r_max=0.5), "r_max >= 1"),
        (lambda: BatchRenorm(6, d_max=-1), "d_max >= 0"),
        (lambda: BatchRenorm(6)(torch.randn(1, 6)), "more than 1 value per channel"),
        (lambda: BatchRenorm(6, track_running_stats=False)(torch.randn(4, 6)), "running statistics"),
        (lambda: ExampleGroupNorm(4, 6), r"6 channels to divide into groups \(got 4\)"),
        (lambda: ExampleGroupNorm(2, 6)(torch.randn(4, 3)), r"\(N, 6, \*spatial\) \(got \(4, 3\)\)"),
        (lambda: ExampleLayerNorm(6)(torch.randn(6)), r"\(N, 6, \*spatial\) \(got \(6,\)\)"),
        (lambda: ExampleInstanceNorm(6)(torch.randn(4, 6)), "more than 1 value to share a mean"),
        (lambda: standardize_weight(torch.randn(4, 1)), "more than 1 weight an output"),
        (lambda: ScaledSkip(nn.Identity(), 0.0, 0.2), r"positive scale \(got 0.0\)"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("norm", [GhostBatchNorm(6, 3), BatchRenorm(6)])
def test_what_is_refused_moves_nothing(norm, same_state):
    before = copy.deepcopy(norm)
    with pytest.raises(ValueError):
        norm(torch.randn(1, 6))
    same_state(norm, before)

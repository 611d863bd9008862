"""The way out and back: torch.nn's norms in the place of ours, for what goes by the name of a class."""

import copy

import pytest
import torch
from torch import nn
from torch.ao.quantization import (
    fuse_modules,
    fuse_modules_qat,
    get_default_qat_qconfig,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
    prepare_qat,
)
from torch.ao.quantization.quantize_fx import convert_fx, fuse_fx, prepare_fx, prepare_qat_fx
from torch.fx import symbolic_trace
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchRenorm,
    FrozenBatchNorm,
    GuardedBatchNorm,
    MaskedBatchNorm,
    SkippingBatchNorm,
    as_torch,
    fold_model,
    freeze,
    from_torch,
    is_batch_norm,
    recompute_statistics,
)

modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
ELSE_IN_TRAINING = [BatchRenorm, FrozenBatchNorm, GuardedBatchNorm, SkippingBatchNorm]


class WithReLU(BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.fixture
def model(unlike_new):
    norm = unlike_new(BatchNorm2d(4, eps=1e-2, momentum=None))
    return nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1), norm))


@pytest.fixture
def images(generator):
    return 3 + 2 * torch.randn(5, 2, 6, 7, generator=generator)


@modes
def test_there_and_back_outputs_state_and_modes_are_the_same(model, images, same_state, mode):
    model.train(mode)[1].requires_grad_(False)
    before = copy.deepcopy(model)
    theirs = as_torch(model)
    back = from_torch(theirs)
    assert type(theirs[1]) is nn.BatchNorm2d
    assert type(back[1]) is type(model[1]) is BatchNorm2d
    assert theirs[1] is theirs[3][1]
    for other in (theirs, back):
        same_state(other, model)
        assert [m.training for m in other.modules()] == [m.training for m in model.modules()]
        assert not other[1].weight.requires_grad
    y = model(images)
    assert_close(theirs(images), y, rtol=1e-4, atol=1e-4)
    assert_close(back(images), y, rtol=0, atol=0)
    same_state(theirs, model, 1e-4)
    model.load_state_dict(before.state_dict())
    same_state(as_torch(model), before)


def test_each_rank_becomes_its_own_and_the_argument_stays(twins, x, same_state):
    ours, theirs = twins(x.ndim, 3, dtype=x.dtype)
    became = as_torch(ours)
    assert type(became) is type(theirs)
    same_state(became, theirs)
    assert_close(became(x), theirs(x), rtol=0, atol=0)
    assert ours.num_batches_tracked == 0


def test_a_norm_of_any_rank_becomes_what_is_said_and_nothing_in_silence():
    model = nn.Sequential(nn.Linear(2, 3), BatchNorm(3))
    with pytest.raises(TypeError, match=r"any rank \(got none for BatchNorm '1'\)"):
        as_torch(model)
    assert type(as_torch(model, plain=nn.BatchNorm1d)[1]) is nn.BatchNorm1d


class Listed(nn.Module):
    """Calls its layers by a plain list, which is no submodule."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(2, 3), BatchNorm1d(3)
        self.layers = [self.linear, self.norm]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_what_a_plain_list_holds_is_changed_here_and_left_by_what_replaces_modules(unlike_new):
    # as the docstrings say
    model, x = Listed(), torch.randn(6, 2)
    unlike_new(model.norm)
    y = model.eval()(x)
    theirs = as_torch(model)
    assert theirs.layers[1] is theirs.norm
    assert type(freeze(model).norm) is FrozenBatchNorm
    assert type(freeze(model).layers[1]) is BatchNorm1d
    assert type(fold_model(model).norm) is nn.Identity
    assert_close(fold_model(model)(x), y, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_in_a_scripted_module_no_norm_is_found(model, images):
    # as the docstrings say
    scripted = torch.jit.script(as_torch(model.eval()))
    assert not any(map(is_batch_norm, scripted.modules()))
    with pytest.raises(ValueError, match=r"keep running statistics \(got none\)"):
        recompute_statistics(scripted, [images])
    with pytest.raises(ValueError, match="data flow can be traced"):
        fold_model(scripted)


def test_hooks_stay(model, images):
    seen = []
    model[1].register_forward_hook(lambda norm, inputs, output: seen.append(type(norm)))
    as_torch(model[:2])(images), from_torch(as_torch(model[:2]))(images)
    assert seen == [nn.BatchNorm2d, BatchNorm2d]


@pytest.mark.parametrize("kind", ELSE_IN_TRAINING)
def test_what_torchs_norms_do_not_do_in_training_is_refused_there_and_the_way_out_is_told(kind):
    model = nn.Sequential(nn.Linear(2, 3), kind(3))
    message = rf"in eval mode \(got {kind.__name__} '1' in training mode\): call eval\(\) first$"
    with pytest.raises(TypeError, match=message):
        as_torch(model, plain=nn.BatchNorm1d)
    assert type(as_torch(model.eval(), plain=nn.BatchNorm1d)[1]) is nn.BatchNorm1d


@modes
@pytest.mark.parametrize("kind", [MaskedBatchNorm, WithReLU])
def test_what_does_more_in_eval_mode_too_is_refused_in_both(kind, mode):
    with pytest.raises(TypeError, match=rf"nothing but normalize.*\(got {kind.__name__} ''\)$"):
        as_torch(kind(3).train(mode), plain=nn.BatchNorm1d)


def test_a_frozen_model_in_eval_mode_is_carried_over(model, images, same_state):
    frozen = freeze(model).eval()
    theirs = as_torch(frozen)
    assert type(theirs[1]) is nn.BatchNorm2d
    assert "dimensions" not in vars(theirs[1])
    assert_close(theirs(images), frozen(images), rtol=1e-4, atol=1e-4)
    same_state(theirs, frozen)


def test_a_norm_with_a_computed_weight_is_refused():
    norm = parametrizations.weight_norm(BatchNorm2d(3), dim=None).eval()
    with pytest.raises(TypeError, match="got ParametrizedBatchNorm2d"):
        as_torch(norm)


@pytest.mark.parametrize("kind", [nn.SyncBatchNorm, nn.LazyBatchNorm1d])
def test_of_torchs_what_ours_cannot_do_is_refused_by_name(kind):
    with pytest.raises(TypeError, match=rf"\(got {kind.__name__} '0'\)"):
        from_torch(nn.Sequential(kind() if kind is nn.LazyBatchNorm1d else kind(3)))


def test_ours_stay_on_the_way_back_and_torchs_on_the_way_out():
    frozen = freeze(nn.BatchNorm1d(3))
    assert type(from_torch(frozen)) is FrozenBatchNorm
    assert from_torch(frozen).dimensions == (2, 3)
    assert type(as_torch(nn.SyncBatchNorm(3))) is nn.SyncBatchNorm


# --- what it opens


def test_the_model_can_be_traced_by_torch_fx(model, images):
    theirs = as_torch(model.eval())
    assert_close(symbolic_trace(theirs)(images), theirs(images), rtol=0, atol=0)


def test_a_tracer_of_torch_fx_is_told_the_way(generator):
    # ours is no module that the tracer knows by name, so it goes in with a proxy in place of the batch
    with pytest.raises(TypeError, match=r"got Proxy\); .* after bnlib.layers.as_torch"):
        symbolic_trace(nn.Sequential(BatchNorm2d(3)))


def test_a_convolution_a_norm_and_a_relu_fuse(model, images):
    theirs = as_torch(model[:3].eval())
    fused = fuse_modules(theirs, [["0", "1", "2"]])
    assert isinstance(fused[1], nn.Identity)
    assert_close(fused(images), model[:3](images), rtol=1e-4, atol=1e-4)


def test_a_traced_model_fuses_the_same_pairs(model, images):
    theirs = as_torch(model[:3].eval())
    fused = fuse_fx(theirs)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert_close(fused(images), model[:3](images), rtol=1e-4, atol=1e-4)


def quantizing(test):
    """Let torch.ao say that it is moving to torchao, where the programs of torch.export are quantized."""
    for said in (
        "torch.ao.quantization is deprecated:DeprecationWarning",
        "Please use quant_min and quant_max:UserWarning",
        "torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning",
    ):
        test = pytest.mark.filterwarnings(f"ignore:{said}")(test)
    return test


ENGINE = torch.backends.quantized.engine


@quantizing
def test_the_model_can_be_quantized_after_training(model, images):
    theirs = as_torch(model[:3].eval())
    prepared = prepare_fx(theirs, get_default_qconfig_mapping(ENGINE), (images,))
    y = prepared(images)
    quantized = convert_fx(prepared)
    assert "BatchNorm" not in repr(quantized)
    assert isinstance(quantized.get_submodule("0"), torch.ao.nn.intrinsic.quantized.ConvReLU2d)
    assert_close(quantized(images), y, rtol=0, atol=0.05 * y.abs().max().item())


@quantizing
def test_the_model_can_be_trained_for_quantization_traced(model, images):
    theirs = as_torch(model[:3].train())
    prepared = prepare_qat_fx(theirs, get_default_qat_qconfig_mapping(ENGINE), (images,))
    before = prepared.get_submodule("0").bn.running_mean.clone()
    prepared(images).square().mean().backward()
    assert not torch.equal(prepared.get_submodule("0").bn.running_mean, before)
    prepared.eval()
    y = prepared(images)
    assert_close(convert_fx(prepared)(images), y, rtol=0, atol=0.05 * y.abs().max().item())


@quantizing
def test_the_model_can_be_trained_for_quantization_eagerly(model, images):
    theirs = as_torch(model[:3].train())
    y = copy.deepcopy(theirs)(images)
    theirs.qconfig = get_default_qat_qconfig(ENGINE)
    prepared = prepare_qat(fuse_modules_qat(theirs, [["0", "1", "2"]]))
    assert type(prepared[0]) is torch.ao.nn.intrinsic.qat.ConvBnReLU2d
    assert_close(prepared(images), y, rtol=0, atol=0.05 * y.abs().max().item())


@pytest.mark.parametrize("fuse", [fuse_modules, fuse_modules_qat])
def test_as_they_are_ours_are_unknown_to_the_tables(model, fuse):
    # so that the way out is needed; if this fails one day, the docstrings that say so are old
    model = model[:2].train(fuse is fuse_modules_qat)
    with pytest.raises((NotImplementedError, AssertionError), match="did not find fuser method"):
        fuse(model, [["0", "1"]])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@modes
def test_the_model_can_be_scripted(model, images, mode):
    theirs = as_torch(model.train(mode))
    scripted = torch.jit.script(copy.deepcopy(theirs))
    assert_close(scripted(images), theirs(images))

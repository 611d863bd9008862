"""What looks for batch norms by type finds ours: recipes in use, each run on torch.nn's beside.

A recipe that torch does not bring itself is written after the file that its docstring names, in as few lines
as keep what it asks for and what it changes.

Norms that do more than torch.nn's are left as they are by what would put others in their place.
"""

import copy

import pytest
import torch
from torch import nn
from torch.func import replace_all_batch_norm_modules_, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.testing import assert_close

from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BatchNormBase,
    FrozenBatchNorm,
    GuardedBatchNorm,
    MaskedBatchNorm,
    SkippingBatchNorm,
    is_batch_norm,
)

THEIRS = {BatchNorm1d: nn.BatchNorm1d, BatchNorm2d: nn.BatchNorm2d, BatchNorm3d: nn.BatchNorm3d}

images_too = pytest.mark.parametrize("kind", [BatchNorm, BatchNorm2d])
doing_more = pytest.mark.parametrize(
    "kind", [FrozenBatchNorm, GuardedBatchNorm, MaskedBatchNorm, SkippingBatchNorm]
)


@pytest.fixture
def beside(unlike_new):
    """One model with our norms and one with torch.nn's, in the same state."""

    def make(kind):
        torch.manual_seed(0)
        theirs = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            unlike_new(nn.BatchNorm2d(4), seed=1),
            nn.ReLU(),
            nn.Sequential(nn.Conv2d(4, 3, 2), unlike_new(nn.BatchNorm2d(3, momentum=None), seed=2)),
        )
        ours = copy.deepcopy(theirs)
        ours[1], ours[3][1] = kind(4), kind(3, momentum=None)
        ours.load_state_dict(theirs.state_dict())
        return ours, theirs

    return make


@pytest.fixture
def images(generator):
    return 3 + 2 * torch.randn(5, 2, 6, 7, generator=generator)


@pytest.mark.parametrize("kind", [BatchNorm, *THEIRS])
def test_ours_are_torchs_by_type_each_of_its_own_rank(kind):
    assert isinstance(kind(3), _BatchNorm)
    assert [theirs for theirs in THEIRS.values() if isinstance(kind(3), theirs)] == (
        [THEIRS[kind]] if kind in THEIRS else []
    )


@doing_more
def test_a_norm_that_does_more_is_a_batch_norm_and_none_of_torchs(kind):
    assert is_batch_norm(kind(3))
    assert isinstance(kind(3), BatchNormBase)
    assert not isinstance(kind(3), _BatchNorm)


# --- recipes that look, and change no class


def freeze_by_eval(model):
    """The forums' way to keep statistics while the rest trains; `norm_eval` of open-mmlab's backbones."""
    model.train()
    for m in model.modules():
        if isinstance(m, _BatchNorm):
            m.eval()


@images_too
def test_freezing_by_eval_mode(beside, images, same_state, kind):
    ours, theirs = beside(kind)
    before = copy.deepcopy(ours)
    for model in (ours, theirs):
        freeze_by_eval(model)
    assert_close(ours(images), theirs(images))
    same_state(ours, before)


def split_normalization_params(model):
    """pytorch/vision, torchvision/ops/_utils.py, with its default classes."""
    kinds = (
        _BatchNorm,
        nn.LayerNorm,
        nn.GroupNorm,
        nn.modules.instancenorm._InstanceNorm,
        nn.LocalResponseNorm,
    )
    norms, others = [], []
    for module in model.modules():
        if next(module.children(), None):
            others.extend(p for p in module.parameters(recurse=False) if p.requires_grad)
        elif isinstance(module, kinds):
            norms.extend(p for p in module.parameters() if p.requires_grad)
        else:
            others.extend(p for p in module.parameters() if p.requires_grad)
    return norms, others


@images_too
def test_weight_decay_groups(beside, kind):
    (norms, others), theirs = map(split_normalization_params, beside(kind))
    assert [len(norms), len(others)] == list(map(len, theirs)) == [4, 3]


def norm_bias_params(m, norm_types=(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
    """fastai/fastai, fastai/torch_core.py, which names instance and layer norms too."""
    if isinstance(m, norm_types):
        return list(m.parameters())
    found = [p for child in m.children() for p in norm_bias_params(child, norm_types)]
    return found if getattr(m, "bias", None) is None else [*found, m.bias]


def test_norms_and_biases_without_weight_decay(beside):
    ours, theirs = beside(BatchNorm2d)
    assert [p.shape for p in norm_bias_params(ours)] == [p.shape for p in norm_bias_params(theirs)]
    assert len(norm_bias_params(ours)) == 5


def get_bn_modules(model):
    """facebookresearch/fvcore, fvcore/nn/precise_bn.py: the norms whose statistics are taken anew."""
    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    return [m for m in model.modules() if m.training and isinstance(m, kinds)]


def test_the_norms_in_training_mode(beside):
    ours, theirs = beside(BatchNorm2d)
    for model in (ours, theirs):
        model[1].eval()
    assert get_bn_modules(ours) == [ours[3][1]]
    assert len(get_bn_modules(theirs)) == 1


def test_what_names_the_ranks_does_not_see_a_norm_of_any_rank(beside):
    # as its docstring says
    ours, _ = beside(BatchNorm)
    assert get_bn_modules(ours) == []
    assert norm_bias_params(ours)[0] is ours[1].bias


def convert_network(network, dtype):
    """NVIDIA/apex, apex/fp16_utils/fp16util.py, and fastai's copy: all but affine batch norms."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.affine is True:
            continue
        for v in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            if v.dtype.is_floating_point:
                v.data = v.data.to(dtype)


def bn_convert_float(module):
    """NVIDIA/apex, the same file, its older way: all are converted, and the norms back."""
    if isinstance(module, _BatchNorm) and module.affine is True:
        module.float()
    for child in module.children():
        bn_convert_float(child)


@pytest.mark.parametrize(
    "convert",
    [lambda m: convert_network(m, torch.bfloat16), lambda m: bn_convert_float(m.bfloat16())],
    ids=["all but norms", "and norms back"],
)
@images_too
def test_keeping_norms_in_float32(beside, images, kind, convert):
    ours, theirs = beside(kind)
    for model in (ours, theirs):
        convert(model)
        assert [p.dtype for p in model[1].parameters()] == [torch.float32] * 2
        assert model[0].weight.dtype == torch.bfloat16
    y, y_theirs = ours(images.bfloat16()), theirs(images.bfloat16())
    assert y.dtype == torch.bfloat16
    assert_close(y, y_theirs, rtol=0.05, atol=0.1)


@images_too
def test_torch_funcs_switch_to_batch_statistics(beside, images, kind):
    # torch/_functorch/batch_norm_replacement.py: the three buffers and the flag are taken away
    ours, theirs = map(replace_all_batch_norm_modules_, beside(kind))
    x = torch.stack([images, 2 * images - 1])
    assert ours[1].running_mean is ours[1].num_batches_tracked is None
    assert_close(vmap(ours)(x), vmap(theirs)(x), rtol=1e-4, atol=1e-5)


@images_too
def test_update_bn_takes_the_statistics_anew(beside, images, same_state, kind):
    ours, theirs = map(AveragedModel, beside(kind))
    for model in (ours, theirs):
        update_bn([images, 2 * images - 1, (images[:3],)], model)
    assert ours.module[1].num_batches_tracked == 3
    assert (ours.module[1].momentum, ours.module[3][1].momentum) == (0.1, None)
    same_state(ours, theirs, 1e-4)


# --- recipes that put others in their place


class Frozen(nn.Module):
    """Stands for the frozen norms of torchvision (ops/misc.py) and detectron2: four buffers and an eps."""

    def __init__(self, num_features):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(num_features))

    def forward(self, x):
        buffers = (self.running_mean, self.running_var, self.weight, self.bias)
        return nn.functional.batch_norm(x, *buffers, eps=self.eps)


def freeze_batch_norm_2d(module):
    """huggingface/pytorch-image-models, timm/layers/norm_act.py.

    So does ``convert_frozen_batchnorm`` of facebookresearch/detectron2, detectron2/layers/batch_norm.py.
    """
    found = module
    if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
        found = Frozen(module.num_features)
        if module.affine:
            found.weight.data = module.weight.data.clone().detach()
            found.bias.data = module.bias.data.clone().detach()
        found.running_mean.data = module.running_mean.data
        found.running_var.data = module.running_var.data
        found.eps = module.eps
    else:
        for name, child in module.named_children():
            new = freeze_batch_norm_2d(child)
            if new is not child:
                found.add_module(name, new)
    return found


def test_a_converter_of_2d_norms_finds_ours(beside, images, same_state):
    ours, theirs = beside(BatchNorm2d)
    y = copy.deepcopy(ours).eval()(images)
    ours, theirs = freeze_batch_norm_2d(ours), freeze_batch_norm_2d(theirs)
    assert repr(ours) == repr(theirs)
    assert type(ours[1]) is type(ours[3][1]) is Frozen
    same_state(ours, theirs)
    assert_close(ours(images), y, rtol=1e-4, atol=1e-4)


@images_too
def test_convert_sync_batchnorm_synchronizes_ours_as_torchs(beside, images, same_state, kind):
    ours, theirs = map(nn.SyncBatchNorm.convert_sync_batchnorm, beside(kind))
    assert repr(ours) == repr(theirs)
    assert type(ours[1]) is type(ours[3][1]) is nn.SyncBatchNorm
    for mode in (True, False):
        assert_close(ours.train(mode)(images), theirs.train(mode)(images), rtol=0, atol=0)
    same_state(ours, theirs)


@doing_more
def test_no_converter_thaws_or_unguards_a_norm_in_silence(unlike_new, same_state, kind):
    model = nn.Sequential(nn.Linear(2, 3), unlike_new(kind(3)))
    norm, before = model[1], copy.deepcopy(model)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    freeze_batch_norm_2d(converted), replace_all_batch_norm_modules_(converted)
    update_bn([], converted)
    assert converted[1] is norm
    same_state(converted, before)


def test_update_bn_leaves_a_frozen_norm_among_others_as_it_is(unlike_new, same_state):
    model = nn.Sequential(BatchNorm1d(3), unlike_new(FrozenBatchNorm(3)))
    before = copy.deepcopy(model[1])
    update_bn([torch.randn(6, 3)], model)
    assert model[0].num_batches_tracked == 1
    same_state(model[1], before)


@pytest.mark.parametrize("kind", [BatchNorm, BatchNorm2d, FrozenBatchNorm, GuardedBatchNorm])
def test_torchs_fusion_of_a_convolution_and_a_norm_at_inference(beside, images, kind):
    ours, theirs = (model[:2].eval() for model in beside(kind))
    fused, fused_theirs = fuse_conv_bn_eval(*ours), fuse_conv_bn_eval(*theirs)
    assert_close(fused(images), ours(images), rtol=1e-4, atol=1e-4)
    assert_close(fused.weight, fused_theirs.weight, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [BatchNorm, BatchNorm1d])
def test_torchs_fusion_of_a_linear_layer_and_a_norm_at_inference(unlike_new, kind):
    linear, norm, x = nn.Linear(2, 3).eval(), unlike_new(kind(3)).eval(), torch.randn(4, 2)
    assert_close(fuse_linear_bn_eval(linear, norm)(x), norm(linear(x)), rtol=1e-4, atol=1e-4)

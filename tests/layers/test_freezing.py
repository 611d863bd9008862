"""Freezing a model: its norms stop moving, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    FrozenBatchNorm,
    MaskedBatchNorm,
    SkippingBatchNorm,
    fold_model,
    freeze,
)

norms = pytest.mark.parametrize(
    "norm",
    [
        *(BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, SkippingBatchNorm, FrozenBatchNorm),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    ],
    ids=lambda norm: f"{norm.__module__.split('.')[0]}-{norm.__name__}",
)


@pytest.fixture
def model(unlike_new):
    """Ours and torch.nn's, one nested, each off its initial values."""
    block = nn.Sequential(nn.Conv2d(4, 3, 2), unlike_new(BatchNorm2d(3, eps=1e-2, momentum=None)))
    return nn.Sequential(nn.Conv2d(2, 4, 3), unlike_new(nn.BatchNorm2d(4)), nn.Sigmoid(), block).double()


@pytest.fixture
def images(generator):
    return 3 + 2 * torch.randn(5, 2, 6, 7, generator=generator, dtype=torch.float64)


def test_a_frozen_model_that_trains_does_what_torch_does_with_its_norms_in_eval_mode(model, images):
    frozen = freeze(model).train()
    for norm in (model[1], model[3][1]):
        norm.eval()
    for _ in range(3):
        for network in (frozen, model):
            network(images).square().sum().backward()
            with torch.no_grad():
                for p in network.parameters():
                    p -= 1e-4 * p.grad
                    p.grad = None
    for name, v in frozen.state_dict().items():
        torch.testing.assert_close(v, model.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_train_does_not_thaw_what_eval_mode_alone_would(model, images, same_state):
    eval_only, frozen = copy.deepcopy(model).eval(), freeze(model).eval()
    eval_only.train()(images), frozen.train()(images)
    assert eval_only[1].num_batches_tracked == 1
    same_state(frozen, model)


@norms
def test_every_norm_is_replaced_by_one_with_its_state(norm, unlike_new, same_state):
    module = unlike_new(norm(3, eps=1e-2, momentum=None))
    module.num_batches_tracked += 7
    frozen = freeze(nn.Sequential(module))[0]
    assert type(frozen) is FrozenBatchNorm
    same_state(frozen, module)
    assert (frozen.num_features, frozen.eps, frozen.momentum, frozen.affine) == (3, 1e-2, None, True)
    assert frozen.state_dict()._metadata == nn.BatchNorm1d(3).state_dict()._metadata


@norms
@pytest.mark.parametrize("ndim", [1, 2, 3, 4, 5, 6])
def test_the_ranks_accepted_stay_the_same(norm, ndim):
    module, x = norm(3).eval(), torch.randn((2, 3, 2, 2, 2, 2)[:ndim])
    try:
        module(x)
    except ValueError:
        with pytest.raises(ValueError, match=rf"\(got {ndim}D input\)"):
            freeze(module)(x)
    else:
        torch.testing.assert_close(freeze(module)(x), module(x))


def test_the_argument_stays_as_it_is_and_shares_nothing(model, images, same_state):
    before = copy.deepcopy(model)
    frozen = freeze(model)
    with torch.no_grad():
        for v in frozen.state_dict().values():
            v.zero_()
    same_state(model, before)
    assert [type(m) for m in model.modules()] == [type(m) for m in before.modules()]
    model(images)
    assert model[1].num_batches_tracked == 1


def test_state_dicts_load_both_ways(model, same_state):
    frozen = freeze(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for v in other.state_dict().values():
            v += 1
    frozen.load_state_dict(other.state_dict())
    same_state(frozen, other)
    model.load_state_dict(frozen.state_dict())
    same_state(model, other)


def test_modes_and_requires_grad_stay_as_they_are(model):
    model.eval()[1].train()
    model[1].weight.requires_grad_(False)
    frozen = freeze(model)
    assert [m.training for m in frozen.modules()] == [m.training for m in model.modules()]
    assert [p.requires_grad for p in frozen.parameters()] == [p.requires_grad for p in model.parameters()]


def test_a_norm_in_two_places_stays_one():
    norm = nn.BatchNorm1d(3)
    frozen = freeze(nn.Sequential(norm, nn.ReLU(), norm))
    assert frozen[0] is frozen[2]
    assert type(frozen[0]) is FrozenBatchNorm


def test_a_weight_shared_by_two_norms_stays_shared():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    frozen = freeze(model)
    assert frozen[0].weight is frozen[1].weight


def test_a_norm_alone_freezes_and_again_and_copies(x, unlike_new, same_state):
    norm = unlike_new(BatchNorm(3, dtype=x.dtype)).eval()
    for frozen in (freeze(norm), freeze(freeze(norm)), copy.deepcopy(freeze(norm))):
        torch.testing.assert_close(frozen.train()(x), norm(x), rtol=0, atol=0)
        same_state(frozen, norm)


def test_other_norms_and_models_without_any_stay():
    model = nn.Sequential(nn.LayerNorm(3), nn.InstanceNorm1d(3, track_running_stats=True), nn.GroupNorm(1, 3))
    assert [type(m) for m in freeze(model)] == [type(m) for m in model]


def test_a_frozen_model_folds(model, images):
    frozen = freeze(model).eval()
    folded = fold_model(frozen)
    assert not any(isinstance(m, BatchNorm) for m in folded.modules())
    torch.testing.assert_close(folded(images), frozen(images), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "norm", [BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, track_running_stats=False)]
)
def test_a_norm_without_running_statistics_is_refused_by_name(norm):
    with pytest.raises(ValueError, match=r"running statistics \(got BatchNorm2d '1.0', which has none\)"):
        freeze(nn.Sequential(nn.ReLU(), nn.Sequential(norm)))


def test_a_lazy_norm_is_refused_until_it_has_seen_a_batch():
    lazy = nn.LazyBatchNorm1d()
    with pytest.raises(ValueError, match="uninitialized"):  # as torch says
        freeze(lazy)
    lazy(torch.randn(6, 3))
    assert freeze(lazy).num_features == 3


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_weight_or_a_bias_that_was_taken_away_stays_away(missing, unlike_new):
    norm = unlike_new(nn.BatchNorm1d(3)).eval()
    setattr(norm, missing, None)
    x = torch.randn(6, 3)
    frozen = freeze(norm)
    assert getattr(frozen, missing) is None
    torch.testing.assert_close(frozen(x), norm(x))


def test_a_norm_that_does_more_is_refused():
    with pytest.raises(TypeError, match=r"nothing but normalize \(got MaskedBatchNorm '0'\)"):
        freeze(nn.Sequential(MaskedBatchNorm(3)))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("norm", [BatchNorm, nn.BatchNorm1d])
def test_the_arguments_stay_the_same(norm, momentum, affine):
    frozen = freeze(norm(3, momentum=momentum, affine=affine))
    assert (frozen.momentum, frozen.affine) == (momentum, affine)


@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
@pytest.mark.parametrize("norm", [BatchNorm1d, nn.BatchNorm1d])
def test_one_of_the_two_running_statistics_is_not_enough(norm, missing):
    norm = norm(3)
    setattr(norm, missing, None)
    with pytest.raises(ValueError, match="which has none"):
        freeze(norm)


def test_a_weight_computed_elsewhere_is_copied_and_goes_on_being_computed(model, images, compute_weight):
    compute_weight(model[0])
    model(images).square().sum().backward()
    model.eval()
    frozen = freeze(model)
    torch.testing.assert_close(frozen(images), model(images), rtol=1e-12, atol=1e-12)
    before = model(images)
    frozen(images).square().sum().backward()
    with torch.no_grad():
        for p in frozen[0].parameters():
            assert p.grad is not None
            p *= 3
            p += 1
    assert not torch.allclose(frozen(images), before)
    torch.testing.assert_close(model(images), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [BatchNorm2d, nn.BatchNorm2d])
def test_a_norm_with_a_computed_weight_is_refused_by_name(kind):
    pruned, parametrized = nn.Sequential(kind(4)), nn.Sequential(kind(4))
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    parametrize.register_parametrization(parametrized[0], "weight", nn.Softplus())
    for model, name in ((pruned, "BatchNorm2d"), (parametrized, "ParametrizedBatchNorm2d")):
        with pytest.raises(
            TypeError, match=rf"got {name} '0', whose weight is computed\): make it permanent"
        ):
            freeze(model)
    prune.remove(pruned[0], "weight")
    parametrize.remove_parametrizations(parametrized[0], "weight")
    for model in (pruned, parametrized):
        assert torch.equal(freeze(model)[0].weight, model[0].weight)

"""Settings: each is checked, and builds what it says."""

import dataclasses

import pytest
import torch
from torch import nn

from bnlib.lab import NoisyBatchNorm, PaperNetwork, SmallCNN, clutter
from bnlib.layers import (
    BatchNorm,
    BatchRenorm,
    ExampleGroupNorm,
    ExampleInstanceNorm,
    ExampleLayerNorm,
    ExampleRMSNorm,
    GhostBatchNorm,
    ScaledConv2d,
    StandardizedConv2d,
)
from bnlib.sweep import PaperSetting, SmallCNNSetting


def test_the_defaults_of_the_first_records_do_not_change():
    first = {"norm": None, "pixels": "gray", "batch_size": 60, "learning_rate": 0.1, "weight_decay": 0.0}
    first |= {"weight_decay_norm": 0.0, "momentum": 0.1, "eps": 1e-5, "activation": "sigmoid"}
    first |= {"hidden_layers": 3, "width": 100, "std": 0.1}
    found = {name: getattr(PaperSetting(), name) for name in first}
    assert found == first, "records that do not name a setting rely on its default: give a new one instead"


@pytest.mark.parametrize(
    "bad",
    [
        {"norm": "layer"},
        {"activation": "gelu"},
        {"pixels": "blue"},
        {"batch_size": 0},
        {"learning_rate": 0},
        {"learning_rate": "fast"},
        {"std": -1},
        {"momentum": 1.5},
        {"eps": 0},
        {"weight_decay": -1},
        {"no_such_setting": 1},
        {"network": "ResNet"},
        {"network": "SmallCNN", "width": 8},
        {"network": "SmallCNN", "norm": "after"},
        {"network": "SmallCNN", "weights": "whitened"},
        {"network": "SmallCNN", "groups": 0},
        {"network": "SmallCNN", "ghost": 0},
        {"network": "PaperNetwork", "norm": "group"},
        {"optimizer": "lbfgs"},
        {"images": "cats"},
        {"train_images": 0},
        {"std_bias": -1},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused_by_name(bad, tiny):
    name = list(bad)[-1]
    with pytest.raises(ValueError, match=f"{name}|{bad[name]}"):
        _ = dataclasses.replace(tiny, cases=[bad], shared={}).settings


@pytest.mark.parametrize("norm", [None, "before", "after"])
@pytest.mark.parametrize(
    ("activation", "kind"), [("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh), ("relu", nn.ReLU)]
)
def test_a_setting_builds_the_papers_network_as_it_says(norm, activation, kind):
    setting = PaperSetting(
        norm=norm, activation=activation, hidden_layers=2, width=7, std=0.3, momentum=0.2, eps=1e-3
    )
    model = setting.build(seed=4)
    plain = PaperNetwork(widths=(784, 7, 7, 10), std=0.3, seed=4)
    assert torch.equal(model.hidden[1].linear.weight, plain.hidden[1].linear.weight)
    assert (model.hidden[0].linear.bias is None) == (norm == "before")
    names = {None: ["linear", "activation"], "before": ["linear", "norm", "activation"]}
    for block in model.hidden:
        assert list(dict(block.named_children())) == names.get(norm, ["linear", "activation", "norm"])
        assert type(block.activation) is kind
        if norm:
            assert type(block.norm) is BatchNorm
            assert (block.norm.momentum, block.norm.eps) == (0.2, 1e-3)


def test_a_setting_builds_the_small_cnn():
    model = SmallCNNSetting(norm="before").build(seed=1)
    assert type(model) is SmallCNN
    assert type(model.hidden[0].norm) is BatchNorm
    assert torch.equal(model.output.weight, SmallCNN(seed=1).output.weight)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("ghost", GhostBatchNorm),
        ("renorm", BatchRenorm),
        ("layer", ExampleLayerNorm),
        ("instance", ExampleInstanceNorm),
        ("group", ExampleGroupNorm),
        ("rms", ExampleRMSNorm),
    ],
)
def test_a_setting_builds_the_small_cnn_with_a_cousin(norm, kind):
    model = SmallCNNSetting(norm=norm, eps=1e-3, ghost=4, groups=2).build(seed=1)
    for block in model.hidden:
        assert type(block.norm) is kind
        assert block.norm.eps == 1e-3
    assert getattr(model.hidden[0].norm, "size", 4) == 4
    if norm == "group":
        assert model.hidden[1].norm.num_groups == 2


@pytest.mark.parametrize(
    ("weights", "kind"),
    [("free", nn.Conv2d), ("standardized", StandardizedConv2d), ("scaled", ScaledConv2d)],
)
def test_a_setting_standardizes_the_weights_of_convolutions_alone(weights, kind):
    model = SmallCNNSetting(weights=weights).build(seed=1)
    assert [type(block.linear) for block in model.hidden] == [kind, kind]
    assert torch.equal(model.hidden[1].linear.weight, SmallCNN(seed=1).hidden[1].linear.weight)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_weights_decay_apart_from_gamma_and_beta_and_biases_never_do(norm):
    setting = PaperSetting(norm=norm, weight_decay=0.1, weight_decay_norm=0.2)
    model = setting.build(0)
    found = setting.decays(model)
    for i in range(3):
        assert found[f"hidden.{i}.linear.weight"] == 0.1
        assert found[f"hidden.{i}.norm.weight"] == found[f"hidden.{i}.norm.bias"] == 0.2
    assert found["output.weight"] == 0.1
    assert not any(name.endswith(("linear.bias", "output.bias")) for name in found)


def test_binary_pixels_are_0_or_1(mnist):
    train, test, _ = PaperSetting(pixels="binary").sets(mnist)
    for split, binary in (("train", train), ("test", test)):
        gray = mnist.tensors(split)
        assert torch.equal(binary.images, (gray.images > 0.5).float())
        assert torch.equal(binary.labels, gray.labels)


def test_the_last_twelfth_is_held_out_and_trained_on_by_no_one(mnist):
    whole = mnist.tensors("train")
    assert PaperSetting().sets(mnist).validation is None
    train, test, held_out = PaperSetting(validation=True).sets(mnist)
    assert torch.equal(torch.cat([train.images, held_out.images]), whole.images)
    assert len(held_out.labels) == 300 // 12
    assert torch.equal(test.labels, mnist.tensors("test").labels)
    few = PaperSetting(validation=True, train_images=30).sets(mnist)
    assert torch.equal(few.train.labels, whole.labels[:30])
    assert torch.equal(few.validation.images, held_out.images)
    # as many as there are, and never those held out
    assert len(PaperSetting(validation=True, train_images=290).sets(mnist).train.labels) == 275


def test_cluttered_images_keep_their_labels_and_those_of_test_come_from_test(mnist):
    train, test, _ = PaperSetting(images="cluttered").sets(mnist)
    assert torch.equal(test.labels, mnist.tensors("test").labels)
    assert torch.equal(train.images, clutter(mnist.tensors("train"), 0).images)
    assert torch.equal(test.images, clutter(mnist.tensors("test"), 1).images)


def test_first_biases_of_their_own_leave_the_weights_as_they_were():
    zero, drawn = (PaperSetting(std_bias=std).build(3) for std in (0.0, 0.5))
    for name, p in drawn.named_parameters():
        if name.endswith("bias"):
            assert zero.get_parameter(name).abs().max() == 0
            assert 0.1 < p.std() < 1
        else:
            assert torch.equal(p, zero.get_parameter(name))
    normalized = PaperSetting(norm="before", std_bias=0.5).build(3)
    assert normalized.hidden[0].norm.bias.abs().max() == 0  # beta is no bias of a linear layer


def test_the_cnn_gets_images_with_a_channel(mnist):
    assert SmallCNNSetting().sets(mnist)[1].images.shape == (100, 1, 28, 28)


@pytest.mark.parametrize("kind", [PaperSetting, SmallCNNSetting])
def test_every_noisy_layer_of_every_seed_has_noise_of_its_own(kind):
    seeds = [
        int(module.seed)
        for seed in range(3)
        for module in kind(norm="noisy").build(seed).modules()
        if isinstance(module, NoisyBatchNorm)
    ]
    assert len(seeds) == len(set(seeds)) == 3 * (3 if kind is PaperSetting else 2)

"""What a run can be set to: each setting is checked, builds its network and prepares its images."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec
import torch
from msgspec import Meta
from torch import nn

from bnlib.lab import MNIST, NoisyBatchNorm, PaperNetwork, SmallCNN, Split, clutter
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

__all__ = ["PaperSetting", "Sets", "Setting", "SmallCNNSetting", "setting_of"]


class Sets(NamedTuple):
    """The images that a run trains on, reports on, and, where some are held out, is chosen by."""

    train: Split
    test: Split
    validation: Split | None = None


Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="network"):
    """All that a run can be set to but its seed; the defaults are the paper's, or ours where it is silent.

    A record names the settings that it was made with. One that is added here later is not among them and
    takes its default, so every older record stays what it was. A default, once given, does not change.
    """

    norm: Literal["before", "ghost", "noisy"] | None = None
    ghost: Count = 8  # examples in a part, of ghost batch norm
    images: Literal["digits", "cluttered"] = "digits"
    pixels: Literal["gray", "binary"] = "gray"  # binary: 1 where the gray value is above 0.5
    validation: bool = False  # whether the last twelfth of the training images is held out
    train_images: Count | None = None  # how many of the others to train on, the first; None: all
    batch_size: Count = 60
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    learning_rate: Positive = 0.1
    weight_decay: NotNegative = 0.0  # of the weight matrices
    weight_decay_norm: NotNegative = 0.0  # of gamma and beta
    momentum: Annotated[float, Meta(ge=0, le=1)] = 0.1  # of the running statistics
    eps: Positive = 1e-5

    # what networks trained in one stack may differ in: numbers, and no shape
    numbers: ClassVar[tuple[str, ...]] = ("learning_rate",)
    flat: ClassVar[bool] = True  # whether the network takes an image as a row of pixels

    def structure(self) -> "Setting":
        """The setting without its numbers: those with the same can be trained in one stack."""
        return msgspec.structs.replace(self, **{name: 1.0 for name in self.numbers})

    def sets(self, mnist: MNIST) -> Sets:
        """The images as the network takes them."""
        train, test = (mnist.tensors(split, flat=self.flat) for split in ("train", "test"))
        if self.images == "cluttered":
            train, test = (clutter(split, seed) for seed, split in enumerate((train, test)))
        if self.pixels == "binary":
            train, test = (Split((x > 0.5).to(x.dtype), y) for x, y in (train, test))
        if not self.validation:
            return Sets(Split(*(part[: self.train_images] for part in train)), test)
        kept = len(train.labels) * 11 // 12
        n = kept if self.train_images is None else min(kept, self.train_images)
        return Sets(Split(*(part[:n] for part in train)), test, Split(*(part[kept:] for part in train)))

    def normalization(self) -> Callable[[int], nn.Module] | None:
        """What makes a norm for so many channels."""
        as_bn = {"momentum": self.momentum, "eps": self.eps}
        batch = partial(BatchNorm, **as_bn)
        return {
            None: None,
            "before": batch,
            "after": batch,
            "ghost": partial(GhostBatchNorm, size=self.ghost, **as_bn),
            "noisy": partial(NoisyBatchNorm, **as_bn),
            **self.other_norms(),
        }[self.norm]

    def other_norms(self) -> dict[str, Callable[[int], nn.Module]]:
        """Those that only one kind of network is run with, by their names."""
        return {}

    def decays(self, model: nn.Module) -> dict[str, float]:
        """How much each parameter decays; biases never do."""
        parameters = dict(model.named_parameters())
        matrices = {name: self.weight_decay for name, p in parameters.items() if p.ndim > 1}
        return matrices | {name: self.weight_decay_norm for name in parameters if ".norm." in name}


class PaperSetting(Setting, frozen=True, kw_only=True, tag="PaperNetwork"):
    """Of the paper's network (Ioffe & Szegedy 2015, section 4.1)."""

    numbers: ClassVar[tuple[str, ...]] = ("learning_rate", "std", "std_bias")

    norm: Literal["before", "after", "ghost", "noisy"] | None = None  # "after": after the activation
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    hidden_layers: Count = 3
    width: Count = 100
    std: Positive = 0.1  # of the initial weights
    std_bias: NotNegative = 0.0  # of the initial biases

    def build(self, seed: int) -> PaperNetwork:
        """The network with its first weights."""
        network = PaperNetwork(
            self.normalization(),
            norm_after=self.norm == "after",
            widths=(784, *[self.width] * self.hidden_layers, 10),
            activation={"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[self.activation],
            std=self.std,
            seed=seed,
        )
        if self.std_bias:
            # of their own: the weights are those of the same seed without
            generator = torch.Generator().manual_seed(seed)
            for layer in network.modules():
                if isinstance(layer, nn.Linear) and layer.bias is not None:
                    nn.init.normal_(layer.bias, std=self.std_bias, generator=generator)
        return with_noise_of(seed, network)


class SmallCNNSetting(Setting, frozen=True, kw_only=True, tag="SmallCNN"):
    """Of the small convolutional network."""

    flat: ClassVar[bool] = False

    norm: Literal["before", "ghost", "noisy", "renorm", "layer", "instance", "group", "rms"] | None = None
    groups: Count = 4  # of group norm
    weights: Literal["free", "standardized", "scaled"] = "free"  # of the convolutions

    def other_norms(self) -> dict[str, Callable[[int], nn.Module]]:
        """Batch renorm, and the norms that look at one example at a time."""
        return {
            "renorm": partial(BatchRenorm, momentum=self.momentum, eps=self.eps),
            "layer": partial(ExampleLayerNorm, eps=self.eps),
            "instance": partial(ExampleInstanceNorm, eps=self.eps),
            "group": partial(ExampleGroupNorm, self.groups, eps=self.eps),
            "rms": partial(ExampleRMSNorm, eps=self.eps),
        }

    def build(self, seed: int) -> SmallCNN:
        """The network with its first weights."""
        kinds = {"free": nn.Conv2d, "standardized": StandardizedConv2d, "scaled": ScaledConv2d}
        network = SmallCNN(self.normalization(), convolution=kinds[self.weights], seed=seed)
        return with_noise_of(seed, network)


def with_noise_of(seed: int, network: nn.Module) -> nn.Module:
    """The network; each of its noisy norms has a seed of its own."""
    noisy = [module for module in network.modules() if isinstance(module, NoisyBatchNorm)]
    for i, module in enumerate(noisy):
        module.seed.fill_(1000 * seed + i)
    return network


def setting_of(values: Mapping) -> Setting:
    """The setting that these values name, checked; the others have their defaults.

    Raises
    ------
    ValueError
        If there is no such setting, or it cannot have this value.
    """
    return msgspec.convert({"network": "PaperNetwork", **values}, PaperSetting | SmallCNNSetting)

"""The long runs, as data: what a run can be set to, and each experiment as a grid of settings."""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import nn

from bnlib.lab import (
    MNIST,
    PaperNetwork,
    SmallCNN,
    Split,
    accuracy,
    activation_inputs,
    input_percentiles,
    layer_inputs,
)
from bnlib.layers import BatchNorm, keeps_statistics, recompute_statistics

__all__ = [
    "EDGES",
    "EXPERIMENTS",
    "Experiment",
    "PaperSetting",
    "Setting",
    "SmallCNNSetting",
    "grid",
    "looks",
]

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="network"):
    """All that a run can be set to but its seed; the defaults are the paper's, or ours where it is silent.

    A record names the settings that it was made with. One that is added here later is not among them and
    takes its default, so every older record stays what it was. A default, once given, does not change.
    """

    norm: Literal["before"] | None = None
    pixels: Literal["gray", "binary"] = "gray"  # binary: 1 where the gray value is above 0.5
    batch_size: Count = 60
    learning_rate: Positive = 0.1
    weight_decay: NotNegative = 0.0  # of the weight matrices
    weight_decay_norm: NotNegative = 0.0  # of gamma and beta
    momentum: Annotated[float, Meta(ge=0, le=1)] = 0.1  # of the running statistics
    eps: Positive = 1e-5

    flat: ClassVar[bool] = True  # whether the network takes an image as a row of pixels

    def sets(self, mnist: MNIST) -> tuple[Split, Split]:
        """The training and the test images as the network takes them."""
        splits = (mnist.tensors(split, flat=self.flat) for split in ("train", "test"))
        if self.pixels == "binary":
            splits = (Split((x > 0.5).to(x.dtype), y) for x, y in splits)
        return tuple(splits)

    def normalization(self) -> Callable[[int], nn.Module] | None:
        """What makes a batch norm for so many channels."""
        return None if self.norm is None else partial(BatchNorm, momentum=self.momentum, eps=self.eps)

    def decays(self, model: nn.Module) -> dict[str, float]:
        """How much each parameter decays; biases never do."""
        parameters = dict(model.named_parameters())
        matrices = {name: self.weight_decay for name, p in parameters.items() if p.ndim > 1}
        return matrices | {name: self.weight_decay_norm for name in parameters if ".norm." in name}


class PaperSetting(Setting, frozen=True, kw_only=True, tag="PaperNetwork"):
    """Of the paper's network (Ioffe & Szegedy 2015, section 4.1)."""

    norm: Literal["before", "after"] | None = None  # the activation
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    hidden_layers: Count = 3
    width: Count = 100
    std: Positive = 0.1  # of the initial weights

    def build(self, seed: int) -> PaperNetwork:
        """The network with its first weights."""
        return PaperNetwork(
            self.normalization(),
            norm_after=self.norm == "after",
            widths=(784, *[self.width] * self.hidden_layers, 10),
            activation={"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[self.activation],
            std=self.std,
            seed=seed,
        )


class SmallCNNSetting(Setting, frozen=True, kw_only=True, tag="SmallCNN"):
    """Of the small convolutional network."""

    flat: ClassVar[bool] = False

    def build(self, seed: int) -> SmallCNN:
        """The network with its first weights."""
        return SmallCNN(self.normalization(), seed=seed)


def setting_of(values: Mapping) -> Setting:
    """The setting that these values name, checked; the others have their defaults.

    Raises
    ------
    ValueError
        If there is no such setting, or it cannot have this value.
    """
    return msgspec.convert({"network": "PaperNetwork", **values}, PaperSetting | SmallCNNSetting)


# What to look for in a network at a look: it, its setting, the training and the test set -> arrays by name.
Probe = Callable[[nn.Module, Setting, Split, Split], dict[str, NDArray]]

UNITS = 3  # of the last hidden layer, for Figure 1(b, c)
LOOK_AT = 1000  # test images for what is not the accuracy
EDGES = np.linspace(-8, 8, 41)  # of the bins of a histogram; the outermost two take the rest


def last_percentiles(
    model: nn.Module, setting: Setting, train_set: Split, test_set: Split
) -> dict[str, NDArray]:
    """Of the inputs of the last hidden layer's first units, (3, units)."""
    *_, last = activation_inputs(model).values()
    inputs = layer_inputs(model, last, test_set.images[:LOOK_AT])  # (N, width)
    return {"percentiles": input_percentiles(inputs[:, :UNITS]).numpy()}


def distributions(
    model: nn.Module, setting: Setting, train_set: Split, test_set: Split
) -> dict[str, NDArray]:
    """Histograms (layers, bins) of each hidden layer's inputs, and the saturated share (layers,)."""
    images, layers = test_set.images[:LOOK_AT], activation_inputs(model).values()
    inputs = np.stack([layer_inputs(model, layer, images).flatten().numpy() for layer in layers])
    counts = [np.histogram(x, EDGES)[0] for x in inputs.clip(EDGES[0], EDGES[-1])]
    return {
        "histogram": np.array(counts) / inputs.shape[1],
        # an output below 0.05 or above 0.95 has an input beyond log 19 on one side
        "saturated": (np.abs(inputs) > np.log(19)).mean(axis=1),
        **gradient_norms(model, setting, train_set, test_set),
    }


def gradient_norms(
    model: nn.Module, setting: Setting, train_set: Split, test_set: Split
) -> dict[str, NDArray]:
    """The norm of the last step's gradient by every weight matrix, (layers,); NaN before the first step."""
    gradients = [p.grad for p in model.parameters() if p.ndim > 1]
    return {"gradient_norm": np.array([np.nan if g is None else g.norm().item() for g in gradients])}


def recomputed_accuracy(
    model: nn.Module, setting: Setting, train_set: Split, test_set: Split
) -> dict[str, NDArray]:
    """Accuracy with the pooled statistics of 5,120 images, in batches as in training and in large ones."""
    if not any(map(keeps_statistics, model.modules())):
        return {}
    model, images = copy.deepcopy(model), train_set.images[:5120]
    found = {}
    for name, size in (("accuracy_recomputed", setting.batch_size), ("accuracy_recomputed_512", 512)):
        recompute_statistics(model, images.split(size))
        found[name] = np.asarray(accuracy(model, *test_set))
    return found


@dataclass(frozen=True)
class Experiment:
    """A question, and the runs that answer it.

    Attributes
    ----------
    minutes : float
        That it takes about, on one core.
    cases : list of dict
        What is varied, case by case; everything else has its default.
    looks : tuple of int
        After how many steps to look at the test set. The last is the length of a run.
    seeds : int
        How many; each fixes the initial weights and the order of the examples.
    probe : callable, optional
        What to keep at a look beside accuracy and loss.
    shared : dict
        What all runs have in common and is not the default.
    """

    name: str
    question: str
    minutes: float
    cases: list[dict]
    looks: tuple[int, ...]
    seeds: int = 3
    probe: Probe | None = None
    shared: dict = field(default_factory=dict)

    @property
    def settings(self) -> list[Setting]:
        """Of every case, in full."""
        return [setting_of({**self.shared, **case}) for case in self.cases]

    @property
    def varied(self) -> dict[str, list]:
        """The values that each varied setting takes, in order."""
        names = dict.fromkeys(name for case in self.cases for name in case)
        return {name: list(dict.fromkeys(case[name] for case in self.cases)) for name in names}


def grid(**axes: Sequence) -> list[dict]:
    """Every combination of the values of some settings."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def looks(*ranges: tuple[int, int]) -> tuple[int, ...]:
    """The steps 0, then up to each (end) in strides of (stride), range after range."""
    steps = [0]
    for end, stride in ranges:
        steps += range(steps[-1] + stride, end + 1, stride)
    return tuple(steps)


PLAIN_AND_BN = (None, "before")
FULL_LENGTH = looks((200, 25), (1000, 50), (2000, 100), (5000, 250), (10_000, 500), (50_000, 2000))
MEDIUM = looks((200, 25), (1000, 100), (5000, 250))
SHORT = looks((100, 50), (500, 200), (2000, 500))

#: Every experiment of `python -m bnlib.sweep`, by its name.
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "figure1",
            "The paper's Figure 1: how fast do the plain and the normalized network learn, and how much do "
            "the inputs of the last hidden layer move?",
            18,
            grid(pixels=("gray", "binary"), norm=PLAIN_AND_BN),
            FULL_LENGTH,
            seeds=10,
            probe=last_percentiles,
        ),
        Experiment(
            "figure1_other_settings",
            "Figure 1 with smaller initial weights, or with a larger learning rate: the paper gives neither.",
            6,
            [
                {**case, "norm": norm}
                for case in ({"std": 0.01, "learning_rate": 0.1}, {"std": 0.1, "learning_rate": 1.0})
                for norm in PLAIN_AND_BN
            ],
            FULL_LENGTH,
            probe=last_percentiles,
        ),
        Experiment(
            "learning_rate_and_std",
            "Over which learning rates and initial standard deviations does the network train at all?",
            7,
            grid(
                norm=PLAIN_AND_BN,
                learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
                std=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            ),
            SHORT,
        ),
        Experiment(
            "depth",
            "How many hidden layers can be trained, with sigmoid and with ReLU?",
            2,
            grid(activation=("sigmoid", "relu"), norm=PLAIN_AND_BN, hidden_layers=(1, 2, 3, 4, 6, 8, 10)),
            SHORT,
            probe=gradient_norms,
        ),
        Experiment(
            "batch_size",
            "How small may a mini-batch be, and do recomputed statistics help where moving averages fail?",
            4,
            grid(
                activation=("sigmoid", "relu"),
                norm=PLAIN_AND_BN,
                batch_size=(2, 4, 8, 16, 32, 64, 128, 256, 512),
            ),
            looks((100, 50), (500, 400), (1500, 1000)),
            probe=recomputed_accuracy,
        ),
        Experiment(
            "activation",
            "How much of the effect is the sigmoid's?",
            2,
            grid(activation=("sigmoid", "tanh", "relu"), norm=PLAIN_AND_BN),
            MEDIUM,
            seeds=5,
        ),
        Experiment(
            "placement",
            "Batch normalization before or after the activation?",
            3,
            grid(activation=("sigmoid", "tanh", "relu"), norm=(None, "before", "after")),
            MEDIUM,
            seeds=5,
        ),
        Experiment(
            "weight_decay",
            "Should gamma and beta decay with the weights?",
            2,
            [
                {"norm": norm, "weight_decay": decay, "weight_decay_norm": decay if both else 0.0}
                for norm, decay, both in (
                    *((None, decay, False) for decay in (0.0, 1e-4, 1e-3, 1e-2)),
                    ("before", 0.0, False),
                    *(("before", decay, both) for decay in (1e-4, 1e-3, 1e-2) for both in (False, True)),
                )
            ],
            MEDIUM,
        ),
        Experiment(
            "distributions",
            "What happens to the inputs of every hidden layer's sigmoid, and to the gradients?",
            0.5,
            grid(norm=PLAIN_AND_BN),
            looks((200, 25), (500, 100), (2000, 250), (5000, 250)),
            probe=distributions,
        ),
        Experiment(
            "cnn",
            "Does a small convolutional network learn faster with batch normalization?",
            3.5,
            grid(norm=PLAIN_AND_BN, learning_rate=(0.01, 0.1)),
            looks((300, 50)),
            shared={"network": "SmallCNN"},
        ),
    )
}

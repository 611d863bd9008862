"""What an experiment keeps at a look beside accuracy and loss: each a function of a network in training."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from bnlib.lab import (
    Split,
    accuracy,
    activation_inputs,
    along_gradient,
    evaluating,
    gradient_shift,
    input_percentiles,
    layer_inputs,
)
from bnlib.layers import keeps_statistics, recompute_statistics

from .settings import Setting

__all__ = ["EDGES"]

UNITS = 3  # of the last hidden layer, for Figure 1(b, c)
LOOK_AT = 1000  # test images for what is not the accuracy
#: Of the bins of a histogram; the outermost two take the rest.
EDGES = np.linspace(-8, 8, 41)


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
    """Accuracy with the pooled statistics of 5,120 training images, in batches of 512."""
    if not any(map(keeps_statistics, model.modules())):
        return {}
    model = copy.deepcopy(model)
    recompute_statistics(model, train_set.images[:5120].split(512))
    return {"accuracy_recomputed": np.asarray(accuracy(model, *test_set))}


PROBED_BATCHES = 2  # of training images, over which what is measured on a batch is averaged
ALONG = (0.5, 1.0, 2.0, 4.0)  # steps along the gradient, as multiples of the learning rate


def shift_and_landscape(
    model: nn.Module, setting: Setting, train_set: Split, test_set: Split
) -> dict[str, NDArray]:
    """Each layer's gradient when those below step (layers,), and the loss along the gradient (steps,)."""
    m = setting.batch_size
    batches = [Split(*(part[i * m : (i + 1) * m] for part in train_set)) for i in range(PROBED_BATCHES)]
    rate = setting.learning_rate
    shifts = [gradient_shift(model, *batch, rate) for batch in batches]
    along = [along_gradient(model, *batch, [rate * factor for factor in ALONG]) for batch in batches]
    kinds = {"shift": shifts, "along": along}
    if setting.norm == "noisy":
        kinds["redrawn"] = [gradient_shift(model, *batch, rate, redraw=True) for batch in batches]
    return {
        f"{kind}_{name}": torch.stack([getattr(one, name) for one in found]).mean(dim=0).numpy()
        for kind, found in kinds.items()
        for name in found[0]._fields
    }


def train_and_test(
    model: nn.Module, setting: Setting, train_set: Split, test_set: Split
) -> dict[str, NDArray]:
    """Loss and accuracy on the training and the test images, with the statistics of the training images."""
    model = copy.deepcopy(model)
    if any(map(keeps_statistics, model.modules())):
        whole = len(train_set.images) // setting.batch_size * setting.batch_size
        recompute_statistics(model, train_set.images[:whole].split(setting.batch_size))
    with evaluating(model):
        loss_train, loss_test = (F.cross_entropy(model(x), y).item() for x, y in (train_set, test_set))
    return {
        "loss_train": np.asarray(loss_train),
        "loss_test": np.asarray(loss_test),
        "accuracy_train": np.asarray(accuracy(model, *train_set)),
        "accuracy_recomputed": np.asarray(accuracy(model, *test_set)),
    }

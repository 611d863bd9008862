"""One visible training loop."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .probes import input_percentiles, record_inputs

__all__ = ["History", "accuracy", "minibatches", "train"]


@dataclass
class History:
    """What a training run left behind, as arrays over the steps at which it was looked at.

    Attributes
    ----------
    loss : (steps,)
        The mini-batch's loss before each step.
    steps : (T,)
        How many steps had been taken at each look; the first is 0.
    accuracy : (T,)
        Share of the test images classified correctly, at inference.
    percentiles : dict of str to (T, 3, units)
        Of each probed module's input.
    """

    loss: np.ndarray
    steps: np.ndarray
    accuracy: np.ndarray
    percentiles: dict[str, np.ndarray] = field(default_factory=dict)


def minibatches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of mini-batches for ever: each epoch a new permutation, its ragged rest left out.

    Parameters
    ----------
    n : int
        How many examples there are.
    size : int
        How many a mini-batch takes, at most n.
    generator : torch.Generator

    Yields
    ------
    (size,) of int64

    Raises
    ------
    ValueError
        If size is not between 1 and n.
    """
    if not 1 <= size <= n:
        raise ValueError(f"expected a batch size between 1 and {n} (got {size})")
    while True:
        yield from torch.randperm(n, generator=generator)[: n - n % size].view(-1, size)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 2000) -> float:
    """The share of examples that a model classifies correctly, in eval mode.

    Parameters
    ----------
    model : nn.Module
        The modes of its modules are put back afterwards.
    x : (N, ...)
    y : (N,) of int64
    batch_size : int
        How many examples go through the model at once.

    Returns
    -------
    float
        In [0, 1].
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        chunks = zip(x.split(batch_size), y.split(batch_size), strict=True)
        correct = sum(int((model(images).argmax(dim=1) == labels).sum()) for images, labels in chunks)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return correct / len(y)


def train(
    model: nn.Module,
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
    *,
    steps: int,
    batch_size: int = 60,
    learning_rate: float = 0.1,
    seed: int = 0,
    look_every: int = 100,
    probes: Mapping[str, nn.Module] | None = None,
    description: str = "training",
) -> History:
    """Train by plain stochastic gradient descent on the cross-entropy, and look at the model on the way.

    Parameters
    ----------
    model : nn.Module
        Images to scores. It is trained in place.
    train_set, test_set : (x, y)
        Inputs (N, ...) and labels (N,) of int64.
    steps : int
    batch_size : int
    learning_rate : float
    seed : int
        Of the order of the examples.
    look_every : int
        Steps between two looks at the test set, which takes far longer than a step.
    probes : mapping of str to nn.Module, optional
        Modules inside the model; at each look the 15th, 50th and 85th percentiles of each unit's input
        over the first 1,000 test images are kept, in eval mode.
    description : str
        Of the progress bar. It goes when the run ends; TQDM_DISABLE=1 turns it off.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If steps or look_every is not positive, or the batch size does not fit the data.
    """
    if steps < 1 or look_every < 1:
        raise ValueError(f"expected positive steps and look_every (got {steps} and {look_every})")
    images, labels = train_set
    batches = minibatches(len(images), batch_size, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    probes = probes or {}
    loss, looks, accuracies = [], [], []
    percentiles: dict[str, list[np.ndarray]] = {name: [] for name in probes}

    def look(step: int) -> None:
        looks.append(step)
        accuracies.append(accuracy(model, *test_set))
        with record_inputs(probes) as inputs:
            accuracy(model, test_set[0][:1000], test_set[1][:1000])
        for name in probes:
            percentiles[name].append(input_percentiles(inputs[name]).numpy())

    model.train()
    look(0)
    for step in tqdm(range(1, steps + 1), desc=description, leave=False):
        batch = next(batches)
        batch_loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        batch_loss.backward()
        optimizer.step()
        loss.append(batch_loss.item())
        if step % look_every == 0 or step == steps:
            look(step)
    return History(
        np.array(loss),
        np.array(looks),
        np.array(accuracies),
        {name: np.stack(values) for name, values in percentiles.items()},
    )

"""One visible training loop, and what it leaves behind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

__all__ = ["History", "accuracy", "evaluating", "look", "minibatches", "train"]

Probe = Callable[[nn.Module], Mapping[str, NDArray]]


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
    probes : dict of str to (T, ...)
        What a probe found at each look.
    """

    loss: NDArray
    steps: NDArray
    accuracy: NDArray
    probes: dict[str, NDArray]

    @classmethod
    def collect(cls, loss: Sequence[float], looks: Mapping[int, Mapping[str, NDArray]]) -> "History":
        """A history from every step's loss, and from what `look` found after some steps."""
        first = next(iter(looks.values()))
        found = {name: np.stack([values[name] for values in looks.values()]) for name in first}
        return cls(np.asarray(loss), np.array(list(looks)), found.pop("accuracy"), found)


def minibatches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of mini-batches for ever: each epoch a new permutation, its ragged rest left out.

    Yields
    ------
    (size,) of int64, each below n

    Raises
    ------
    ValueError
        If size is not between 1 and n.
    """
    if not 1 <= size <= n:
        raise ValueError(f"expected a batch size between 1 and {n} (got {size})")
    while True:
        yield from torch.randperm(n, generator=generator)[: n - n % size].view(-1, size)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside the block; afterwards every module has the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 2000) -> float:
    """The share of examples that a model classifies correctly, in eval mode.

    Parameters
    ----------
    x : (N, ...)
    y : (N,) of int64
    batch_size : int
        How many examples go through the model at once.
    """
    with evaluating(model):
        chunks = zip(x.split(batch_size), y.split(batch_size), strict=True)
        correct = sum(int((model(images).argmax(dim=1) == labels).sum()) for images, labels in chunks)
    return correct / len(y)


def look(
    model: nn.Module, test_set: tuple[Tensor, Tensor], probe: Probe | None = None
) -> dict[str, NDArray | float]:
    """The accuracy of a model, and what a probe finds in it, both in eval mode."""
    with evaluating(model):
        found = probe(model) if probe else {}
    return {"accuracy": accuracy(model, *test_set), **found}


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
    probe: Probe | None = None,
    description: str = "training",
) -> History:
    """Train by plain stochastic gradient descent on the cross-entropy, and look at the model on the way.

    Parameters
    ----------
    model : nn.Module
        Images to scores. It is trained in place.
    train_set, test_set : (x, y)
        Inputs (N, ...) and labels (N,) of int64.
    seed : int
        Of the order of the examples.
    look_every : int
        Steps between two looks at the test set, which takes far longer than a step.
    probe : callable, optional
        Called at each look, in eval mode: the model -> arrays by name.
    description : str
        Of the progress bar. It goes when the run ends; TQDM_DISABLE=1 turns it off.

    Raises
    ------
    ValueError
        If steps or look_every is not positive, or the batch size does not fit the data.
    """
    if steps < 1 or look_every < 1:
        found = f"{steps} and {look_every}"
        raise ValueError(f"expected positive steps and look_every (got {found})")
    images, labels = train_set
    generator = torch.Generator().manual_seed(seed)
    batches = minibatches(len(images), batch_size, generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    losses, looks = [], {0: look(model, test_set, probe)}

    model.train()
    for step in tqdm(range(1, steps + 1), desc=description, leave=False):
        batch = next(batches)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % look_every == 0 or step == steps:
            looks[step] = look(model, test_set, probe)
    return History.collect(losses, looks)

"""What the explanations speak of, measured: how a layer's gradient and the loss change with a step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["AlongGradient", "GradientShift", "along_gradient", "gradient_shift", "training_loss"]

Parameters = Mapping[str, Tensor]


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Training mode inside the block; afterwards every module has the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def training_loss(
    model: nn.Module, x: Tensor, y: Tensor, buffers: Mapping[str, Tensor] | None = None
) -> Callable[[Parameters], Tensor]:
    """The cross-entropy of a batch as a function of the parameters, in training mode; nothing is moved.

    Parameters
    ----------
    x : (N, ...)
    y : (N,) of int64
    buffers : mapping of str to Tensor, optional
        By default the model's own: whatever noise they stand for is the same at every call.
    """
    kept = dict(model.named_buffers()) if buffers is None else buffers

    def loss(parameters: Parameters) -> Tensor:
        own = {name: b.clone() for name, b in kept.items()}
        with training(model):
            return F.cross_entropy(functional_call(model, ({**parameters}, own), (x,)), y)

    return loss


def slope(loss: Callable[[Parameters], Tensor], parameters: Parameters) -> tuple[dict[str, Tensor], Tensor]:
    """The gradient of a loss by each parameter, and the loss, both detached."""
    leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    with torch.enable_grad():
        value = loss(leaves)
    gradients = torch.autograd.grad(value, list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True)), value.detach()


def flat(gradient: Parameters) -> Tensor:
    """All of it as one vector."""
    return torch.cat([g.flatten() for g in gradient.values()])


def moved_buffers(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The buffers as one forward pass in training leaves them: those of the next step."""
    moved = {name: b.clone() for name, b in model.named_buffers()}
    with training(model), torch.no_grad():
        functional_call(model, (dict(model.named_parameters()), moved), (x,))
    return moved


class GradientShift(NamedTuple):
    """How far a step of the layers below moves each layer's gradient: internal covariate shift.

    Attributes
    ----------
    size : (layers,)
        |G|, the norm of the gradient by a layer's weights before the step.
    change : (layers,)
        |G - G'|, with G' the gradient after the layers below have stepped.
    cosine : (layers,)
        Of the angle between G and G'.
    """

    size: Tensor
    change: Tensor
    cosine: Tensor


def gradient_shift(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    learning_rate: float,
    redraw: bool = False,
) -> GradientShift:
    """Internal covariate shift of every layer on one batch, when gradient descent takes a step.

    Parameters
    ----------
    model : nn.Module
        With its parameters in the order of the data flow. It is left as it is.
    x, y : Tensor
        The batch of the step: inputs (N, ...) and labels (N,).
    redraw : bool
        Whether G' meets the next draw of noise, where the model makes noise, and not the same as G.

    Notes
    -----
    Source: Santurkar et al. 2018, whose definition this is. Below layer i are all parameters before its
    weights, a norm's among them. Below the first there is none: its G' is G, where no noise is redrawn.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    gradient, _ = slope(training_loss(model, x, y), parameters)
    buffers = moved_buffers(model, x) if redraw else None
    after = training_loss(model, x, y, buffers)
    found, stepped = [], dict(parameters)
    for name, p in parameters.items():
        if p.ndim > 1:  # the weights of a layer
            gradient_after, _ = slope(after, stepped)
            one, other = (g[name].flatten() for g in (gradient, gradient_after))
            cosine = F.cosine_similarity(one, other, dim=0)
            found.append((one.norm(), (other - one).norm(), cosine))
        stepped[name] = p - learning_rate * gradient[name]
    return GradientShift(*map(torch.stack, zip(*found, strict=True)))


class AlongGradient(NamedTuple):
    """The loss and its gradient at some steps against the gradient.

    Attributes
    ----------
    size : ()
        |g|, the norm of the gradient by all parameters.
    loss : (steps,)
        At W - eta g.
    change : (steps,)
        |g(W - eta g) - g(W)|.
    smoothness : ()
        The largest change over the length of the step, eta |g|.
    """

    size: Tensor
    loss: Tensor
    change: Tensor
    smoothness: Tensor


def along_gradient(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    steps: Sequence[float],
) -> AlongGradient:
    """How the loss of one batch and its gradient vary along the gradient.

    Parameters
    ----------
    model : nn.Module
        It is left as it is.
    x, y : Tensor
        Inputs (N, ...) and labels (N,).
    steps : sequence of float
        The values of eta, all positive.

    Notes
    -----
    Source: Santurkar et al. 2018: variation of the loss, gradient predictiveness and "effective"
    beta-smoothness.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    loss = training_loss(model, x, y)
    gradient, _ = slope(loss, parameters)
    g = flat(gradient)
    losses, changes = [], []
    for eta in steps:
        there = {name: p - eta * gradient[name] for name, p in parameters.items()}
        gradient_there, value = slope(loss, there)
        losses.append(value)
        changes.append((flat(gradient_there) - g).norm())
    change = torch.stack(changes)
    lengths = torch.tensor(steps, dtype=change.dtype) * g.norm()
    smoothness = (change / lengths).max()
    return AlongGradient(g.norm(), torch.stack(losses), change, smoothness)

"""Looking into a network without changing it: hooks that come off again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = [
    "activation_inputs",
    "change_by_layer",
    "input_percentiles",
    "layer_inputs",
    "percentile_probe",
    "record_inputs",
]

PERCENTILES = (15, 50, 85)  # the paper's Figure 1(b, c)


@contextmanager
def record_inputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """While the context lasts, note a copy of the last input of each module, detached.

    Yields
    ------
    dict of str to Tensor
        Under each module's name its last input; empty until a forward pass.
    """
    inputs: dict[str, Tensor] = {}

    def note(name):
        # a copy, for the module may work in place
        return lambda module, args: inputs.__setitem__(name, args[0].detach().clone())

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def layer_inputs(model: nn.Module, module: nn.Module, x: Tensor) -> Tensor:
    """What one module inside a model receives when the model is given x; nothing is trained or tracked.

    The model stays in whichever mode it is; running statistics that a forward pass would move are put back.

    Raises
    ------
    ValueError
        If the module is not called by the model.
    """
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with record_inputs({"module": module}) as inputs:
            model(x)
    finally:
        for buffer, value in before:
            buffer.copy_(value)
    if not inputs:
        raise ValueError(f"expected a module that the model calls (got {module})")
    return inputs["module"]


def input_percentiles(inputs: Tensor, percentiles: Sequence[float] = PERCENTILES) -> Tensor:
    """Percentiles, in [0, 100], of every unit's input over a batch: (N, units) to (percentiles, units)."""
    return torch.quantile(inputs, torch.tensor(percentiles, dtype=inputs.dtype) / 100, dim=0)


def percentile_probe(
    modules: Mapping[str, nn.Module], x: Tensor
) -> Callable[[nn.Module], dict[str, NDArray]]:
    """A probe for `train`: the 15th, 50th and 85th percentiles (3, units) of what each module receives.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        Inside the model that is trained.
    x : Tensor
        The model's input, over whose examples the percentiles are taken.
    """

    def probe(model: nn.Module) -> dict[str, NDArray]:
        with record_inputs(modules) as inputs:
            model(x)
        return {name: input_percentiles(values).numpy() for name, values in inputs.items()}

    return probe


def activation_inputs(model: nn.Module) -> dict[str, nn.Module]:
    """Every hidden layer's activation of a network of `bnlib.lab.models`, to be probed by name.

    The names are "hidden 1", "hidden 2", ... in the order of the data flow.
    """
    return {f"hidden {i}": block.activation for i, block in enumerate(model.hidden, start=1)}


@torch.no_grad()
def change_by_layer(
    model: nn.Module,
    x: Tensor,
    relative: float = 1e-3,
    seed: int = 1,
) -> Tensor:
    """How far a small random change of the first layer's weights is felt, layer by layer.

    Parameters
    ----------
    model : PaperNetwork
        In whichever mode it is; its weights and running statistics are put back.
    x : (N, inputs)
    relative : float
        Size of the change, as a share of the norm of the first layer's weights.
    seed : int
        Of the direction of the change. Not the seed of the weights themselves: a change along them
        only scales them.

    Returns
    -------
    (hidden layers,)
        For every activation, the norm of the change of its input over the norm of its input.
    """
    activations = activation_inputs(model).values()
    before = [layer_inputs(model, module, x) for module in activations]
    weight = model.hidden[0].linear.weight
    original = weight.clone()
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    weight += relative * direction * (weight.norm() / direction.norm())
    after = [layer_inputs(model, module, x) for module in activations]
    weight.copy_(original)
    pairs = zip(before, after, strict=True)
    return torch.stack([(b - a).norm() / a.norm() for a, b in pairs])

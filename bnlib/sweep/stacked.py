"""Training many networks of one structure as one: parameters stacked, each step done for all at once."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from bnlib.lab import History, look, minibatches

__all__ = ["train_stacked"]


def train_stacked(
    models: Sequence[nn.Module],
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
    *,
    seeds: Sequence[int],
    look_steps: Sequence[int],
    batch_size: int = 60,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    learning_rate: float | Sequence[float] = 0.1,
    weight_decay: Mapping[str, float] | None = None,
    probe: Callable[[nn.Module], Mapping[str, NDArray]] | None = None,
) -> list[History]:
    """Train models of one kind together, each as `bnlib.lab.train` trains it alone.

    Their parameters are stacked, and every operation of the forward and of the backward pass is done for
    all of them in one call. Nothing is summed over models, so one that diverges stays alone.

    Parameters
    ----------
    models : sequence of nn.Module
        Of one structure, which may differ in their numbers. They are trained in place.
    train_set, test_set : (x, y)
        Inputs (N, ...) and labels (N,) of int64.
    seeds : sequence of int
        Of the order of each model's examples.
    look_steps : sequence of int
        After which steps to look at the test set, ascending from 0. The last is the length of the run.
    optimizer : callable
        Groups of parameters and `lr` -> what takes the steps. It sees the stacks, so it has to go by element.
    learning_rate : float, or one a model
    weight_decay : mapping of str to float, optional
        Parameter -> what of it is added to its gradient; those not named do not decay.
    probe : callable, optional
        Called at each look, in eval mode: a model, with the last step's gradients (none at first) ->
        arrays by name.

    Returns
    -------
    list of History
        One a model.

    Raises
    ------
    ValueError
        If there are not as many seeds as models, or the looks do not ascend from 0, or the batch size
        does not fit the data.
    """
    if not models or len(models) != len(seeds):
        got = f"got {len(seeds)} and {len(models)}"
        raise ValueError(f"expected as many seeds as models ({got})")
    looked = list(look_steps)
    if len(looked) < 2 or looked[0] != 0 or looked != sorted(set(looked)):
        raise ValueError(f"expected look_steps that ascend from 0 (got {looked})")
    for model in models:
        model.train()
    parameters, buffers = stack_module_state(models)  # name -> (R, ...)
    parameters = {name: p.detach() for name, p in parameters.items()}
    # without numbers of its own: they come from the stacks
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss_of(own_parameters, own_buffers, x, y):
        scores = functional_call(skeleton, (own_parameters, own_buffers), (x,))
        return F.cross_entropy(scores, y)

    step_all = vmap(grad_and_value(loss_of))
    images, labels = train_set
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    orders = [minibatches(len(images), batch_size, g) for g in generators]
    decays = weight_decay or {}
    groups = [{"params": [p], "weight_decay": decays.get(name, 0.0)} for name, p in parameters.items()]
    rates = torch.as_tensor(learning_rate, dtype=next(iter(parameters.values())).dtype).expand(len(models))
    stepper = optimizer(groups, lr=1.0)
    losses = []
    looks = [{0: look(model, test_set, probe)} for model in models]
    if threading.current_thread() is threading.main_thread():
        batch = torch.zeros(len(models), batch_size, dtype=torch.int64)
        x, y = images[batch], labels[batch]
        step_all = _traced(step_all, parameters, buffers, x, y)

    for step in range(1, look_steps[-1] + 1):
        batch = torch.stack([next(order) for order in orders])  # (R, m)
        x, y = images[batch], labels[batch]
        gradients, loss = step_all(parameters, buffers, x, y)
        for name, p in parameters.items():
            p.grad = gradients[name]
        before = [p.clone() for p in parameters.values()]
        stepper.step()
        for old, p in zip(before, parameters.values(), strict=True):
            # a step at rate 1, taken to each model's own rate
            torch.lerp(old, p, rates.view(-1, *[1] * (p.ndim - 1)), out=p)
        losses.append(loss)
        if step in look_steps:
            for r, model in enumerate(models):
                _unstack(model, r, parameters, buffers, gradients)
                looks[r][step] = look(model, test_set, probe)
    per_model = torch.stack(losses, dim=1).numpy()  # (R, steps)
    return [History.collect(*run) for run in zip(per_model, looks, strict=True)]


def _traced(step_all: Callable, parameters, buffers, x: Tensor, y: Tensor) -> Callable:
    """The same operations without the time that vmap and grad take over each of them, at every step.

    Only for the main thread: while torch traces, it changes how modules are called in the whole process.
    """
    unmoved = {name: b.clone() for name, b in buffers.items()}
    return make_fx(step_all)(parameters, unmoved, x, y)


def _unstack(model: nn.Module, r: int, parameters, buffers, gradients) -> None:
    """Give a model its own slice of everything."""
    model.load_state_dict({name: stack[r] for name, stack in {**parameters, **buffers}.items()})
    for name, p in model.named_parameters():
        p.grad = gradients[name][r]

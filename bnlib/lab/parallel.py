"""Data-parallel training: each worker has a share of every mini-batch, and one network comes of it."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bnlib.layers import convert_to_sync

from .training import minibatches

__all__ = ["step_on_share", "train_share"]


def step_on_share(norm: nn.Module, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """One forward and backward pass of a synchronized norm on this worker's share.

    Parameters
    ----------
    norm : nn.Module
        It is copied and synchronized.
    x, dy : (N, C, *spatial)
        The whole batch, and the gradient of its output; split as evenly as can be.

    Returns
    -------
    dict of str to Tensor
        `y` and `dx` of the share, `running_mean` and `running_var` of what the worker then knows.
    """
    rank, workers = dist.get_rank(), dist.get_world_size()
    norm = convert_to_sync(norm)
    share = x.tensor_split(workers)[rank].requires_grad_()
    y = norm(share)
    y.backward(dy.tensor_split(workers)[rank])
    kept = {"running_mean": norm.running_mean, "running_var": norm.running_var}
    return {"y": y.detach(), "dx": share.grad, **kept}


def train_share(
    model: nn.Module,
    train_set: tuple[Tensor, Tensor],
    *,
    steps: int,
    batch_size: int = 60,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> list[float]:
    """Train as `train` does, on this worker's share of each mini-batch, with synchronized norms.

    Parameters
    ----------
    model : nn.Module
        The same on every worker, with batch norms or without. It is left as it is: the trained one is a copy.
    train_set : (x, y)
        All of it, on every worker.

    Returns
    -------
    list of float
        The loss of each whole mini-batch before its step.

    Raises
    ------
    ValueError
        If steps is not positive, or the batch size does not fit the data.
    FloatingPointError
        If a loss is not finite, on every worker.

    Notes
    -----
    ``DistributedDataParallel`` averages the workers' gradients. So each loss is a sum over the share, over
    its fair part of the batch: uneven shares then weigh by their examples.
    """
    if steps < 1:
        raise ValueError(f"expected positive steps (got {steps})")
    together = dist.is_available() and dist.is_initialized()
    rank, workers = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
    model = convert_to_sync(model).train()
    if together:
        model = DistributedDataParallel(model)
    images, labels = train_set
    batches = minibatches(len(images), batch_size, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        share = next(batches).tensor_split(workers)[rank]
        total = F.cross_entropy(model(images[share]), labels[share], reduction="sum")
        optimizer.zero_grad()
        (total * workers / batch_size).backward()
        optimizer.step()
        loss = total.detach() / batch_size
        if together:
            dist.all_reduce(loss)
        if not math.isfinite(loss):
            raise FloatingPointError(f"expected a finite loss (got {loss.item()} after {len(losses)} steps)")
        losses.append(loss.item())
    return losses

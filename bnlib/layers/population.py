"""Population statistics of a trained model, taken once over the data instead of by a moving average."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batch_norm import BatchNorm
from .checkpointing import hold_statistics
from .frozen import FrozenBatchNorm
from .functional import at_least_float32, batch_statistics
from .guarded import SkippingBatchNorm
from .masked import MaskedBatchNorm

__all__ = ["BatchStatistics", "algorithm2", "pooled", "recompute_statistics"]


class BatchStatistics(NamedTuple):
    """What one batch says of each channel.

    Attributes
    ----------
    mean : (C,)
    var : (C,)
        Biased.
    count : int
        m, the values pooled per channel.
    """

    mean: Tensor
    var: Tensor
    count: int


def algorithm2(batches: list[BatchStatistics]) -> tuple[Tensor, Tensor]:
    """The plain averages of the batch means and of the unbiased batch variances.

    Parameters
    ----------
    batches : list of BatchStatistics
        Of one size m > 1.

    Returns
    -------
    mean, var : (C,)

    Raises
    ------
    ValueError
        If the sizes differ, or m < 2.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 10.
    """
    sizes = sorted({batch.count for batch in batches})
    if len(sizes) > 1 or sizes[0] < 2:
        raise ValueError(f"expected batches of one size m > 1 (got {sizes} values per channel)")
    m = sizes[0]
    mean = torch.stack([batch.mean for batch in batches]).mean(dim=0)
    var = torch.stack([batch.var for batch in batches]).mean(dim=0) * (m / (m - 1))
    return mean, var


def pooled(batches: list[BatchStatistics]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of all values together; the batches may be ragged.

    Parameters
    ----------
    batches : list of BatchStatistics

    Returns
    -------
    mean, var : (C,)

    Notes
    -----
    Source: Wu & Johnson 2021. Their E[mu_B^2 + var_B] - mu^2, written as
    E[var_B + (mu_B - mu)^2] so that the mean is subtracted before squaring.
    """
    means = torch.stack([batch.mean for batch in batches])  # (batches, C)
    n = torch.tensor([batch.count for batch in batches], dtype=torch.float64)
    share = (n / n.sum()).unsqueeze(1).to(means)  # (batches, 1), in the means' dtype and on their device
    variances = torch.stack([batch.var for batch in batches])
    mean = (share * means).sum(dim=0)
    var = (share * (variances + (means - mean) ** 2)).sum(dim=0)
    return mean, var


def _first_input(model: nn.Module, batch) -> None:
    model(batch if isinstance(batch, Tensor) else batch[0])


@torch.no_grad()
def recompute_statistics(
    model: nn.Module,
    batches: Iterable,
    combine: Callable[[list[BatchStatistics]], tuple[Tensor, Tensor]] = pooled,
    call: Callable = _first_input,
) -> nn.Module:
    """Set every batch norm's running statistics from the training data, with the weights as they now are.

    Each batch goes through the model with batch statistics, as in training, and each norm's input is
    measured. Empty batches say nothing, and a `SkippingBatchNorm` skips here what it skips in training.
    Only when all batches have passed are the running statistics replaced.

    Parameters
    ----------
    model : nn.Module
        Its batch norms may be ours or torch.nn's; frozen ones stay as they are. Its modes stay too.
    batches : iterable of Tensor, or of tuples that start with one
        Training inputs; a DataLoader will do.
    combine : callable
        `pooled`, which is exact for batches of any sizes and any number of valid positions, or
        `algorithm2`.
    call : callable
        Sends a batch through the model, when it takes more than one input: for padded sequences,
        ``lambda model, batch: model(batch.x, batch.mask)``.

    Returns
    -------
    nn.Module
        The same model.

    Raises
    ------
    ValueError
        If there is no batch, or no batch norm that keeps running statistics, or `combine` refuses.
        The running statistics are then left as they were.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2; Wu & Johnson 2021, section 3.
    """
    norms = [m for m in model.modules() if _keeps_statistics(m)]
    if not norms:
        raise ValueError("expected a model with batch norms that keep running statistics (got none)")
    seen: dict[nn.Module, list[BatchStatistics]] = {norm: [] for norm in norms}

    def measure(norm, inputs, keywords):
        masked = isinstance(norm, MaskedBatchNorm)
        x = norm.valid(*inputs, **keywords) if masked else next(iter((*inputs, *keywords.values())))
        if x.numel() == 0:
            return  # nothing but padding
        batch = BatchStatistics(*batch_statistics(at_least_float32(x)), x.numel() // x.shape[1])
        finite = batch.mean.isfinite().all() and batch.var.isfinite().all()
        if finite or not isinstance(norm, SkippingBatchNorm):
            seen[norm].append(batch)

    modes = [norm.training for norm in norms]
    hooks = [norm.register_forward_pre_hook(measure, with_kwargs=True) for norm in norms]
    try:
        for norm in norms:
            norm.train()
        with hold_statistics(model):  # in training mode the norms would also move their buffers
            for batch in batches:
                call(model, batch)
        if not all(seen.values()):
            raise ValueError("expected at least one batch through every batch norm (got none)")
        combined = [combine(seen[norm]) for norm in norms]
    finally:
        for norm, mode, hook in zip(norms, modes, hooks, strict=True):
            hook.remove()
            norm.train(mode)
    for norm, (mean, var) in zip(norms, combined, strict=True):
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
    return model


def _keeps_statistics(module: nn.Module) -> bool:
    batch_norm = isinstance(module, BatchNorm | _BatchNorm) and not isinstance(module, FrozenBatchNorm)
    return batch_norm and module.running_mean is not None

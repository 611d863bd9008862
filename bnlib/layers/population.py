"""Population statistics of a trained model, taken once over the data."""

from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bnlib.reference.statistics import Population, Statistics

from .checkpointing import hold_statistics
from .functional import at_least_float32, batch_statistics
from .kinds import counted, keeps_statistics

__all__ = ["algorithm2", "pooled", "recompute_statistics"]


def algorithm2(batches: Iterable[Statistics]) -> Population:
    """The plain averages of the batch means and of the unbiased batch variances.

    Parameters
    ----------
    batches : iterable of Statistics
        Of one size m > 1.

    Raises
    ------
    ValueError
        If there is no batch, if the sizes differ, or if m < 2.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 10.
    """
    batches = _at_least_one(batches)
    sizes = sorted({batch.count for batch in batches})
    if len(sizes) > 1 or sizes[0] < 2:
        raise ValueError(
            f"expected batches of one size m > 1 (got {sizes} values per channel)"
        )
    m = sizes[0]
    mean = torch.stack([batch.mean for batch in batches]).mean(dim=0)  # (C,)
    var = torch.stack([batch.var for batch in batches]).mean(dim=0)  # (C,)
    return Population(mean, var * (m / (m - 1)))


def pooled(batches: Iterable[Statistics]) -> Population:
    """Mean and biased variance of all values together; the batches may be ragged.

    Raises
    ------
    ValueError
        If there is no batch.

    Notes
    -----
    Source: Wu & Johnson 2021. Their E[mu_B^2 + var_B] - mu^2, written as
    E[var_B + (mu_B - mu)^2] so that the mean is subtracted before squaring.
    """
    batches = _at_least_one(batches)
    means = torch.stack([batch.mean for batch in batches])  # (batches, C)
    within = torch.stack([batch.var for batch in batches])  # (batches, C)
    n = torch.tensor([batch.count for batch in batches], dtype=torch.float64)
    # (batches, 1), in the means' dtype and on their device
    share = (n / n.sum()).unsqueeze(1).to(means)
    mean = (share * means).sum(dim=0)  # (C,)
    between = (means - mean) ** 2  # (batches, C)
    var = (share * (within + between)).sum(dim=0)  # (C,)
    return Population(mean, var)


def _at_least_one(batches: Iterable[Statistics]) -> list[Statistics]:
    batches = list(batches)
    if not batches:
        raise ValueError(
            "expected the statistics of at least one batch (got none)"
        )
    return batches


def _first_input(model: nn.Module, batch) -> None:
    model(batch if isinstance(batch, Tensor) else batch[0])


def recompute_statistics(
    model: nn.Module,
    batches: Iterable,
    combine: Callable[[list[Statistics]], Population] = pooled,
    call: Callable = _first_input,
    process_group=None,
) -> nn.Module:
    """Set the running statistics of a model from the training data, as it is now.

    Each batch goes through the model with batch statistics, as in training, and
    each norm's input is measured. Empty batches say nothing, and a
    `SkippingBatchNorm` skips here what it skips in training; a `GhostBatchNorm`
    and a `BatchRenorm` are plain batch norms of the whole batch, or those behind
    them would be measured on what no inference shows them. Only when all batches
    have passed are the running statistics replaced.

    Parameters
    ----------
    model : nn.Module
        Its batch norms may be ours or torch.nn's; frozen ones stay as they are.
        Its modes stay too.
    batches : iterable of Tensor, or of tuples that start with one
        Training inputs; a DataLoader will do.
    combine : callable
        `pooled`, which is exact for batches of any sizes and any number of valid
        positions, or `algorithm2`.
    call : callable
        Sends a batch through the model, when it takes more than one input: for
        padded sequences, ``lambda model, batch: model(batch.x, batch.mask)``.
    process_group : torch.distributed.ProcessGroup, optional
        Workers that each pass their own share of the batches, as
        ``torch.distributed.group.WORLD``: all of them end with the statistics of
        all the data, the same bit for bit. A share may be empty, but
        `SyncBatchNorm` in training wants as many batches on every worker. By
        default this process has all the data.

    Returns
    -------
    nn.Module
        The same model.

    Raises
    ------
    ValueError
        If there is no batch, or no batch norm that keeps running statistics, or
        one that no batch reaches, or `combine` refuses. The running statistics
        are then left as they were.
    RuntimeError
        If another worker cannot measure its share, or has other norms.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2; Wu & Johnson 2021, section 3.

    Several workers exchange the statistics of all batches once, at the end. In a
    scripted or traced module no norm is found.
    """
    names = {m: name for name, m in model.named_modules() if keeps_statistics(m)}
    norms = list(names)
    if not norms:
        raise ValueError(
            "expected a model with batch norms that keep running statistics "
            "(got none)"
        )
    with torch.no_grad():
        if process_group is None:
            seen = _measure(model, norms, batches, call)
        else:
            seen = _measure_shares(model, names, batches, call, process_group)
        missed = [names[norm] for norm, measured in seen.items() if not measured]
        if missed:
            raise ValueError(
                "expected at least one batch through every batch norm (got none "
                f"through {missed}): what a model leaves out in eval mode is "
                "reached in training mode, or by a `call` of your own"
            )
        populations = {norm: combine(batches) for norm, batches in seen.items()}
        for norm, (mean, var) in populations.items():
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
    return model


def _measure(
    model: nn.Module, norms: list[nn.Module], batches: Iterable, call: Callable
) -> dict[nn.Module, list[Statistics]]:
    """What every batch says to every norm, in training, with nothing moved."""
    seen = {norm: [] for norm in norms}

    def look(norm, inputs, keywords):
        x = counted(norm, *inputs, **keywords)
        if x.numel():
            seen[norm].append(batch_statistics(at_least_float32(x)))

    modes = {norm: norm.training for norm in norms}
    hooks = [
        norm.register_forward_pre_hook(look, with_kwargs=True) for norm in norms
    ]
    try:
        for norm in norms:
            norm.train()
            norm.own_way = False
        # in training mode the norms would also move their buffers
        with hold_statistics(model):
            for batch in batches:
                call(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, mode in modes.items():
            norm.train(mode)
            vars(norm).pop("own_way", None)
    return seen


def _measure_shares(
    model: nn.Module,
    names: dict[nn.Module, str],
    batches: Iterable,
    call: Callable,
    group,
) -> dict[nn.Module, list[Statistics]]:
    """What the batches of all workers say, by rank; all raise if one has to."""
    own, error = {}, None
    try:
        seen = _measure(model, list(names), batches, call)
        own = {
            names[norm]: [(mean.cpu(), var.cpu(), m) for mean, var, m in measured]
            for norm, measured in seen.items()
        }
    except Exception as caught:
        error = caught
    trouble = None if error is None else f"{type(error).__name__}: {error}"
    everyone = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, (own, trouble), group=group)
    if error is not None:
        raise error
    for rank, (shared, trouble) in enumerate(everyone):
        if trouble is not None or shared.keys() != own.keys():
            trouble = trouble or f"norms {sorted(shared)}, here {sorted(own)}"
            raise RuntimeError(
                "expected every worker to measure its share of the same model "
                f"(got from worker {rank}: {trouble})"
            )
    return {
        norm: [Statistics(*s) for shared, _ in everyone for s in shared[name]]
        for norm, name in names.items()
    }

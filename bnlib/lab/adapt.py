"""Adapting a trained network to images that moved, without their labels."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bnlib.layers import FrozenBatchNorm, hold_statistics, is_batch_norm, recompute_statistics

__all__ = ["entropy", "with_entropy_steps", "with_statistics_of"]


def with_statistics_of(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose running statistics are those of these images.

    Parameters
    ----------
    images : (N, ...)
        Of the target, without labels; they go through the model as one batch.

    Raises
    ------
    ValueError
        If the model has no batch norm that keeps statistics.

    Notes
    -----
    Source: Li et al. 2016 (AdaBN); Schneider et al. 2020, with nothing kept of the source.
    """
    return recompute_statistics(copy.deepcopy(model), [images])


def entropy(scores: Tensor) -> Tensor:
    """The mean entropy, in nats, of the classes that scores (N, K) predict."""
    log_p = scores.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


def with_entropy_steps(
    model: nn.Module,
    batches: Iterable,
    learning_rate: float = 1e-3,
) -> tuple[nn.Module, Tensor]:
    """Answer batch after batch; after each, gammas and betas take a step of Adam on the answers' entropy.

    Each batch is normalized as in training, by its own statistics. No other parameter moves, and no running
    statistics do: recompute them afterwards. A `FrozenBatchNorm` does not use the batch's statistics, and
    stays as it is.

    Parameters
    ----------
    batches : iterable of Tensor (N, ...), or of tuples that start with one
        Images of the target; labels are not looked at.

    Returns
    -------
    nn.Module
        The adapted copy, in eval mode. Its parameters require gradients where the model's do.
    Tensor
        The scores (N of all batches, K), those of a batch from before its own step.

    Raises
    ------
    ValueError
        If the model has no batch norm, other than frozen ones, with a gamma and a beta; if there is no batch.

    Notes
    -----
    Source: Wang et al. 2021 (Tent).
    """
    model = copy.deepcopy(model).eval()
    required = {p: p.requires_grad for p in model.parameters()}
    model.requires_grad_(False)
    norms = [m for m in model.modules() if is_batch_norm(m) and not isinstance(m, FrozenBatchNorm)]
    norms = [norm for norm in norms if norm.weight is not None]
    if not norms:
        raise ValueError("expected norms that use the batch's statistics, with a gamma and a beta (got none)")
    for norm in norms:
        norm.train().requires_grad_(True)
    moving = [p for norm in norms for p in norm.parameters()]
    optimizer = torch.optim.Adam(moving, lr=learning_rate)
    answers = []
    with hold_statistics(model):
        for batch in batches:
            scores = model(batch if isinstance(batch, Tensor) else batch[0])
            answers.append(scores.detach())
            optimizer.zero_grad()
            entropy(scores).backward()
            optimizer.step()
    if not answers:
        raise ValueError("expected at least one batch (got none)")
    for p, flag in required.items():
        p.requires_grad_(flag)
    return model.eval(), torch.cat(answers)

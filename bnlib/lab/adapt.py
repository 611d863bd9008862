"""Adapting a trained network to images that moved, without their labels."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bnlib.layers import hold_statistics, is_batch_norm, recompute_statistics

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
    batches: Iterable[Tensor],
    learning_rate: float = 1e-3,
) -> tuple[nn.Module, Tensor]:
    """Answer batch after batch; after each, gammas and betas take a step of Adam on the answers' entropy.

    Each batch is normalized by its own statistics. No other parameter moves, and no running statistics
    do: recompute them afterwards.

    Parameters
    ----------
    batches : iterable of (N, ...)
        Images of the target, without labels.

    Returns
    -------
    nn.Module
        The adapted copy.
    Tensor
        The scores (N of all batches, K), those of a batch from before its own step.

    Raises
    ------
    ValueError
        If the model has no batch norm with a gamma and a beta.

    Notes
    -----
    Source: Wang et al. 2021 (Tent).
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    norms = filter(is_batch_norm, model.modules())
    norms = [norm for norm in norms if norm.weight is not None]
    if not norms:
        raise ValueError("expected norms with a gamma and a beta (got none)")
    for norm in norms:
        norm.train().requires_grad_(True)
    moving = [p for norm in norms for p in norm.parameters()]
    optimizer = torch.optim.Adam(moving, lr=learning_rate)
    answers = []
    with hold_statistics(model):
        for images in batches:
            scores = model(images)
            answers.append(scores.detach())
            optimizer.zero_grad()
            entropy(scores).backward()
            optimizer.step()
    return model.eval().requires_grad_(True), torch.cat(answers)

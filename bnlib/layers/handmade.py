"""The derived backward pass as an autograd function."""

import torch
from torch import Tensor

from .functional import (
    batch_statistics,
    normalize,
    per_channel,
    scale_and_shift,
)

__all__ = ["HandmadeBatchNorm", "batch_norm_backward", "handmade_batch_norm"]


def batch_norm_backward(
    dy: Tensor, x: Tensor, gamma: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dgamma, dbeta) from dL/dy, in closed form, as in the reference.

    Parameters
    ----------
    dy, x : (N, C, *spatial)
    gamma : (C,)
    """
    mean, var, m = batch_statistics(x)  # (C,), (C,), int
    x_hat = normalize(x, mean, var, eps)  # (N, C, *spatial)
    axes = (0, *range(2, x.ndim))
    dgamma = torch.sum(dy * x_hat, dim=axes)  # (C,)
    dbeta = torch.sum(dy, dim=axes)  # (C,)
    scale = per_channel(gamma / torch.sqrt(var + eps), x)
    dx = scale * (
        dy - per_channel(dbeta / m, x) - x_hat * per_channel(dgamma / m, x)
    )
    return dx, dgamma, dbeta


class HandmadeBatchNorm(torch.autograd.Function):
    """Algorithm 1 with its backward in closed form, to be differentiated again.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1 and the equations after it,
    simplified.
    """

    @staticmethod
    def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        """Normalize with the batch's statistics, scale and shift."""
        mean, var, _ = batch_statistics(x)  # (C,), (C,)
        x_hat = normalize(x, mean, var, eps)  # (N, C, *spatial)
        return scale_and_shift(x_hat, gamma, beta)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        """Save the inputs."""
        x, gamma, _, ctx.eps = inputs
        ctx.save_for_backward(x, gamma)

    @staticmethod
    def backward(ctx, dy: Tensor):
        """(dx, dgamma, dbeta) from dL/dy."""
        x, gamma = ctx.saved_tensors
        # from x again: so autograd can differentiate the statistics here too
        return *batch_norm_backward(dy, x, gamma, ctx.eps), None


def handmade_batch_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5
) -> Tensor:
    """Batch normalization in training, with the gradient derived by hand.

    Parameters
    ----------
    x : (N, C, *spatial)
    gamma, beta : (C,)

    Returns
    -------
    (N, C, *spatial)

    Raises
    ------
    ValueError
        If x has fewer than two dimensions, or fewer than two values per channel.
    """
    if x.ndim < 2:
        raise ValueError(
            f"expected input of shape (N, C, *spatial) (got {x.ndim}D input)"
        )
    if x.numel() <= x.shape[1]:
        raise ValueError(
            "expected more than 1 value per channel when training "
            f"(got input {tuple(x.shape)})"
        )
    return HandmadeBatchNorm.apply(x, gamma, beta, eps)

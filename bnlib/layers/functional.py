"""Batch normalization in tensor operations, which autograd differentiates."""

import math

import torch
from torch import Tensor

from bnlib.reference.statistics import Statistics

__all__ = [
    "at_least_float32",
    "batch_statistics",
    "inference_batch_norm",
    "normalize",
    "per_channel",
    "scale_and_shift",
    "training_batch_norm",
]


def at_least_float32(X: Tensor) -> Tensor:
    """X in float32 if it is in half precision or bfloat16, else as it is.

    Squares of float16 overflow and sums of bfloat16 stop growing, so the layer
    computes in this dtype.
    """
    return X.to(torch.promote_types(X.dtype, torch.float32))


def batch_statistics(X: Tensor) -> Statistics:
    """Mean and biased variance of each channel, over the batch and all positions.

    Parameters
    ----------
    X : (N, C, *spatial)

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1, lines 1 and 2.
    """
    axes = (0, *range(2, X.ndim))  # every axis but the channel's
    mean = torch.mean(X, dim=axes)  # (C,)
    var = torch.mean((X - per_channel(mean, X)) ** 2, dim=axes)  # (C,)
    m = math.prod([X.shape[axis] for axis in axes])  # values per channel
    return Statistics(mean, var, m)


def normalize(X: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Subtract a mean and divide by a standard deviation, channel by channel.

    Parameters
    ----------
    X : (N, C, *spatial)
    mean, var : (C,)

    Returns
    -------
    (N, C, *spatial)

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1, line 3.
    """
    return (X - per_channel(mean, X)) / torch.sqrt(per_channel(var, X) + eps)


def scale_and_shift(X_hat: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Let the network choose each channel's mean and spread again.

    Parameters
    ----------
    X_hat : (N, C, *spatial)
    gamma, beta : (C,)

    Returns
    -------
    (N, C, *spatial)

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1, line 4.
    """
    return per_channel(gamma, X_hat) * X_hat + per_channel(beta, X_hat)


def training_batch_norm(
    X: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5
) -> Tensor:
    """Batch normalization of a dense or a convolutional layer, in training.

    Parameters
    ----------
    X : (N, C) or (N, C, H, W)
    gamma, beta : (C,)

    Returns
    -------
    Tensor of X's shape

    Raises
    ------
    ValueError
        If X has neither 2 nor 4 dimensions, if gamma or beta does not have one
        value per channel, or if a channel has only one value, whose variance says
        nothing.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1.
    """
    _check_dense_or_convolution(X, gamma=gamma, beta=beta)
    mean, var, m = batch_statistics(X)  # (C,), (C,), int
    if m < 2:
        raise ValueError(
            "expected more than 1 value per channel when training "
            f"(got input {tuple(X.shape)})"
        )
    X_hat = normalize(X, mean, var, eps)  # (N, C) or (N, C, H, W)
    return scale_and_shift(X_hat, gamma, beta)


def inference_batch_norm(
    X: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization of a dense or a convolutional layer, at inference.

    Parameters
    ----------
    X : (N, C) or (N, C, H, W)
        N may be 1: no example looks at another.
    gamma, beta, running_mean, running_var : (C,)

    Returns
    -------
    Tensor of X's shape

    Raises
    ------
    ValueError
        If X has neither 2 nor 4 dimensions, or if a vector does not have one
        value per channel.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 11.
    """
    statistics = {"running_mean": running_mean, "running_var": running_var}
    _check_dense_or_convolution(X, gamma=gamma, beta=beta, **statistics)
    X_hat = normalize(X, running_mean, running_var, eps)
    return scale_and_shift(X_hat, gamma, beta)


def per_channel(v: Tensor, X: Tensor) -> Tensor:
    """A view of v, (C,), that broadcasts along the channels of X."""
    if X.ndim == 2:
        return v  # as it is
    return v.reshape(1, -1, *(1,) * (X.ndim - 2))


def _check_dense_or_convolution(X: Tensor, **vectors: Tensor) -> None:
    if X.ndim not in (2, 4):
        raise ValueError(
            f"expected 2D (dense) or 4D (convolution) input (got {X.ndim}D input)"
        )
    for name, v in vectors.items():
        if v.shape != X.shape[1:2]:
            raise ValueError(
                f"expected {name} of shape ({X.shape[1]},) (got {tuple(v.shape)})"
            )

"""The transform itself, in training and at inference."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import per_channel, statistic_axes
from .statistics import Statistics, batch_statistics

__all__ = ["Saved", "batch_norm_forward", "inference_batch_norm", "normalize"]


class Saved(NamedTuple):
    """What the forward pass leaves to the backward pass, and to `update_running`.

    Attributes
    ----------
    centered : (N, C, *spatial)
        x - mean.
    std : (C,)
        sqrt(var + eps).
    x_hat : (N, C, *spatial)
        centered / std.
    gamma : (C,)
    statistics : Statistics
        Of the batch.
    """

    centered: NDArray
    std: NDArray
    x_hat: NDArray
    gamma: NDArray
    statistics: Statistics


def normalize(x: NDArray, mean: NDArray, var: NDArray, eps: float) -> NDArray:
    """Subtract a mean and divide by a standard deviation, channel by channel.

    Parameters
    ----------
    x : (N, C, *spatial)
    mean, var : (C,)
    eps : float
        Not negative; it saves a channel without spread from a division by zero.

    Returns
    -------
    (N, C, *spatial)
        ``(x - mean) / sqrt(var + eps)``.

    Raises
    ------
    ValueError
        If eps < 0, or if some var + eps is not positive.
    """
    return (x - per_channel(mean, x)) / per_channel(_std(var, eps), x)


def _std(var: NDArray, eps: float) -> NDArray:
    if eps < 0:
        raise ValueError(f"expected eps >= 0 (got {eps})")
    if np.any(var + eps <= 0):
        raise ValueError(
            f"expected var + eps > 0 in every channel (got {np.min(var + eps)})"
        )
    return np.sqrt(var + eps)


def batch_norm_forward(
    x: NDArray, gamma: NDArray, beta: NDArray, eps: float = 1e-5
) -> tuple[NDArray, Saved]:
    """Batch normalization in training, with the batch's own statistics.

    Parameters
    ----------
    x : (N, C, *spatial)
    gamma, beta : (C,)

    Returns
    -------
    y : (N, C, *spatial)
    saved : Saved
        For `batch_norm_backward`; ``saved.statistics`` has the batch's mean and
        biased variance.

    Raises
    ------
    ValueError
        If a channel has fewer than two values, if a shape does not fit, or if
        var + eps is not positive.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1.
    """
    statistics = batch_statistics(x)
    if statistics.count < 2:
        raise ValueError(
            "expected more than 1 value per channel when training "
            f"(got input of shape {x.shape})"
        )
    centered = x - per_channel(statistics.mean, x)  # (N, C, *spatial)
    std = _std(statistics.var, eps)  # (C,)
    x_hat = centered / per_channel(std, x)  # (N, C, *spatial)
    y = per_channel(gamma, x) * x_hat + per_channel(beta, x)
    return y, Saved(centered, std, x_hat, gamma, statistics)


def inference_batch_norm(
    x: NDArray,
    gamma: NDArray,
    beta: NDArray,
    running_mean: NDArray,
    running_var: NDArray,
    eps: float = 1e-5,
) -> NDArray:
    """Batch normalization at inference: with fixed statistics, so affine in x.

    Parameters
    ----------
    x : (N, C, *spatial)
        N may be 1: no example looks at another.
    gamma, beta, running_mean, running_var : (C,)

    Returns
    -------
    (N, C, *spatial)

    Raises
    ------
    ValueError
        If a shape does not fit, or if var + eps is not positive.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 11.
    """
    statistic_axes(x)  # refuses what is not (N, C, *spatial)
    x_hat = normalize(x, running_mean, running_var, eps)  # (N, C, *spatial)
    return per_channel(gamma, x) * x_hat + per_channel(beta, x)

"""The cousins of batch norm: the same three lines over other values."""

import numpy as np
from numpy.typing import NDArray

from .axes import per_channel, statistic_axes
from .statistics import Statistics

__all__ = [
    "batch_renorm",
    "ghost_batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "moments",
    "renorm_factors",
    "rms_norm",
    "scaled_weight",
    "skip_scales",
    "standardize_weight",
]


def moments(x: NDArray, axes: tuple[int, ...]) -> tuple[NDArray, NDArray]:
    """Mean and biased variance over some axes, which stay, with size 1.

    Parameters
    ----------
    x : float, any shape
    axes : tuple of int
        Over which to pool.

    Raises
    ------
    ValueError
        If fewer than two values share a mean.
    """
    count = int(np.prod([x.shape[axis] for axis in axes]))
    if count < 2:
        raise ValueError(
            "expected more than 1 value to share a mean "
            f"(got {count}, over the axes {axes} of shape {x.shape})"
        )
    mean = np.mean(x, axis=axes, keepdims=True)
    var = np.mean((x - mean) ** 2, axis=axes, keepdims=True)
    return mean, var


def layer_norm(
    x: NDArray, gamma: NDArray, beta: NDArray, eps: float = 1e-5
) -> NDArray:
    """Layer normalization: all values of an example share a mean.

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
        If an example has a single value, or a shape does not fit.

    Notes
    -----
    Source: Ba, Kiros & Hinton 2016; over channels and positions as in
    Wu & He 2018.
    """
    _, *axes = range(x.ndim)
    mean, var = moments(x, tuple(axes))  # (N, 1, ..., 1)
    x_hat = (x - mean) / np.sqrt(var + eps)  # (N, C, *spatial)
    return per_channel(gamma, x) * x_hat + per_channel(beta, x)


def instance_norm(
    x: NDArray, gamma: NDArray, beta: NDArray, eps: float = 1e-5
) -> NDArray:
    """Instance normalization: the positions of one channel of one example.

    Parameters
    ----------
    x : (N, C, *spatial)
        With more than one position.
    gamma, beta : (C,)

    Returns
    -------
    (N, C, *spatial)

    Raises
    ------
    ValueError
        If there are no two positions, or a shape does not fit.

    Notes
    -----
    Source: Ulyanov, Vedaldi & Lempitsky 2016.
    """
    _, _, *axes = range(x.ndim)
    mean, var = moments(x, tuple(axes))  # (N, C, 1, ..., 1)
    x_hat = (x - mean) / np.sqrt(var + eps)  # (N, C, *spatial)
    return per_channel(gamma, x) * x_hat + per_channel(beta, x)


def group_norm(
    x: NDArray, gamma: NDArray, beta: NDArray, groups: int, eps: float = 1e-5
) -> NDArray:
    """Group normalization: some neighboring channels of one example.

    Parameters
    ----------
    x : (N, C, *spatial)
    gamma, beta : (C,)
    groups : int
        Into how many the channels are divided. 1: layer normalization; C:
        instance normalization.

    Returns
    -------
    (N, C, *spatial)

    Raises
    ------
    ValueError
        If the channels do not divide into so many groups, if a group has a single
        value, or if a shape does not fit.

    Notes
    -----
    Source: Wu & He 2018.
    """
    channels = x.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(
            f"expected {channels} channels to divide into groups (got {groups})"
        )
    grouped = x.reshape(len(x), groups, -1)  # (N, G, values)
    mean, var = moments(grouped, (2,))  # (N, G, 1)
    x_hat = ((grouped - mean) / np.sqrt(var + eps)).reshape(x.shape)
    return per_channel(gamma, x) * x_hat + per_channel(beta, x)


def rms_norm(x: NDArray, gamma: NDArray, eps: float = 1e-5) -> NDArray:
    """Root mean square normalization: no mean, and no beta.

    Parameters
    ----------
    x : (N, C, *spatial)
    gamma : (C,)

    Returns
    -------
    (N, C, *spatial)

    Raises
    ------
    ValueError
        If gamma does not have one value per channel.

    Notes
    -----
    Source: Zhang & Sennrich 2019, equation 4; over channels and positions, as
    `layer_norm` here.
    """
    _, *axes = range(x.ndim)
    mean_square = np.mean(x**2, axis=tuple(axes), keepdims=True)  # (N, 1, ..., 1)
    x_hat = x / np.sqrt(mean_square + eps)  # (N, C, *spatial)
    return per_channel(gamma, x) * x_hat


def ghost_batch_norm(
    x: NDArray, gamma: NDArray, beta: NDArray, size: int, eps: float = 1e-5
) -> NDArray:
    """Ghost batch normalization: each part of a batch is a batch of its own.

    Parameters
    ----------
    x : (N, C, *spatial)
    gamma, beta : (C,)
    size : int
        Examples in a part.

    Returns
    -------
    (N, C, *spatial)

    Raises
    ------
    ValueError
        If N is no multiple of the size, if a channel has a single value in a
        part, or if a shape does not fit.

    Notes
    -----
    Source: Hoffer, Hubara & Soudry 2017.
    """
    if size < 1 or len(x) % size:
        raise ValueError(f"expected a multiple of {size} examples (got {len(x)})")
    parts = x.reshape(-1, size, *x.shape[1:])  # (parts, size, C, *spatial)
    _, n, _, *positions = range(parts.ndim)
    mean, var = moments(parts, (n, *positions))  # (parts, 1, C, 1, ..., 1)
    x_hat = ((parts - mean) / np.sqrt(var + eps)).reshape(x.shape)
    return per_channel(gamma, x) * x_hat + per_channel(beta, x)


def renorm_factors(
    batch: Statistics,
    mean: NDArray,
    var: NDArray,
    r_max: float = 3.0,
    d_max: float = 5.0,
    eps: float = 1e-5,
) -> tuple[NDArray, NDArray]:
    """The r and d of batch renormalization: from a batch's statistics to kept.

    Parameters
    ----------
    batch : Statistics
        Of the batch.
    mean, var : (C,)
        The kept ones.
    r_max, d_max : float
        r stays within [1 / r_max, r_max], and d within [-d_max, d_max].

    Returns
    -------
    r, d : (C,)

    Raises
    ------
    ValueError
        If r_max < 1 or d_max < 0.

    Notes
    -----
    Source: Ioffe 2017, Algorithm 1, where sigma = sqrt(var + eps).
    """
    if r_max < 1 or d_max < 0:
        raise ValueError(
            f"expected r_max >= 1 and d_max >= 0 (got {r_max} and {d_max})"
        )
    std_batch, std = np.sqrt(batch.var + eps), np.sqrt(var + eps)  # (C,), (C,)
    r = np.clip(std_batch / std, 1 / r_max, r_max)
    d = np.clip((batch.mean - mean) / std, -d_max, d_max)
    return r, d


def batch_renorm(
    x: NDArray,
    gamma: NDArray,
    beta: NDArray,
    r: NDArray,
    d: NDArray,
    eps: float = 1e-5,
) -> NDArray:
    """Batch renormalization: batch norm, then moved by constants r and d.

    Parameters
    ----------
    x : (N, C, *spatial)
    gamma, beta, r, d : (C,)

    Returns
    -------
    (N, C, *spatial)
        With r = 1 and d = 0 batch normalization in training; with the r and d of
        `renorm_factors`, where nothing was clipped, that at inference.

    Raises
    ------
    ValueError
        If a channel has a single value, or a shape does not fit.

    Notes
    -----
    Source: Ioffe 2017, Algorithm 1. No gradient goes through r and d.
    """
    mean, var = moments(x, statistic_axes(x))  # (1, C, 1, ..., 1)
    x_hat = (x - mean) / np.sqrt(var + eps)  # (N, C, *spatial)
    x_hat = x_hat * per_channel(r, x) + per_channel(d, x)
    return per_channel(gamma, x) * x_hat + per_channel(beta, x)


def standardize_weight(weight: NDArray, eps: float = 1e-5) -> NDArray:
    """Weight standardization: the weights of each output share a mean.

    Parameters
    ----------
    weight : (C_out, ...)
        Of a linear layer or a convolution; more than one weight an output.

    Returns
    -------
    (C_out, ...)
        Each output's weights with mean 0 and, but for eps, variance 1.

    Raises
    ------
    ValueError
        If an output has a single weight.

    Notes
    -----
    Source: Qiao et al. 2019.
    """
    _, *axes = range(weight.ndim)
    mean, var = moments(weight, tuple(axes))  # (C_out, 1, ..., 1)
    return (weight - mean) / np.sqrt(var + eps)


def scaled_weight(weight: NDArray, gain: float, eps: float = 1e-5) -> NDArray:
    """Scaled weight standardization: variance gain^2 / fan-in instead of 1.

    Parameters
    ----------
    weight : (C_out, ...)
    gain : float
        sqrt(2 / (1 - 1 / pi)) in front of a ReLU.

    Returns
    -------
    (C_out, ...)

    Raises
    ------
    ValueError
        If an output has a single weight.

    Notes
    -----
    Source: Brock, De & Smith 2021, "Characterizing signal propagation".
    """
    fan_in = weight[0].size
    return gain / np.sqrt(fan_in) * standardize_weight(weight, eps)


def skip_scales(blocks: int, alpha: float) -> NDArray:
    """What a normalizer-free network divides the input of each block by.

    A block is h + alpha f(h / scale), where f keeps a variance of 1: each adds
    alpha^2 to the variance.

    Parameters
    ----------
    blocks : int
    alpha : float

    Returns
    -------
    (blocks,)
        The standard deviations expected of h, the first of them 1.

    Raises
    ------
    ValueError
        If there is no block.

    Notes
    -----
    Source: Brock et al. 2021.
    """
    if blocks < 1:
        raise ValueError(f"expected at least one block (got {blocks})")
    return np.sqrt(1 + alpha**2 * np.arange(blocks))

"""Mean and variance: of a batch, of two groups put together, of a population."""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import per_channel, statistic_axes

__all__ = [
    "Population",
    "Statistics",
    "algorithm2",
    "batch_statistics",
    "merge_statistics",
    "pooled",
    "unbiased_variance",
    "update_running",
]


class Statistics(NamedTuple):
    """What one group of values says of each channel; arrays, or torch's tensors.

    Attributes
    ----------
    mean : (C,)
    var : (C,)
        Biased: the sum of squared deviations over `count`.
    count : int
        m, the values pooled per channel.
    """

    mean: NDArray
    var: NDArray
    count: int


class Population(NamedTuple):
    """What inference normalizes with; arrays, or torch's tensors.

    Attributes
    ----------
    mean : (C,)
    var : (C,)
    """

    mean: NDArray
    var: NDArray


def batch_statistics(x: NDArray) -> Statistics:
    """Mean and biased variance of each channel over the batch and all positions.

    The mean is subtracted before squaring: ``E[x^2] - E[x]^2`` loses its digits
    when the mean is large.

    Parameters
    ----------
    x : (N, C, *spatial)

    Returns
    -------
    Statistics
        In the dtype of `x`; `count` is N times the number of positions.

    Raises
    ------
    ValueError
        If there is no value to pool.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 1, lines 1 and 2.
    """
    axes = statistic_axes(x)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    if count == 0:
        raise ValueError(
            "expected at least one value per channel "
            f"(got input of shape {x.shape})"
        )
    mean = np.mean(x, axis=axes)  # (C,)
    var = np.mean((x - per_channel(mean, x)) ** 2, axis=axes)  # (C,)
    return Statistics(mean, var, count)


def merge_statistics(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of two groups put together, from the statistics of each.

    Parameters
    ----------
    a, b : Statistics
        Of the same channels; the groups may differ in size.

    Returns
    -------
    Statistics
        Exactly those of the joined group, up to rounding.

    Notes
    -----
    Source: Chan, Golub & LeVeque 1983: M2 = M2_a + M2_b + delta^2 n_a n_b / n,
    where M2 = n var.
    """
    n = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / n)
    m2 = a.var * a.count + b.var * b.count + delta**2 * (a.count * b.count / n)
    return Statistics(mean, m2 / n, n)


def unbiased_variance(statistics: Statistics) -> NDArray:
    """The variance with m - 1 in the denominator: an estimate for the population.

    Returns
    -------
    (C,)
        m/(m-1) times the biased variance.

    Raises
    ------
    ValueError
        If the group has fewer than two values.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 10.
    """
    m = statistics.count
    if m < 2:
        raise ValueError(
            "expected more than 1 value per channel for an unbiased variance "
            f"(got {m})"
        )
    return statistics.var * (m / (m - 1))


def update_running(running, new, momentum: float):
    """One step of a moving average; `momentum` is the weight of the *new* value.

    Operators alone, so it serves NumPy arrays and torch tensors.

    Parameters
    ----------
    running, new : (C,)
    momentum : float
        In [0, 1]; PyTorch's meaning. Keras and Flax write 1 - momentum.

    Returns
    -------
    (C,)
        ``(1 - momentum) * running + momentum * new``.
    """
    return (1 - momentum) * running + momentum * new


def algorithm2(batches: Iterable[Statistics]) -> Population:
    """Population statistics as in the paper: averages over batches of one size.

    Parameters
    ----------
    batches : iterable of Statistics
        Of batches that all pool the same number m of values.

    Returns
    -------
    Population
        The average of the means, and the average of the unbiased variances.

    Raises
    ------
    ValueError
        If there is no batch, if the batches differ in size, or if m < 2.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 10. The spread of the batch
    means is no part of this variance: m/(m-1) makes up for it on average when the
    values are independent.
    """
    batches = _at_least_one(batches)
    sizes = {batch.count for batch in batches}
    if len(sizes) > 1:
        raise ValueError(
            "expected batches of one size "
            f"(got {sorted(sizes)} values per channel)"
        )
    mean = np.mean([batch.mean for batch in batches], axis=0)
    var = np.mean([unbiased_variance(batch) for batch in batches], axis=0)
    return Population(mean, var)


def pooled(batches: Iterable[Statistics]) -> Population:
    """Population statistics of all values as one group; batches may be ragged.

    Returns
    -------
    Population
        Mean and biased variance of the whole.

    Raises
    ------
    ValueError
        If there is no batch.

    Notes
    -----
    Source: Wu & Johnson 2021: mu = sum(n mu_B) / sum(n) and
    var = sum(n (mu_B^2 + var_B)) / sum(n) - mu^2, computed here by merging, which
    subtracts before it squares.
    """
    whole = reduce(merge_statistics, _at_least_one(batches))
    return Population(whole.mean, whole.var)


def _at_least_one(batches: Iterable[Statistics]) -> list[Statistics]:
    batches = list(batches)
    if not batches:
        raise ValueError(
            "expected the statistics of at least one batch (got none)"
        )
    return batches

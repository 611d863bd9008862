"""The gradient of batch normalization: as the paper prints it, and in closed form."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import per_channel, statistic_axes
from .forward import Saved

__all__ = ["Gradients", "batch_norm_backward", "batch_norm_backward_stepwise"]


class Gradients(NamedTuple):
    """The loss's derivatives, each in the shape of what it is taken by.

    Attributes
    ----------
    dx : (N, C, *spatial)
    dgamma : (C,)
    dbeta : (C,)
    """

    dx: NDArray
    dgamma: NDArray
    dbeta: NDArray


def batch_norm_backward_stepwise(dy: NDArray, saved: Saved) -> Gradients:
    """The backward pass line by line: each line is one application of the chain rule.

    Parameters
    ----------
    dy : (N, C, *spatial)
        dL/dy.
    saved : Saved
        From `batch_norm_forward`.

    Returns
    -------
    Gradients

    Raises
    ------
    ValueError
        If `dy` has another shape than the forward pass's output.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 3, the six displayed equations, in their order.
    """
    axes, m, along = _prepare(dy, saved)
    centered, std = saved.centered, saved.std

    dx_hat = dy * along(saved.gamma)
    dvar = np.sum(dx_hat * centered, axis=axes) * (-1 / 2) * std**-3
    dmean = np.sum(dx_hat, axis=axes) * (-1 / std) + dvar * np.sum(-2 * centered, axis=axes) / m
    dx = dx_hat / along(std) + along(dvar) * 2 * centered / m + along(dmean) / m
    dgamma = np.sum(dy * saved.x_hat, axis=axes)
    dbeta = np.sum(dy, axis=axes)
    return Gradients(dx, dgamma, dbeta)


def batch_norm_backward(dy: NDArray, saved: Saved) -> Gradients:
    """The backward pass in closed form: dy loses its mean and its component along x_hat.

    Parameters
    ----------
    dy : (N, C, *spatial)
        dL/dy.
    saved : Saved
        From `batch_norm_forward`.

    Returns
    -------
    Gradients
        dx = (gamma / std) (dy - mean(dy) - x_hat mean(dy x_hat)), per channel.

    Raises
    ------
    ValueError
        If `dy` has another shape than the forward pass's output.

    Notes
    -----
    The paper's six equations, simplified. At eps = 0 the bracket is the orthogonal projection of dy off
    the span of 1 and x_hat.
    """
    axes, m, along = _prepare(dy, saved)
    dgamma = np.sum(dy * saved.x_hat, axis=axes)
    dbeta = np.sum(dy, axis=axes)
    dx = along(saved.gamma / saved.std) * (dy - along(dbeta / m) - saved.x_hat * along(dgamma / m))
    return Gradients(dx, dgamma, dbeta)


def _prepare(dy: NDArray, saved: Saved):
    if dy.shape != saved.x_hat.shape:
        raise ValueError(f"expected dy of the output's shape {saved.x_hat.shape} (got {dy.shape})")
    return statistic_axes(dy), saved.statistics.count, lambda v: per_channel(v, dy)

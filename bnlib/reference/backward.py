"""The gradient of batch normalization: as the paper prints it, and closed."""

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
    """The backward pass line by line: each line applies the chain rule once.

    Parameters
    ----------
    dy : (N, C, *spatial)
        dL/dy.
    saved : Saved
        From `batch_norm_forward`.

    Raises
    ------
    ValueError
        If `dy` has another shape than the forward pass's output.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 3: the six equations, in order.
    """
    axes, m, along = _prepare(dy, saved)
    centered, std = saved.centered, saved.std

    dx_hat = dy * along(saved.gamma)  # (N, C, *spatial)
    dvar = np.sum(dx_hat * centered, axis=axes) * (-1 / 2) * std**-3  # (C,)
    dmean = (
        np.sum(dx_hat, axis=axes) * (-1 / std)
        + dvar * np.sum(-2 * centered, axis=axes) / m
    )  # (C,)
    dx = (
        dx_hat / along(std) + along(dvar) * 2 * centered / m + along(dmean) / m
    )  # (N, C, *spatial)
    dgamma = np.sum(dy * saved.x_hat, axis=axes)  # (C,)
    dbeta = np.sum(dy, axis=axes)  # (C,)
    return Gradients(dx, dgamma, dbeta)


def batch_norm_backward(dy: NDArray, saved: Saved) -> Gradients:
    """The backward pass closed: dy loses its mean and its part along x_hat.

    dx = (gamma / std) (dy - mean(dy) - x_hat mean(dy x_hat)), per channel.

    Parameters
    ----------
    dy : (N, C, *spatial)
        dL/dy.
    saved : Saved
        From `batch_norm_forward`.

    Raises
    ------
    ValueError
        If `dy` has another shape than the forward pass's output.

    Notes
    -----
    The paper's six equations, simplified. At eps = 0 the bracket is the
    orthogonal projection of dy off the span of 1 and x_hat.
    """
    axes, m, along = _prepare(dy, saved)
    dgamma = np.sum(dy * saved.x_hat, axis=axes)  # (C,)
    dbeta = np.sum(dy, axis=axes)  # (C,)
    scale = along(saved.gamma / saved.std)  # (1, C, 1, ..., 1)
    dx = scale * (dy - along(dbeta / m) - saved.x_hat * along(dgamma / m))
    return Gradients(dx, dgamma, dbeta)


def _prepare(dy: NDArray, saved: Saved):
    if dy.shape != saved.x_hat.shape:
        raise ValueError(
            f"expected dy of the output's shape {saved.x_hat.shape} "
            f"(got {dy.shape})"
        )
    return (
        statistic_axes(dy),
        saved.statistics.count,
        lambda v: per_channel(v, dy),
    )

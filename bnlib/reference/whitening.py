"""Full whitening, which batch norm does not do, and the failing method."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import statistic_axes

__all__ = [
    "BiasDescent",
    "WeightDescent",
    "covariance",
    "descend_bias",
    "descend_weights",
    "gradient_ignoring_the_mean",
    "gradient_through_the_mean",
    "principal_axes",
    "whiten_pca",
    "whiten_zca",
]


def covariance(x: NDArray) -> NDArray:
    """The biased covariance matrix of the features.

    Parameters
    ----------
    x : (N, d)

    Returns
    -------
    (d, d)
        ``E[(x - E[x]) (x - E[x])^T]``, symmetric.

    Raises
    ------
    ValueError
        If `x` is not two-dimensional.
    """
    if x.ndim != 2:
        raise ValueError(f"expected input of shape (N, d) (got {x.ndim}D input)")
    centered = x - np.mean(x, axis=statistic_axes(x))
    return centered.T @ centered / len(x)


def whiten_pca(x: NDArray, eps: float = 0.0) -> NDArray:
    """Whiten: rotate onto the principal axes and divide by the spread along each.

    Parameters
    ----------
    x : (N, d)
    eps : float
        Added to each eigenvalue of the covariance, so that a direction with no
        spread does no harm.

    Returns
    -------
    (N, d)
        Mean zero and, for eps = 0, covariance the identity. The columns are the
        principal components: no longer the features, each of arbitrary sign.

    Raises
    ------
    ValueError
        If eps = 0 and the covariance is singular.

    Notes
    -----
    With Cov[x] = U diag(lambda) U^T the result is (x - E[x]) U diag(lambda +
    eps)^(-1/2). U is not a differentiable function of x where two eigenvalues are
    equal.
    """
    centered, eigenvectors, scale = principal_axes(x, eps)
    return (centered @ eigenvectors) * scale


def whiten_zca(x: NDArray, eps: float = 0.0) -> NDArray:
    """Whiten, then rotate back: the whitened version closest to the features.

    Parameters
    ----------
    x : (N, d)
    eps : float
        As in `whiten_pca`.

    Returns
    -------
    (N, d)
        ``(x - E[x]) Cov[x]^(-1/2)``: mean zero and, for eps = 0, covariance the
        identity.

    Raises
    ------
    ValueError
        If eps = 0 and the covariance is singular.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 2, which writes this as
    Cov[x]^(-1/2) (x - E[x]).
    """
    centered, eigenvectors, scale = principal_axes(x, eps)
    return (centered @ eigenvectors) * scale @ eigenvectors.T


def principal_axes(
    x: NDArray, eps: float = 0.0
) -> tuple[NDArray, NDArray, NDArray]:
    """What both ways of whitening are made of.

    Parameters
    ----------
    x : (N, d)
    eps : float
        As in `whiten_pca`.

    Returns
    -------
    centered : (N, d)
        x - E[x].
    eigenvectors : (d, d)
        U, the eigenvectors of Cov[x] in its columns.
    scale : (d,)
        (lambda + eps)^(-1/2), one factor per eigenvector.

    Raises
    ------
    ValueError
        If eps is negative, or zero and the covariance singular.
    """
    if eps < 0:
        raise ValueError(f"expected eps >= 0 (got {eps})")
    eigenvalues, eigenvectors = np.linalg.eigh(covariance(x))  # (d,), (d, d)
    # below this there is rounding alone
    noise = eigenvalues[-1] * len(eigenvalues) * np.finfo(eigenvalues.dtype).eps
    rank = int(np.sum(eigenvalues > noise))
    if eps == 0 and rank < len(eigenvalues):
        raise ValueError(
            f"expected a covariance of full rank {len(eigenvalues)} "
            f"(got rank {rank}): give more independent examples or an eps > 0"
        )
    # rounding can leave a zero eigenvalue slightly negative
    scale = 1 / np.sqrt(np.maximum(eigenvalues, 0) + eps)  # (d,)
    return x - np.mean(x, axis=0), eigenvectors, scale


class WeightDescent(NamedTuple):
    """The weights of a linear model under gradient descent, step by step.

    Attributes
    ----------
    curvature : (2,)
        The smallest and the largest eigenvalue of the loss's Hessian.
    error : (steps + 1, 2)
        How far the weights are from the best ones, along the eigenvectors of
        these two; the first is where they started, (1, 1).
    """

    curvature: NDArray
    error: NDArray


def descend_weights(x: NDArray, tolerance: float = 1e-6) -> WeightDescent:
    """Fit an intercept and weights by gradient descent at the best constant rate.

    The loss is half the mean squared error. Its Hessian depends on the inputs
    alone, and so does the way of the error; the targets only say where the best
    weights are. The start is as far off along the flattest direction as along the
    steepest, for the two decide the rate.

    Parameters
    ----------
    x : (N, d)
    tolerance : float
        Stop when the error is at most this part of what it was.

    Raises
    ------
    ValueError
        If an input is a linear function of others, or constant: some weights
        would never be found. If the tolerance is not between 0 and 1.

    Notes
    -----
    With curvatures from a to b the best rate is 2 / (a + b); the error shrinks by
    (b - a) / (b + a) a step. Source: LeCun et al. 1998, on the convergence of
    gradient descent.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"expected 0 < tolerance < 1 (got {tolerance})")
    inputs = np.column_stack([np.ones(len(x)), x])  # (N, 1 + d)
    if np.linalg.matrix_rank(inputs) < inputs.shape[1]:
        raise ValueError("expected inputs none of which follows from the others")
    hessian = inputs.T @ inputs / len(x)
    eigenvalues, eigenvectors = np.linalg.eigh(hessian)
    curvature, directions = eigenvalues[[0, -1]], eigenvectors[:, [0, -1]]
    learning_rate = 2 / np.sum(curvature)
    error = [np.sum(directions, axis=1)]
    while np.linalg.norm(error[-1]) > tolerance * np.linalg.norm(error[0]):
        error.append(error[-1] - learning_rate * hessian @ error[-1])
    return WeightDescent(curvature, np.array(error) @ directions)


class BiasDescent(NamedTuple):
    """A bias under gradient descent, step by step.

    Attributes
    ----------
    b : (steps + 1,)
        The bias; the first is where it started.
    loss : (steps + 1,)
        The loss with that bias.
    """

    b: NDArray
    loss: NDArray


def gradient_ignoring_the_mean(dx_hat: NDArray) -> float:
    """dL/db of x_hat = x - E[x], x = u + b, with E[x] taken for a constant.

    It is the sum of dL/dx_hat (N,): the method that fails.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 2.
    """
    return float(np.sum(dx_hat))


def gradient_through_the_mean(dx_hat: NDArray) -> float:
    """dL/db of x_hat = x - E[x], x = u + b, with E[x] differentiated too.

    It is the sum of dL/dx = dL/dx_hat - E[dL/dx_hat] (N,): zero up to rounding.
    """
    dx = dx_hat - np.mean(dx_hat)
    return float(np.sum(dx))


def descend_bias(
    u: NDArray,
    target: NDArray,
    gradient: Callable[[NDArray], float],
    steps: int,
    learning_rate: float = 0.1,
) -> BiasDescent:
    """Train the bias of one centered unit, from 0, with the gradient given.

    The unit computes x = u + b and x_hat = x - E[x]; the loss is
    E[(x_hat - target)^2] / 2.

    Parameters
    ----------
    u, target : (N,)
    gradient : callable
        dL/dx_hat (N,) -> dL/db: `gradient_ignoring_the_mean` or
        `gradient_through_the_mean`.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 2: the update of b leaves x_hat, and so
    the loss, unchanged.
    """
    b, loss = np.zeros(steps + 1), np.zeros(steps + 1)
    for step in range(steps + 1):
        x = u + b[step]
        x_hat = x - np.mean(x)
        loss[step] = np.mean((x_hat - target) ** 2) / 2
        if step < steps:
            dx_hat = (x_hat - target) / len(x)
            b[step + 1] = b[step] - learning_rate * gradient(dx_hat)
    return BiasDescent(b, loss)

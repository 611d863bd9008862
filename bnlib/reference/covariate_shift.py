"""Shimodaira's example: a wrong model is best elsewhere when the inputs move."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "OBSERVED",
    "TARGET",
    "Line",
    "Normal",
    "effective_sample_size",
    "excess_risk",
    "importance_weights",
    "mean_squared_weight",
    "population_line",
    "sample",
    "true_function",
    "weighted_least_squares",
]


class Normal(NamedTuple):
    """A normal distribution of the input."""

    mean: float
    std: float

    def density(self, x: NDArray) -> NDArray:
        """The density at `x`, of the same shape."""
        z = (x - self.mean) / self.std
        return np.exp(-(z**2) / 2) / (self.std * np.sqrt(2 * np.pi))


class Line(NamedTuple):
    """The (wrong) model: y = intercept + slope x."""

    intercept: float
    slope: float

    def __call__(self, x: NDArray) -> NDArray:
        """The line's value at `x`, of the same shape."""
        return self.intercept + self.slope * x


#: q0, where the training inputs come from.
OBSERVED = Normal(0.5, 0.5)
#: q1, where the predictions are wanted.
TARGET = Normal(0.0, 0.3)
NOISE = 0.3  # standard deviation of y about the true function


def true_function(x: NDArray) -> NDArray:
    """E[y | x] = -x + x^3, in training and in prediction: only the inputs move.

    Notes
    -----
    Source: Shimodaira 2000, section 2.
    """
    return -x + x**3


def sample(
    distribution: Normal, n: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Draw n inputs, and outputs with noise N(0, 0.3^2).

    Returns
    -------
    x, y : (n,)
    """
    x = rng.normal(distribution.mean, distribution.std, n)
    return x, true_function(x) + rng.normal(0, NOISE, n)


def importance_weights(
    x: NDArray, target: Normal = TARGET, observed: Normal = OBSERVED
) -> NDArray:
    """How much more often the target would have drawn each x: w = q1(x) / q0(x).

    Parameters
    ----------
    x : (n,)
    target, observed : Normal
        q1 and q0.

    Notes
    -----
    Source: Shimodaira 2000, section 2.
    """
    return target.density(x) / observed.density(x)


def weighted_least_squares(
    x: NDArray, y: NDArray, w: NDArray | None = None
) -> Line:
    """The line with the smallest weighted squared error.

    Parameters
    ----------
    x, y : (n,)
    w : (n,), optional
        Not negative; all ones if not given, which is ordinary least squares.

    Raises
    ------
    ValueError
        If the shapes differ, a weight is negative, or fewer than two different x
        carry weight.

    Notes
    -----
    Source: Shimodaira 2000, section 2.
    """
    w = np.ones_like(x) if w is None else w
    if not x.shape == y.shape == w.shape or x.ndim != 1:
        shapes = f"{x.shape}, {y.shape}, {w.shape}"
        raise ValueError(f"expected x, y and w of one shape (n,) (got {shapes})")
    if np.any(w < 0):
        raise ValueError(
            f"expected weights that are not negative (got {w.min()})"
        )
    if len(np.unique(x[w > 0])) < 2:
        raise ValueError(
            "expected at least two different x with a positive weight"
        )
    x_mean, y_mean = np.average(x, weights=w), np.average(y, weights=w)
    dx = x - x_mean
    slope = np.sum(w * dx * (y - y_mean)) / np.sum(w * dx**2)
    return Line(float(y_mean - slope * x_mean), float(slope))


def population_line(distribution: Normal) -> Line:
    """The best line for infinitely many inputs from a distribution.

    Its slope is Cov[x, y] / Var[x] = -1 + 3 (mu^2 + tau^2), with the mean mu and
    the standard deviation tau.
    """
    mu, tau = distribution
    slope = -1 + 3 * (mu**2 + tau**2)
    y_mean = -mu + mu**3 + 3 * mu * tau**2
    return Line(y_mean - slope * mu, slope)


def excess_risk(
    model: Callable[[NDArray], NDArray], distribution: Normal
) -> float:
    """Expected squared error above the noise: E[(true_function - model)^2].

    Exact: the integrand is a polynomial of degree 6, and four Gauss-Hermite nodes
    integrate degree 7.

    Parameters
    ----------
    model : Line, or a polynomial up to degree 3
    distribution : Normal
        Of x.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    x = distribution.mean + distribution.std * nodes
    squared = (true_function(x) - model(x)) ** 2
    return float(np.sum(weights * squared) / np.sqrt(2 * np.pi))


def effective_sample_size(w: NDArray) -> float:
    """How many examples of equal weight carry as much as those of weights w (n,).

    It is (sum w)^2 / sum w^2, between 1 and n.
    """
    return float(np.sum(w) ** 2 / np.sum(w**2))


def mean_squared_weight(
    target: Normal = TARGET, observed: Normal = OBSERVED
) -> float:
    """E_q0[w^2], in closed form; n over it is the effective sample size.

    Infinite when 2 std0^2 <= std1^2: then the observed tails are too light to
    weight.

    Parameters
    ----------
    target, observed : Normal
        q1 and q0.
    """
    spread = 2 * observed.std**2 - target.std**2
    if spread <= 0:
        return float("inf")
    distance = (target.mean - observed.mean) ** 2
    scale = observed.std**2 / (target.std * np.sqrt(spread))
    return float(scale * np.exp(distance / spread))

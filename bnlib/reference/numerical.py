"""Central differences: a gradient that knows nothing of any derivation."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["numerical_gradient"]


def numerical_gradient(
    f: Callable[[NDArray], NDArray],
    x: NDArray,
    dy: NDArray | float = 1.0,
    step: float = 1e-5,
) -> NDArray:
    """The gradient of sum(dy * f(x)) by x, each entry from two evaluations of f.

    Parameters
    ----------
    f : callable
        From an array of x's shape to an array of any shape, or to a number.
    x : float64, any shape
        Left as it is.
    dy : array of f(x)'s shape, or float
        What f's output is weighted with. Take a random one: for batch
        normalization a constant dy gives a gradient of zero, and proves nothing.
    step : float
        The error is of order step^2 from the cut series and 1e-16 / step from
        rounding: near 1e-5 they meet, at about 1e-10 for values of order one.

    Raises
    ------
    TypeError
        If `x` is not float64: in float32 the rounding would drown the difference.
    """
    if x.dtype != np.float64:
        raise TypeError(f"expected a float64 array (got {x.dtype})")
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[i] = step
        gradient[i] = np.sum(dy * (f(x + shift) - f(x - shift))) / (2 * step)
    return gradient

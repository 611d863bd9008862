"""The figure of the conclusion."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .style import FIRST, GRAY, log_log

__all__ = ["plot_gradient_error"]


def plot_gradient_error(ax: Axes, sizes: NDArray, errors: NDArray) -> Axes:
    """Draw how far mini-batch gradients are from the full one, and the line that falls like 1/sqrt(m).

    Parameters
    ----------
    sizes : (k,)
        m, ascending.
    errors : (k,)
        Relative to the norm of the full gradient.
    """
    ax.plot(sizes, errors[0] * np.sqrt(sizes[0] / sizes), color=GRAY, linewidth=1.2)
    ax.plot(sizes, errors, "o", color=FIRST)
    ax.set(xlabel="examples in the mini-batch, m", ylabel="relative error")
    log_log(ax, sizes)
    return ax

"""Figures of the conclusion."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

__all__ = ["plot_gradient_error"]


def plot_gradient_error(ax: Axes, sizes: NDArray, errors: NDArray) -> Axes:
    """Draw how far mini-batch gradients are from the full one, and the line that falls like 1/sqrt(m).

    Parameters
    ----------
    ax : Axes
    sizes : (k,)
        m, ascending.
    errors : (k,)
        Relative to the norm of the full gradient.

    Returns
    -------
    Axes
    """
    ax.plot(sizes, errors[0] * np.sqrt(sizes[0] / sizes), color="0.6", linewidth=1.2)
    ax.plot(sizes, errors, "o", color="C0")
    ax.set(xscale="log", yscale="log", xlabel="examples in the mini-batch, m", ylabel="relative error")
    ax.set_xticks(sizes, [str(m) for m in sizes])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return ax

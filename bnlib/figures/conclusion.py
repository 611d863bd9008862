"""Figures of the conclusion."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

__all__ = ["plot_batch_sizes", "plot_gradient_error"]


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
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return ax


def plot_batch_sizes(ax: Axes, sizes: Sequence[int], accuracies: Mapping[str, NDArray]) -> Axes:
    """Draw test accuracy against the size of the mini-batch, every seed and their mean.

    Parameters
    ----------
    ax : Axes
    sizes : sequence of int, of length k
    accuracies : mapping of str to (seeds, k)
        Name -> accuracies.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one accuracy per size.
    """
    for i, (name, values) in enumerate(accuracies.items()):
        if np.shape(values)[1:] != (len(sizes),):
            raise ValueError(f"expected {len(sizes)} accuracies a seed (got shape {np.shape(values)})")
        ax.plot(sizes, np.mean(values, axis=0), color=f"C{i}", label=name)
        for seed in values:
            ax.plot(sizes, seed, "o", color=f"C{i}", markersize=4)
    ax.set(xscale="log", ylim=(0, 1), xlabel="examples in the mini-batch", ylabel="test accuracy")
    ax.set_xticks(sizes, [str(m) for m in sizes])
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return ax

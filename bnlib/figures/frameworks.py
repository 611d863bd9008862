"""The figure of the chapter on what the frameworks do."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import GRAY, check_shape, colored

__all__ = ["plot_output_errors"]


def plot_output_errors(ax: Axes, means: ArrayLike, errors: Mapping[str, ArrayLike]) -> Axes:
    """Draw how wrong the normalized output is against the mean of the data; a cross at the top is NaN.

    Parameters
    ----------
    means : (k,)
        Positive, ascending.
    errors : mapping of str to (k,)
        Name -> largest absolute error of the output, positive or NaN.
    """
    means = np.asarray(means)
    top = 1e5
    ax.axhline(1, color=GRAY, linewidth=1, linestyle="--")
    for i, (color, name, error) in enumerate(colored(errors)):
        error = check_shape(error, means.shape, name)
        ax.plot(means, error, marker="osD^v"[i % 5], markersize=4, color=color, label=name)
        lost = means[np.isnan(error)]
        ax.plot(lost, np.full(len(lost), top), "x", markersize=7, color=color)
    ax.set(xscale="log", yscale="log", ylim=(1e-7, 3 * top))
    ax.set(xlabel="mean of the data (standard deviation 1)", ylabel="largest error of the output")
    ax.minorticks_off()
    ax.legend(loc="upper left")
    return ax

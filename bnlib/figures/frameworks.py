"""The figure of the chapter on what the frameworks do."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

__all__ = ["plot_output_errors"]


def plot_output_errors(ax: Axes, means: ArrayLike, errors: Mapping[str, ArrayLike]) -> Axes:
    """Draw how wrong the normalized output is against the mean of the data; a cross at the top is NaN.

    Parameters
    ----------
    ax : Axes
    means : (k,)
        Positive, ascending.
    errors : mapping of str to (k,)
        Name -> largest absolute error of the output, positive or NaN.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one error per mean.
    """
    means = np.asarray(means)
    top = 1e5
    for i, (name, error) in enumerate(errors.items()):
        error = np.asarray(error)
        if error.shape != means.shape:
            raise ValueError(f"{name}: expected {len(means)} errors (got shape {error.shape})")
        marker = "osD^v"[i % 5]
        ax.plot(means, error, marker=marker, markersize=4, color=f"C{i}", label=name)
        lost = means[np.isnan(error)]
        ax.plot(lost, np.full(len(lost), top), "x", markersize=7, color=f"C{i}", label="_nan")
    ax.axhline(1, color="0.5", linewidth=1, linestyle="--", zorder=0)
    ax.set(xscale="log", yscale="log", ylim=(1e-7, 3 * top))
    ax.set(xlabel="mean of the data (standard deviation 1)", ylabel="largest error of the output")
    ax.minorticks_off()
    ax.legend(loc="upper left")
    return ax

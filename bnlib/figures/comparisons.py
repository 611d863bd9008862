"""The figures of the chapter on comparisons: errors against a setting, each side at its best."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import check_shape, colored, log_x

__all__ = ["error_axis", "plot_over_setting", "plot_untuned"]


def error_axis(ax: Axes, ticks: Sequence[float]) -> Axes:
    """Make the vertical axis that of error rates, logarithmic, with these ticks in per cent and no other.

    Parameters
    ----------
    ticks : sequence of float
        Error rates from 0 to 1, ascending; the axis reaches from the first to the last.
    """
    ax.set(yscale="log", ylim=(ticks[0], ticks[-1]), ylabel="test error")
    ax.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    ax.minorticks_off()
    return ax


def plot_over_setting(
    ax: Axes,
    values: Sequence[float],
    results: Mapping[str, ArrayLike],
    xlabel: str,
    ylabel: str = "test accuracy",
) -> Axes:
    """Draw a result against a setting: every seed as a dot, and the line of their medians.

    Parameters
    ----------
    values : sequence of float, of length k
        Of the setting, ascending; drawn on a logarithmic axis.
    results : mapping of str to (seeds, k)
    """
    for color, name, result in colored(results):
        result = check_shape(result, ("seeds", len(values)), name)
        ax.plot(values, np.median(result, axis=0), color=color, label=name)
        ax.plot(values, result.T, "o", color=color, markersize=3.5, alpha=0.7)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    log_x(ax, values)
    ax.legend()
    return ax


def plot_untuned(ax: Axes, values: Sequence[float], results: Mapping[str, ArrayLike]) -> Axes:
    """Draw the same networks in one common setting: dashed lines in their colors, without a legend.

    Parameters
    ----------
    values : sequence of float, of length k
    results : mapping of str to (k,)
        In the order of those that are tuned.
    """
    for color, name, result in colored(results):
        result = check_shape(result, (len(values),), name)
        ax.plot(values, result, color=color, linewidth=1, linestyle=(0, (3, 2)))
    return ax

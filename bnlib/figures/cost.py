"""The figures of the chapter on what batch normalization costs: drawn from a stored record."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike

from .style import BLACK, GRAY, check_shape, colored

__all__ = ["plot_predictions", "plot_ratios"]

MARKERS = "osD^v"


def plot_ratios(
    ax: Axes,
    names: Sequence[str],
    ratios: Mapping[str, ArrayLike],
    goals: Mapping[str, ArrayLike] | None = None,
    xlabel: str = "time over torch.nn's",
) -> Axes:
    """Draw ratios of times, row by row: a dot at the median, a line over the runs, a bar at the goal.

    Parameters
    ----------
    names : sequence of str, of length k
        Of the rows, top to bottom.
    ratios : mapping of str to (k, runs)
        Positive; NaN where there is none. One color each.
    goals : mapping of str to (k,)
        For some of the ratios; NaN where there is none.
    """
    rows, goals = np.arange(len(names)), goals or {}
    for i, (color, name, values) in enumerate(colored(ratios)):
        values = check_shape(values, (len(names), "runs"), name)
        y = rows + 0.6 * ((i + 0.5) / len(ratios) - 0.5)
        middle = np.median(values, axis=1)
        ax.hlines(y, values.min(axis=1), values.max(axis=1), color=color, linewidth=2)
        ax.plot(middle, y, MARKERS[i % 5], markersize=5, color=color, label=name)
        if name in goals:
            goal = check_shape(goals[name], rows.shape, f"goal of {name}")
            label = "goal" if name == next(iter(goals)) else None  # once in the legend
            ax.plot(goal, y, "|", markersize=9, markeredgewidth=2, color=BLACK, zorder=3, label=label)
    ax.axvline(1, color=GRAY, linewidth=1, linestyle="--")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(rows, names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(visible=False, axis="y")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(ratios) + 1, columnspacing=1)
    return ax


def plot_predictions(
    ax: Axes,
    predicted: Mapping[str, ArrayLike],
    measured: Mapping[str, ArrayLike],
    unit: str = "milliseconds",
) -> Axes:
    """Draw measured against predicted times, both axes logarithmic; on the dashed line they are equal.

    Parameters
    ----------
    predicted : mapping of str to (k,)
    measured : mapping of str to (k, runs)
        Of the same names: a dot at the median, a line over the runs.

    Raises
    ------
    ValueError
        If the names differ.
    """
    if predicted.keys() != measured.keys():
        raise ValueError(f"expected times of {', '.join(predicted)} (got {', '.join(measured)})")
    for i, (color, name, values) in enumerate(colored(measured)):
        x = check_shape(predicted[name], ("k",), name)
        values = check_shape(values, (len(x), "runs"), name)
        ax.vlines(x, values.min(axis=1), values.max(axis=1), color=color, linewidth=2)
        ax.plot(x, np.median(values, axis=1), MARKERS[i % 5], markersize=5, color=color, label=name)
    ax.set(xscale="log", yscale="log")
    limits = [*ax.get_xlim(), *ax.get_ylim()]
    ends = min(limits), max(limits)
    ax.plot(ends, ends, "--", color=GRAY, linewidth=1, zorder=1.5)
    ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"predicted, {unit}", ylabel=f"measured, {unit}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    ax.legend(loc="upper left")
    return ax

"""Figures of the chapter on covariate shift."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ._checks import check_axes

__all__ = ["plot_amplification", "plot_fits", "plot_moving_inputs", "plot_slopes"]


def plot_fits(
    axes: Sequence[Axes], x: NDArray, y: NDArray, weights: NDArray, curve, densities: Mapping, lines: Mapping
) -> Sequence[Axes]:
    """Draw a regression under covariate shift: above the fits, below where the inputs come from.

    Parameters
    ----------
    axes : two Axes
        One above the other.
    x, y, weights : (n,)
        The sample, and each example's importance, drawn as the size of its dot.
    curve : callable
        The true function, x -> y.
    densities : mapping of str to callable
        Label -> density.
    lines : mapping of str to callable
        Label -> line, x -> y.

    Returns
    -------
    The axes.
    """
    above, below = check_axes(axes, 2)
    grid = np.linspace(-1.1, 2.0, 300)
    above.scatter(x, y, s=6 + 20 * weights, color="0.6", linewidths=0, alpha=0.7)
    above.plot(grid, curve(grid), color="black", linewidth=1, label="true function")
    for (label, line), color in zip(lines.items(), ("C0", "C1"), strict=True):
        above.plot(grid, line(grid), color=color, label=label)
    above.set(xlim=(-1.1, 2.0), ylim=(-1.6, 2.2), ylabel="y")
    above.tick_params(labelbottom=False)
    above.legend(loc="upper left")
    for (label, density), color in zip(densities.items(), ("C0", "C1"), strict=True):
        below.fill_between(grid, density(grid), color=color, alpha=0.3, linewidth=0)
        peak = grid[np.argmax(density(grid))]
        below.annotate(
            label, (peak, density(peak)), (0, 3), textcoords="offset points", color=color, ha="center"
        )
    below.set(xlim=(-1.1, 2.0), ylim=(0, 1.75), xlabel="x", yticks=[])
    return axes


def plot_slopes(ax: Axes, slopes: Mapping[str, NDArray], limits: Sequence[float]) -> Axes:
    """Draw how fitted slopes scatter over repeated samples, and where they would be without noise.

    Parameters
    ----------
    ax : Axes
    slopes : mapping of str to (repeats,)
        Label -> fitted slopes.
    limits : sequence of float
        The population slope of each, in the same order.

    Returns
    -------
    Axes
    """
    bins = np.linspace(min(map(np.min, slopes.values())), max(map(np.max, slopes.values())), 80)
    for i, ((label, values), limit) in enumerate(zip(slopes.items(), limits, strict=True)):
        ax.hist(values, bins, color=f"C{i}", alpha=0.5)
        ax.axvline(limit, color=f"C{i}", linewidth=1.2)
        ax.annotate(label, (limit, 1), (4, -12), ("data", "axes fraction"), "offset points", color=f"C{i}")
    ax.set(xlabel="slope of the fitted line", ylabel="samples", ylim=(0, 1.2 * ax.get_ylim()[1]))
    return ax


def plot_moving_inputs(
    axes: Sequence[Axes], before: NDArray, after: NDArray, units: Sequence[int], names: Sequence[str]
) -> Sequence[Axes]:
    """Draw the distributions of a few units' values before and after the layers below were trained.

    Parameters
    ----------
    axes : one Axes per unit
    before, after : (N, units)
        The same N examples, seen by the same units.
    units : sequence of int
        Which columns to draw.
    names : two str
        What `before` and `after` are called in the legend.

    Returns
    -------
    The axes.
    """
    for ax, unit in zip(check_axes(axes, len(units)), units, strict=True):
        both = np.concatenate([before[:, unit], after[:, unit]])
        bins = np.linspace(both.min(), both.max(), 40)
        ax.hist(before[:, unit], bins, color="0.55", alpha=0.7, label=names[0])
        ax.hist(after[:, unit], bins, color="C1", histtype="step", linewidth=1.6, label=names[1])
        ax.set(title=f"input {unit}", xlabel="value", yticks=[])
    axes[0].legend(loc="upper right", fontsize=8, handlelength=1)
    return axes


def plot_amplification(
    axes: Sequence[Axes], changes: Sequence[Mapping[float, NDArray]], titles: Sequence[str]
) -> Sequence[Axes]:
    """Draw how a small change of the first layer travels up a deep network.

    Parameters
    ----------
    axes : one Axes per network
    changes : sequence of mappings of float to (layers,)
        Per network: standard deviation of the weights -> relative change of every layer's input.
    titles : sequence of str
        One per network.

    Returns
    -------
    The axes, with one scale.
    """
    for ax, network, title in zip(check_axes(axes, len(titles)), changes, titles, strict=True):
        for i, (std, change) in enumerate(network.items()):
            # thick under thin, so that curves that coincide can all be seen
            width = 1.5 + 1.5 * (len(network) - 1 - i)
            ax.plot(np.arange(1, len(change) + 1), change, color=f"C{i}", linewidth=width, label=f"{std:g}")
        ax.set(title=title, xlabel="layer", yscale="log")
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
    axes[0].set_ylabel("relative change")
    axes[0].legend(title="std of the weights", title_fontsize=9)
    return axes

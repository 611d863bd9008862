"""The figures of the chapter on covariate shift."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .style import BLACK, PALE, SECOND, check_axes, colored, note, share_ylim

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
    densities, lines : mapping of str to callable
        Label -> density of x; label -> fit, x -> y. In the same order: a line has its density's color.
    """
    above, below = check_axes(axes, 2)
    grid = np.linspace(-1.1, 2.0, 300)
    above.scatter(x, y, s=6 + 20 * weights, color=PALE, linewidths=0, alpha=0.8)
    above.plot(grid, curve(grid), color=BLACK, linewidth=1, label="true function")
    for color, label, line in colored(lines):
        above.plot(grid, line(grid), color=color, label=label)
    above.set(xlim=(-1.1, 2.0), ylim=(-1.6, 2.2), ylabel="y")
    above.tick_params(labelbottom=False)
    above.legend(loc="upper left")
    for color, label, density in colored(densities):
        below.fill_between(grid, density(grid), color=color, alpha=0.3, linewidth=0)
        peak = grid[np.argmax(density(grid))]
        note(below, label, (peak, density(peak)), (0, 3), color=color, ha="center")
    below.set(xlim=(-1.1, 2.0), ylim=(0, 1.75), xlabel="x", yticks=[])
    return axes


def plot_slopes(ax: Axes, slopes: Mapping[str, NDArray], limits: Sequence[float]) -> Axes:
    """Draw how fitted slopes scatter over repeated samples, and where they would be without noise.

    Parameters
    ----------
    slopes : mapping of str to (repeats,)
        Label -> fitted slopes.
    limits : sequence of float
        The population slope of each, in the same order.
    """
    bins = np.linspace(min(map(np.min, slopes.values())), max(map(np.max, slopes.values())), 80)
    for (color, label, values), limit in zip(colored(slopes), limits, strict=True):
        ax.hist(values, bins, color=color, alpha=0.5)
        ax.axvline(limit, color=color, linewidth=1.2)
        note(ax, label, (limit, 1), (4, -12), xycoords=("data", "axes fraction"), color=color)
    ax.set(xlabel="slope of the fitted line", ylabel="samples", ylim=(0, 1.2 * ax.get_ylim()[1]))
    return ax


def plot_moving_inputs(
    axes: Sequence[Axes], before: NDArray, after: NDArray, units: Sequence[int], names: Sequence[str]
) -> Sequence[Axes]:
    """Draw the distributions of a few units' values before and after the layers below were trained.

    Parameters
    ----------
    before, after : (N, units)
        The same N examples, seen by the same units.
    units : sequence of int
        Which columns to draw, a panel each.
    names : two str
        What `before` and `after` are called in the legend.
    """
    for ax, unit in zip(check_axes(axes, len(units)), units, strict=True):
        both = np.concatenate([before[:, unit], after[:, unit]])
        bins = np.linspace(both.min(), both.max(), 40)
        ax.hist(before[:, unit], bins, color=PALE, label=names[0])
        ax.hist(after[:, unit], bins, color=SECOND, histtype="step", linewidth=1.6, label=names[1])
        ax.set(title=f"input {unit}", xlabel="value", yticks=[])
    axes[0].legend(loc="upper right", fontsize=8, handlelength=1)
    return axes


def plot_amplification(
    axes: Sequence[Axes], changes: Sequence[Mapping[float, NDArray]], titles: Sequence[str]
) -> Sequence[Axes]:
    """Draw how a small change of the first layer travels up deep networks, a panel each on one scale.

    Parameters
    ----------
    changes : sequence of mappings of float to (layers,)
        Per network: standard deviation of the weights -> relative change of every layer's input.
    titles : sequence of str
        One per network.
    """
    for ax, network, title in zip(check_axes(axes, len(titles)), changes, titles, strict=True):
        for i, (color, std, change) in enumerate(colored(network)):
            # thick under thin, so that curves that coincide can all be seen
            width = 1.5 + 1.5 * (len(network) - 1 - i)
            ax.plot(np.arange(1, len(change) + 1), change, color=color, linewidth=width, label=f"{std:g}")
        ax.set(title=title, xlabel="layer", yscale="log")
    share_ylim(axes)
    axes[0].set_ylabel("relative change")
    axes[0].legend(title="std of the weights", title_fontsize=9)
    return axes

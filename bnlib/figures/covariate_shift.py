"""The figures of the chapter on covariate shift."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .style import BLACK, PALE, SECOND, check_axes, check_shape, colored, note, panels, share_ylim

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


def plot_moving_inputs(axes: Sequence[Axes], moved: Mapping[str, tuple[NDArray, NDArray]]) -> Sequence[Axes]:
    """Draw where every input of a layer was and where it went, a panel a network, all on one scale.

    The inputs stand in the order of their means before. A bar reaches one standard deviation to either side
    of that mean; a dot is the mean after.

    Parameters
    ----------
    moved : mapping of str to two (N, inputs)
        Title -> the inputs of the same N examples, before and after the layers below were trained.
    """
    for ax, title, (before, after) in panels(axes, moved):
        check_shape(after, before.shape, title)
        order = np.argsort(before.mean(axis=0))
        before, after = before[:, order], after[:, order]
        mean, std, rank = before.mean(axis=0), before.std(axis=0), np.arange(before.shape[1])
        ax.bar(rank, 2 * std, bottom=mean - std, width=1, color=PALE, alpha=0.5, label="before: mean ± std")
        ax.plot(rank, mean, color=BLACK, linewidth=1)
        ax.plot(rank, after.mean(axis=0), ".", color=SECOND, markersize=5, label="after: mean")
        ax.set(title=title, ylabel="value", xlim=(-1, len(rank)))
        ax.tick_params(labelbottom=ax is axes[-1])
    share_ylim(axes)
    axes[-1].set_xlabel("input of the layer, in the order of the means")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside upper left", ncols=2)
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
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    share_ylim(axes)
    axes[0].set_ylabel("relative change")
    axes[0].legend(title="std of the weights", title_fontsize=9)
    return axes

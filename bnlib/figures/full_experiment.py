"""The figures of the chapter on the experiment in full: drawn from stored results."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import BLACK, WHITE, check_shape, colored, panels, share_ylim

__all__ = [
    "plot_against_ratio",
    "plot_by_layer",
    "plot_distributions",
    "plot_heat_maps",
    "plot_paper",
    "plot_paper_band",
]


def plot_paper(ax: Axes, curves: Mapping[str, ArrayLike]) -> Axes:
    """Draw the paper's accuracies dashed, in the colors of ours, over the steps that its curves have.

    Parameters
    ----------
    curves : mapping of str to (2, K)
        Name -> steps and accuracies, in the order of ours.
    """
    drawn = {name: check_shape(curve, (2, "K"), name) for name, curve in curves.items()}
    for color, name, (steps, accuracy) in colored(drawn):
        ax.plot(steps, accuracy, color=color, linewidth=1.2, linestyle=(0, (3, 1.5)), label=f"paper, {name}")
    ax.set_xlim(min(curve[0].min() for curve in drawn.values()), max(c[0].max() for c in drawn.values()))
    ax.legend(loc="lower right")
    return ax


def plot_paper_band(ax: Axes, percentiles: Mapping[str, ArrayLike]) -> Axes:
    """Draw the paper's percentiles of one sigmoid's input as dashed lines.

    Parameters
    ----------
    percentiles : mapping of str to (2, K)
        Name -> steps and values.
    """
    for name, curve in percentiles.items():
        ax.plot(*check_shape(curve, (2, "K"), name), color=BLACK, linewidth=1, linestyle=(0, (3, 1.5)))
    return ax


def plot_heat_maps(
    axes: Sequence[Axes],
    maps: Mapping[str, ArrayLike],
    rows: Sequence[float],
    columns: Sequence[float],
    labels: tuple[str, str],
) -> Sequence[Axes]:
    """Draw accuracies over two settings as tables of colored cells, all on one scale from 0 to 1.

    Parameters
    ----------
    maps : mapping of str to (rows, columns)
        Title -> accuracies; the number in a cell is the accuracy in per cent.
    rows, columns : sequence of float
        The values of the settings, bottom to top and left to right.
    labels : two str
        What the rows and the columns are.
    """
    for ax, title, values in panels(axes, maps):
        values = check_shape(values, (len(rows), len(columns)), title)
        ax.imshow(values, vmin=0, vmax=1, origin="lower", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            color = BLACK if value > 0.6 else WHITE
            ax.text(j, i, f"{100 * value:.0f}", color=color, ha="center", va="center", fontsize=8)
        ax.set(title=title, xlabel=labels[1])
        ax.set_xticks(range(len(columns)), [f"{v:g}" for v in columns], rotation=45)
        ax.set_yticks(range(len(rows)), [f"{v:g}" for v in rows])
        ax.grid(False)
    axes[0].set_ylabel(labels[0])
    return axes


def plot_against_ratio(
    ax: Axes, rates: Sequence[float], stds: Sequence[float], accuracies: ArrayLike
) -> Axes:
    """Draw the errors of a heat map against rate / std^2, one line a rate, higher rates darker.

    Parameters
    ----------
    accuracies : (rates, stds)
    """
    accuracies = check_shape(accuracies, (len(rates), len(stds)), "accuracies")
    shades = colormaps["viridis"](np.linspace(0.9, 0, len(rates)))
    for shade, rate, row in zip(shades, rates, accuracies, strict=True):
        ratio = rate / np.square(stds)
        ax.plot(ratio, 1 - row, "o-", color=shade, markersize=3.5, label=f"{rate:g}")
    ax.set(xscale="log", yscale="log", xlabel="learning rate / std²", ylabel="test error")
    ax.legend(title="rate", ncols=2)
    return ax


def plot_distributions(
    axes: Sequence[Axes], steps: ArrayLike, edges: ArrayLike, histograms: ArrayLike
) -> Sequence[Axes]:
    """Draw how a distribution moves during training, layer by layer, as columns of a heat map.

    Parameters
    ----------
    axes : one Axes per layer
    steps : (T,)
        Drawn one column each, evenly spaced, so that the beginning can be seen.
    edges : (bins + 1,)
    histograms : (T, layers, bins)
        Shares; a column's darkest bin is its fullest.
    """
    steps = np.asarray(steps)
    histograms = check_shape(histograms, (len(steps), len(axes), len(edges) - 1), "histograms")
    for layer, ax in enumerate(axes):
        shares = histograms[:, layer] / histograms[:, layer].max(axis=1, keepdims=True)
        ax.pcolormesh(np.arange(len(steps) + 1) - 0.5, edges, shares.T, cmap="Greys", rasterized=True)
        shown = np.linspace(0, len(steps) - 1, 4).round().astype(int)
        ax.set_xticks(shown, [f"{steps[i]:,}" for i in shown], rotation=45)
        ax.set(title=f"hidden layer {layer + 1}", xlabel="step")
        ax.grid(False)
    axes[0].set_ylabel("input of the sigmoids")
    return axes


def plot_by_layer(
    axes: Sequence[Axes],
    steps: ArrayLike,
    results: Mapping[str, ArrayLike],
    ylabel: str,
    yscale: str = "linear",
) -> Sequence[Axes]:
    """Draw one number per layer over the steps, a panel for each network, all on one scale.

    Parameters
    ----------
    steps : (T,)
        Those not positive are left out: the axis is logarithmic.
    results : mapping of str to (T, layers)
        Title -> values.
    yscale : {"linear", "log"}
    """
    steps = np.asarray(steps)
    for ax, title, values in panels(axes, results):
        layers = check_shape(values, (len(steps), "layers"), title)[steps > 0].T
        for i, layer in enumerate(layers, start=1):
            ax.plot(steps[steps > 0], layer, label=f"layer {i}")
        ax.set(title=title, xscale="log", xlabel="step", yscale=yscale)
    share_ylim(axes)
    axes[0].set_ylabel(ylabel)
    axes[0].legend()
    return axes

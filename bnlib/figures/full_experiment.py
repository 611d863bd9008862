"""Figures of the chapter on the experiment in full: drawn from stored results."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ._checks import check_axes

__all__ = ["plot_by_layer", "plot_distributions", "plot_heat_maps", "plot_over_setting"]


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
    axes : one Axes per map
    maps : mapping of str to (rows, columns)
        Title -> accuracies; the number in a cell is the accuracy in per cent.
    rows, columns : sequence of float
        The values of the settings, bottom to top and left to right.
    labels : two str
        What the rows and the columns are.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If a map has another shape, or there are more or fewer axes than maps.
    """
    for ax, (title, values) in zip(check_axes(axes, len(maps)), maps.items(), strict=True):
        values = np.asarray(values)
        if values.shape != (len(rows), len(columns)):
            raise ValueError(f"expected a map of shape {(len(rows), len(columns))} (got {values.shape})")
        ax.imshow(values, vmin=0, vmax=1, origin="lower", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            color = "black" if value > 0.6 else "white"
            ax.text(j, i, f"{100 * value:.0f}", color=color, ha="center", va="center", fontsize=8)
        ax.set(title=title, xlabel=labels[1])
        ax.set_xticks(range(len(columns)), [f"{v:g}" for v in columns])
        ax.set_yticks(range(len(rows)), [f"{v:g}" for v in rows])
        ax.tick_params(axis="x", rotation=45)
        ax.grid(False)
    axes[0].set_ylabel(labels[0])
    return axes


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
    ax : Axes
    values : sequence of float, of length k
        Of the setting, ascending; drawn on a logarithmic axis.
    results : mapping of str to (seeds, k)
    xlabel, ylabel : str

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is not one result per value.
    """
    for i, (name, result) in enumerate(results.items()):
        result = np.asarray(result)
        if result.shape[1:] != (len(values),):
            raise ValueError(f"expected {len(values)} results a seed (got shape {result.shape})")
        ax.plot(values, np.median(result, axis=0), color=f"C{i}", label=name)
        ax.plot(values, result.T, "o", color=f"C{i}", markersize=3.5, alpha=0.7)
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(values, [f"{v:g}" for v in values])
    ax.minorticks_off()
    ax.legend()
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

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If there are more or fewer axes than layers, or the histograms do not fit the steps and bins.
    """
    steps, edges, histograms = map(np.asarray, (steps, edges, histograms))
    if histograms.shape[::2] != (len(steps), len(edges) - 1):
        raise ValueError(
            f"expected histograms ({len(steps)}, layers, {len(edges) - 1}) (got {histograms.shape})"
        )
    layers = histograms.shape[1]
    for layer, ax in enumerate(check_axes(axes, layers)):
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
    """Draw one number per layer over the steps, a panel for each network.

    Parameters
    ----------
    axes : one Axes per network
    steps : (T,)
        Those not positive are left out: the axis is logarithmic.
    results : mapping of str to (T, layers)
        Title -> values.
    ylabel : str
    yscale : {"linear", "log"}

    Returns
    -------
    The axes, with one scale.

    Raises
    ------
    ValueError
        If there are more or fewer axes than networks.
    """
    steps = np.asarray(steps)
    for ax, (title, values) in zip(check_axes(axes, len(results)), results.items(), strict=True):
        for layer, line in enumerate(np.asarray(values).T):
            shade = 0.35 + 0.65 * (layer + 1) / np.shape(values)[1]  # deeper layers are darker
            ax.plot(steps[steps > 0], line[steps > 0], color="C0", alpha=shade, label=f"layer {layer + 1}")
        ax.set(title=title, xscale="log", xlabel="step", yscale=yscale)
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
    axes[0].set_ylabel(ylabel)
    axes[0].legend()
    return axes

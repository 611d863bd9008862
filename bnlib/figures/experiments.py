"""The figures of the chapter on the experiments: curves over the steps, one color a network."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import check_shape, colored, log_x, panels, share_ylim

__all__ = [
    "plot_accuracy",
    "plot_band",
    "plot_drift",
    "plot_loss",
    "plot_medians",
    "plot_percentiles",
    "plot_settings",
]


def plot_loss(ax: Axes, losses: Mapping[str, ArrayLike], window: int = 50) -> Axes:
    """Draw the training loss against the steps, averaged over a window of steps.

    Parameters
    ----------
    losses : mapping of str to (runs, steps) or (steps,)
        Name -> the mini-batch's loss at every step. Of several runs the line is their median, the
        band reaches from the lowest to the highest.
    window : int
        How many steps one point averages; it stands at the last of them.

    Raises
    ------
    ValueError
        If the window is not between 1 and the number of steps.
    """
    for color, name, loss in colored(losses):
        loss = np.atleast_2d(loss)
        steps = loss.shape[1]
        if not 1 <= window <= steps:
            raise ValueError(f"expected a window between 1 and {steps} steps (got {window})")
        total = np.cumsum(np.pad(loss, ((0, 0), (1, 0))), axis=1)
        means = (total[:, window:] - total[:, :-window]) / window
        _median_and_band(ax, np.arange(window, steps + 1), means, name, color)
    ax.set(xlabel="step", ylabel=f"training loss, mean of {window} steps", xlim=(0, None), ylim=(0, None))
    ax.legend(loc="center right")
    return ax


def plot_accuracy(
    ax: Axes, steps: ArrayLike, accuracies: Mapping[str, ArrayLike], ylim: tuple[float, float] = (0.0, 1.0)
) -> Axes:
    """Draw test accuracy against steps.

    Parameters
    ----------
    steps : (T,)
    accuracies : mapping of str to (runs, T) or (T,)
        Name -> accuracy. Of several runs the line is their median, the band reaches from the lowest
        to the highest.
    """
    for color, name, accuracy in colored(accuracies):
        _median_and_band(ax, steps, np.atleast_2d(accuracy), name, color)
    ax.set(xlabel="step", ylabel="test accuracy", xlim=(0, np.max(steps)), ylim=ylim)
    ax.legend(loc="best")
    return ax


def plot_percentiles(
    axes: Sequence[Sequence[Axes]],
    steps: ArrayLike,
    percentiles: Mapping[str, ArrayLike],
    units: Sequence[int],
) -> Sequence[Sequence[Axes]]:
    """Draw how the inputs of several units are distributed while the network is trained.

    Parameters
    ----------
    axes : (networks, units) of Axes
        One row a network, one column a unit; all get the same limits.
    steps : (T,)
    percentiles : mapping of str to (T, 3, all units) or (runs, T, 3, all units)
        Name -> 15th, 50th and 85th percentile of every unit's input. Of several runs the median of each
        percentile is drawn.
    units : sequence of int
        Which to draw.
    """
    check_shape(axes, (len(percentiles), len(units)), "axes")
    drawn = {name: _over_runs(values, name)[:, :, list(units)] for name, values in percentiles.items()}
    low, high = min(v.min() for v in drawn.values()), max(v.max() for v in drawn.values())
    margin = 0.05 * (high - low)
    for row, (color, name, values) in zip(axes, colored(drawn), strict=True):
        for ax, unit, (p15, p50, p85) in zip(row, units, values.T, strict=True):
            plot_band(ax, steps, np.stack([p15, p50, p85], axis=1), color)
            ax.set(ylim=(low - margin, high + margin), title=f"unit {unit}")
            ax.tick_params(labelbottom=False, labelleft=ax is row[0])
            ax.locator_params(axis="x", nbins=2)  # the panels are narrow
        row[0].set(title=f"{name}, unit {units[0]}", ylabel="input of the sigmoid")
    for ax in axes[-1]:
        ax.set_xlabel("step")
        ax.tick_params(labelbottom=True)
    return axes


def plot_band(ax: Axes, steps: ArrayLike, percentiles: ArrayLike, color: str) -> Axes:
    """Draw one unit's input over the steps: the median, and a band between the outer percentiles.

    Parameters
    ----------
    steps : (T,)
    percentiles : (T, 3)
        The 15th, 50th and 85th.
    """
    low, median, high = check_shape(percentiles, (*np.shape(steps), 3), "percentiles").T
    ax.fill_between(steps, low, high, color=color, alpha=0.3, linewidth=0)
    ax.plot(steps, median, color=color)
    ax.set_xlim(0, np.max(steps))
    return ax


def plot_medians(axes: Sequence[Axes], steps: ArrayLike, medians: Mapping[str, ArrayLike]) -> Sequence[Axes]:
    """Draw the median input of every unit over the steps, one thin line a unit, a panel for each network.

    Parameters
    ----------
    axes : one Axes per network
        All get the same limits.
    steps : (T,)
    medians : mapping of str to (T, units)
    """
    colors = {name: color for color, name, _ in colored(medians)}
    for ax, name, values in panels(axes, medians):
        values = check_shape(values, (*np.shape(steps), "units"), name)
        ax.plot(steps, values, color=colors[name], alpha=0.35, linewidth=0.7)
        ax.set(xlim=(0, np.max(steps)), title=f"{name}, all {values.shape[1]}")
    share_ylim(axes)
    return axes


def plot_drift(ax: Axes, drift: Mapping[str, ArrayLike]) -> Axes:
    """Draw the share of a layer's units whose median input drifted no further than a distance.

    Parameters
    ----------
    drift : mapping of str to (units,)
        Name -> distances, in any order, of any shape.

    Raises
    ------
    ValueError
        If a distance is not positive: it has no place on the logarithmic axis.
    """
    for color, name, distance in colored(drift):
        distance = np.sort(np.ravel(distance))
        if distance[0] <= 0:
            raise ValueError(f"expected positive distances (got {distance[0]})")
        share = np.arange(1, len(distance) + 1) / len(distance)
        ax.step(distance, share, where="post", color=color, label=name)
    ax.set(xlabel="drift of the median, in widths of the band", ylabel="share of units")
    log_x(ax, (0.03, 0.1, 0.3, 1, 3))
    ax.set_ylim(0, 1.02)
    ax.legend(loc="upper left")
    return ax


def plot_settings(
    axes: Sequence[Axes], steps: ArrayLike, settings: Mapping[str, Mapping[str, ArrayLike]]
) -> Sequence[Axes]:
    """Draw test accuracy against steps for several settings, a panel each.

    Parameters
    ----------
    steps : (T,)
    settings : mapping of str to mapping
        Title -> what `plot_accuracy` draws.
    """
    for ax, title, accuracies in panels(axes, settings):
        plot_accuracy(ax, steps, accuracies)
        ax.set_title(title)
        ax.locator_params(axis="x", nbins=2)
        if ax is not axes[0]:
            ax.get_legend().remove()
        ax.label_outer()
    return axes


def _median_and_band(ax: Axes, steps: ArrayLike, runs: np.ndarray, name: str, color: str) -> None:
    check_shape(runs, ("runs", *np.shape(steps)), name)
    if len(runs) > 1:
        ax.fill_between(steps, runs.min(axis=0), runs.max(axis=0), color=color, alpha=0.25, linewidth=0)
    ax.plot(steps, np.median(runs, axis=0), color=color, label=name)


def _over_runs(percentiles: ArrayLike, name: str) -> np.ndarray:
    """(T, 3, units), the median over runs where there are several."""
    if np.ndim(percentiles) == 4:
        percentiles = np.median(percentiles, axis=0)
    return check_shape(percentiles, ("T", 3, "units"), name)

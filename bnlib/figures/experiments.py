"""Figures of the chapter on the experiments: curves over the steps, one color a network."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ._checks import check_axes

__all__ = ["plot_accuracy", "plot_drift", "plot_loss", "plot_percentiles", "plot_settings"]


def plot_loss(ax: Axes, losses: Mapping[str, ArrayLike], window: int = 50) -> Axes:
    """Draw the training loss against the steps, averaged over a window of steps.

    Parameters
    ----------
    ax : Axes
    losses : mapping of str to (runs, steps) or (steps,)
        Name -> the mini-batch's loss at every step. Of several runs the line is their median, the
        band reaches from the lowest to the highest.
    window : int
        How many steps one point averages; it stands at the last of them.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the window is not between 1 and the number of steps.
    """
    for i, (name, loss) in enumerate(losses.items()):
        loss = np.atleast_2d(loss)
        steps = loss.shape[1]
        if not 1 <= window <= steps:
            raise ValueError(f"expected a window between 1 and {steps} steps (got {window})")
        total = np.cumsum(np.pad(loss, ((0, 0), (1, 0))), axis=1)
        means = (total[:, window:] - total[:, :-window]) / window
        _median_and_band(ax, np.arange(window, steps + 1), means, name, f"C{i}")
    ax.set(xlabel="step", ylabel=f"training loss, mean of {window} steps", xlim=(0, None), ylim=(0, None))
    ax.legend(loc="center right")
    return ax


def plot_accuracy(
    ax: Axes,
    steps: ArrayLike,
    accuracies: Mapping[str, ArrayLike],
    ylim: tuple[float, float] = (0.0, 1.0),
) -> Axes:
    """Draw test accuracy against steps.

    Parameters
    ----------
    ax : Axes
    steps : (T,)
    accuracies : mapping of str to (runs, T) or (T,)
        Name -> accuracy. Of several runs the line is their median, the band reaches from the lowest
        to the highest.
    ylim : pair of float

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If a curve has another number of points than there are steps.
    """
    for i, (name, accuracy) in enumerate(accuracies.items()):
        _median_and_band(ax, steps, np.atleast_2d(accuracy), name, f"C{i}")
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

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the axes are not a table of networks and units, or if there are not three percentiles a step.
    """
    if np.shape(axes) != (len(percentiles), len(units)):
        raise ValueError(f"expected axes of shape {(len(percentiles), len(units))} (got {np.shape(axes)})")
    drawn = {name: _over_runs(values)[:, :, list(units)] for name, values in percentiles.items()}
    low, high = min(v.min() for v in drawn.values()), max(v.max() for v in drawn.values())
    margin = 0.05 * (high - low)
    for i, (row, (name, values)) in enumerate(zip(axes, drawn.items(), strict=True)):
        for j, (ax, unit) in enumerate(zip(row, units, strict=True)):
            p15, p50, p85 = values[:, :, j].T
            ax.fill_between(steps, p15, p85, color=f"C{i}", alpha=0.3, linewidth=0)
            ax.plot(steps, p50, color=f"C{i}")
            ax.set(xlim=(0, np.max(steps)), ylim=(low - margin, high + margin))
            ax.set_title(f"{name}, unit {unit}" if j == 0 else f"unit {unit}")
            ax.tick_params(labelbottom=i == len(axes) - 1, labelleft=j == 0)
            ax.locator_params(axis="x", nbins=2)  # the panels are narrow
            if i == len(axes) - 1:
                ax.set_xlabel("step")
        row[0].set_ylabel("input of the sigmoid")
    return axes


def plot_drift(ax: Axes, drift: Mapping[str, ArrayLike]) -> Axes:
    """Draw, for all units of a layer, how far the median of a unit's input drifted.

    Parameters
    ----------
    ax : Axes
    drift : mapping of str to (units,)
        Name -> positive distances, in any order; each network is sorted by itself.

    Returns
    -------
    Axes
        A logarithmic axis of distances below the share of units that drifted no further.

    Raises
    ------
    ValueError
        If a distance is not positive: it has no place on the axis.
    """
    for i, (name, distance) in enumerate(drift.items()):
        distance = np.sort(np.ravel(distance))
        if distance[0] <= 0:
            raise ValueError(f"expected positive distances (got {distance[0]})")
        share = np.arange(1, len(distance) + 1) / len(distance)
        ax.step(distance, share, where="post", color=f"C{i}", label=name)
    ax.set(
        xscale="log",
        xlabel="drift of the median, in widths of the band",
        ylabel="share of units",
        ylim=(0, 1.02),
    )
    ax.legend(loc="upper left")
    return ax


def plot_settings(
    axes: Sequence[Axes], steps: ArrayLike, settings: Mapping[str, Mapping[str, ArrayLike]]
) -> Sequence[Axes]:
    """Draw test accuracy against steps for several settings, side by side on the same axis.

    Parameters
    ----------
    axes : one Axes a setting
    steps : (T,)
    settings : mapping of str to mapping
        Title -> what `plot_accuracy` draws.

    Returns
    -------
    The axes.
    """
    check_axes(axes, len(settings))
    for ax, (title, accuracies) in zip(axes, settings.items(), strict=True):
        plot_accuracy(ax, steps, accuracies)
        ax.set_title(title)
        ax.locator_params(axis="x", nbins=2)
        if ax is not axes[0]:
            ax.set_ylabel("")
            ax.get_legend().remove()
            ax.tick_params(labelleft=False)
    return axes


def _median_and_band(ax: Axes, steps: ArrayLike, runs: np.ndarray, name: str, color: str) -> None:
    if runs.shape[1:] != np.shape(steps):
        raise ValueError(f"expected one value a step, {np.shape(steps)} (got {runs.shape[1:]})")
    if len(runs) > 1:
        ax.fill_between(steps, runs.min(axis=0), runs.max(axis=0), color=color, alpha=0.25, linewidth=0)
    ax.plot(steps, np.median(runs, axis=0), color=color, label=name)


def _over_runs(percentiles: ArrayLike) -> np.ndarray:
    """(T, 3, units), the median over runs where there are several."""
    values = np.asarray(percentiles)
    if values.ndim not in (3, 4) or values.shape[-2] != 3:
        raise ValueError(f"expected percentiles of shape (T, 3, units), also over runs (got {values.shape})")
    return np.median(values, axis=0) if values.ndim == 4 else values

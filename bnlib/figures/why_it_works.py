"""The figures of the chapter on why batch norm works: what is measured over the steps, and layer by layer."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import check_shape, colored, panels

__all__ = ["plot_measured", "plot_through_layers"]


def plot_measured(
    axes: Sequence[Axes],
    steps: Sequence[int],
    measured: Mapping[str, Mapping[str, ArrayLike]],
    ylabel: str,
    yscale: str = "linear",
) -> Sequence[Axes]:
    """Draw what was measured in training, a panel for each title: medians, and bands over all seeds.

    Parameters
    ----------
    axes : one Axes per panel
    steps : sequence of int, of length T
        Beginning with 0. The axis is linear up to the second of them, and logarithmic from there.
    measured : mapping of str to mapping of str to (seeds, T)
        Title -> network -> values.
    """
    for ax, title, networks in panels(axes, measured):
        for color, name, values in colored(networks):
            values = check_shape(values, ("seeds", len(steps)), name)
            ax.fill_between(
                steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0
            )
            ax.plot(steps, np.median(values, axis=0), color=color, label=name)
        ax.set_xscale("symlog", linthresh=steps[1])
        ax.set(title=title, xlabel="step", xlim=(0, steps[-1]), yscale=yscale)
        ax.minorticks_off()
    axes[0].set_ylabel(ylabel)
    axes[0].legend(fontsize=8)
    return axes


def plot_through_layers(
    axes: Sequence[Axes], found: Mapping[str, Mapping[str, ArrayLike]], ylabel: str
) -> Sequence[Axes]:
    """Draw one number a layer against the layer, a panel for each title, upwards logarithmic.

    Parameters
    ----------
    axes : one Axes per panel
    found : mapping of str to mapping of str to (layers,)
        Title -> line -> positive values, from the first layer to the last.
    """
    for ax, title, lines in panels(axes, found):
        for color, name, values in colored(lines):
            values = check_shape(values, ("layers",), name)
            ax.plot(np.arange(1, len(values) + 1), values, color=color, label=name)
        ax.set(title=title, xlabel="layer", yscale="log")
    axes[0].set_ylabel(ylabel)
    axes[0].legend(fontsize=8)
    return axes

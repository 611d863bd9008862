"""The figures of the chapter on data that move."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import check_shape, colored, panels

__all__ = ["plot_by_shift", "plot_shifted"]


def plot_shifted(axes: Sequence[Axes], images: Mapping[str, ArrayLike]) -> Sequence[Axes]:
    """Draw an image under each shift, all on one scale from 0 (black) to 1 (white); the rest is cut off.

    Parameters
    ----------
    axes : one Axes per image
    images : mapping of str to (H, W)
        Title -> gray values, 0 for the background and 1 for ink.
    """
    for ax, title, image in panels(axes, images):
        image = check_shape(image, ("H", "W"), title)
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set(title=title, xticks=[], yticks=[])
    return axes


def plot_by_shift(ax: Axes, shifts: Sequence[str], results: Mapping[str, ArrayLike]) -> Axes:
    """Draw accuracies for each shift, one color a method: networks as dots, a bar at their median.

    Parameters
    ----------
    shifts : sequence of str
        One row each, the first on top.
    results : mapping of str to (networks, shifts)
    """
    rows = np.arange(len(shifts))
    for i, (color, name, result) in enumerate(colored(results)):
        result = check_shape(result, ("networks", len(shifts)), name)
        at = rows + 0.5 * ((i + 0.5) / len(results) - 0.5)
        ax.plot(result.T, at, "o", color=color, markersize=3.5, alpha=0.7)
        ax.plot(np.median(result, axis=0), at, "|", color=color, markersize=11, label=name)
    ax.set(xlabel="test accuracy", xlim=(0, 1))
    ax.set_yticks(rows, shifts)
    ax.invert_yaxis()
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(results), borderaxespad=0.2)
    return ax

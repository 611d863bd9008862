"""The figures of the chapter on scale, depth and noise."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import check_shape, colored, log_log

__all__ = ["plot_predicted"]


def plot_predicted(ax: Axes, sizes: Sequence[int], found: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Axes:
    """Draw noise against the size of the batch: dots as measured, lines as predicted.

    Parameters
    ----------
    sizes : sequence of int, of length k
    found : mapping of str to (measured, predicted)
        (k,) each, positive.
    """
    for color, name, (measured, predicted) in colored(found):
        ax.plot(sizes, check_shape(predicted, (len(sizes),), name), color=color, linewidth=1.2)
        ax.plot(sizes, check_shape(measured, (len(sizes),), name), "o", color=color, markersize=5, label=name)
    ax.set(xlabel="examples in the batch", ylabel="relative standard deviation")
    log_log(ax, sizes)
    ax.legend()
    return ax

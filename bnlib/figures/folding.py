"""The figures of the chapter on folding."""

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from .style import SECOND, WHITE, check_shape

__all__ = ["plot_border_difference"]


def plot_border_difference(ax: Axes, difference: ArrayLike) -> Axes:
    """Draw how far off a convolution's output is, position by position, as a heat map; zero is white.

    Parameters
    ----------
    difference : (H, W)

    Raises
    ------
    ValueError
        If the difference is negative somewhere.
    """
    difference = check_shape(difference, ("H", "W"), "difference")
    if difference.min() < 0:
        raise ValueError(f"expected differences of at least 0 (got {difference.min()})")
    from_white = LinearSegmentedColormap.from_list("differences", [WHITE, SECOND])
    image = ax.imshow(difference, cmap=from_white, vmin=0)
    ax.figure.colorbar(image, ax=ax, label="largest |difference|")
    rows, columns = difference.shape
    ax.set(xticks=range(columns), yticks=range(rows), xlabel="column", ylabel="row")
    ax.grid(False)
    return ax

"""The figures of the chapter on batch norm's cousins."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike

from .style import FAINT, FIRST, WHITE, check_shape, colored, log_x, panels

__all__ = ["plot_cubes", "plot_error_by_batch", "plot_skip_growth"]

# one step along examples, channels and positions, as it is drawn
ACROSS = {"N": (0.42, 0.3), "C": (1.0, 0.0), "positions": (0.0, -1.0)}


def plot_cubes(axes: Sequence[Axes], shares: Mapping[str, ArrayLike]) -> Sequence[Axes]:
    """Draw a batch as a cube for each norm, with the values colored that share the front corner's mean.

    Parameters
    ----------
    axes : one Axes per norm
    shares : mapping of str to (N, C, positions) of bool
        Title -> which values. Shown are those of the first example, of the last channel and of the first
        position.
    """
    along = [np.array(step) for step in ACROSS.values()]
    for ax, title, shared in panels(axes, shares):
        shared = check_shape(shared, ("N", "C", "positions"), title)
        n, c, p = shared.shape
        for axis, index, start in ((0, 0, 0 * along[0]), (1, -1, c * along[1]), (2, 0, 0 * along[2])):
            _face(ax, start, [step for i, step in enumerate(along) if i != axis], shared.take(index, axis))
        for text, at in (
            ("C", c / 2 * along[1] + (p + 0.5) * along[2]),
            ("N", (c + 0.35) * along[1] + n / 2 * along[0] + (p + 0.15) * along[2]),
            ("positions", -0.5 * along[1] + p / 2 * along[2]),
        ):
            turned = 90 if text == "positions" else 0
            ax.text(*at, text, ha="center", va="center", rotation=turned, fontsize=8)
        ax.set(title=title, aspect="equal", xlim=(-1.1, 9), ylim=(-p - 1, n * along[0][1] + 0.2))
        ax.axis("off")
    return axes


def _face(ax: Axes, start: np.ndarray, steps: Sequence[np.ndarray], shared: np.ndarray) -> None:
    first, second = steps
    for i, j in np.ndindex(shared.shape):
        corner = start + i * first + j * second
        corners = [corner, corner + first, corner + first + second, corner + second]
        ax.add_patch(
            Polygon(corners, facecolor=FIRST if shared[i, j] else FAINT, edgecolor=WHITE, linewidth=0.7)
        )


def plot_error_by_batch(
    axes: Sequence[Axes],
    sizes: Sequence[int],
    errors: Mapping[str, Mapping[str, Mapping[int, ArrayLike]]],
    ticks: Sequence[float],
) -> Sequence[Axes]:
    """Draw test errors against the batch size, a panel for each family: seeds as dots, medians as lines.

    Parameters
    ----------
    axes : one Axes per family
    sizes : sequence of int
        The ticks of the batch size.
    errors : mapping of str to mapping of str to mapping of int to (seeds,)
        Family -> norm -> batch size -> error rates; a norm need not have every size.
    ticks : sequence of float
        Of the error, from 0 to 1, ascending; the axis reaches from the first to the last.
    """
    for ax, title, norms in panels(axes, errors):
        for color, name, by_size in colored(norms):
            found = {size: check_shape(e, ("seeds",), name) for size, e in by_size.items()}
            ax.plot(list(found), [np.median(e) for e in found.values()], color=color, label=name)
            for size, e in found.items():
                ax.plot(np.full(len(e), size), e, "o", color=color, markersize=3, alpha=0.6)
        ax.set(title=title, xlabel="examples in the batch", yscale="log", ylim=(ticks[0], ticks[-1]))
        ax.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
        log_x(ax, sizes)
        ax.minorticks_off()
        ax.legend(fontsize=8, loc="upper right")
    axes[0].set_ylabel("test error")
    return axes


def plot_skip_growth(ax: Axes, stds: Mapping[str, ArrayLike]) -> Axes:
    """Draw the standard deviation of a signal against the number of residual blocks behind it.

    Parameters
    ----------
    stds : mapping of str to (blocks + 1,)
    """
    for color, name, std in colored(stds):
        std = check_shape(std, ("blocks",), name)
        ax.plot(range(len(std)), std, color=color, label=name)
    ax.set(xlabel="blocks", ylabel="standard deviation", yscale="log")
    ax.legend()
    return ax

"""The figures of the introduction: the network, and what is inside it before it is trained."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch
from numpy.typing import ArrayLike, NDArray

from .style import (
    BLACK,
    FAINT,
    FIRST,
    GRAY,
    WHITE,
    check_shape,
    colored,
    panels,
)

__all__ = ["draw_network", "plot_activations", "plot_spread_and_gradient"]


def draw_network(ax: Axes, widths: Sequence[int], parts: Sequence[str], accent: str | None = None) -> Axes:
    """Draw a dense network as columns of units, and below it what one hidden layer is made of.

    Parameters
    ----------
    widths : sequence of int
        Of the input, every hidden layer, and the output.
    parts : sequence of str
        What a hidden layer does, in the order of the data flow.
    accent : str, optional
        The part that is drawn in color.

    Raises
    ------
    ValueError
        If there is no hidden layer, or the accent is none of the parts.
    """
    if len(widths) < 3:
        raise ValueError(f"expected the widths of at least one hidden layer (got {tuple(widths)})")
    if accent is not None and accent not in parts:
        raise ValueError(f"expected one of {', '.join(parts)} (got {accent})")
    last = len(widths) - 1
    _draw_units(ax, widths)
    _draw_parts(ax, parts, accent, np.linspace(-0.3, last + 0.3, len(parts) + 1))
    for side, corner in ((-0.25, -0.3), (0.25, last + 0.3)):  # from the first hidden layer to its parts
        ax.plot([1 + side, corner], [-1.98, -2.5], ":", color=GRAY, linewidth=1)
    ax.set(xlim=(-0.7, last + 0.7), ylim=(-3.5, 2), aspect="equal")
    ax.axis("off")
    return ax


def _draw_units(ax: Axes, widths: Sequence[int]) -> None:
    rows = (1.2, 0.6, -0.6, -1.2)
    for column in range(len(widths) - 1):
        for one, other in itertools.product(rows, rows):
            ax.plot([column, column + 1], [one, other], color=FAINT, linewidth=0.7, zorder=1)
    names = ["pixels", *(f"hidden {i}" for i in range(1, len(widths) - 1)), "scores"]
    for column, (name, width) in enumerate(zip(names, widths, strict=True)):
        face = FAINT if name.startswith("hidden") else WHITE
        for y in rows:
            ax.add_patch(Circle((column, y), 0.17, facecolor=face, edgecolor=GRAY, zorder=2))
        ax.text(column, 0, "⋮", ha="center", va="center")
        ax.text(column, 1.5, str(width), ha="center", va="bottom", weight="bold")
        ax.text(column, -1.5, name, ha="center", va="top")


def _draw_parts(ax: Axes, parts: Sequence[str], accent: str | None, edges: NDArray) -> None:
    """Boxes in a row, between the edges, with arrows into, between and out of them."""
    gap, y = 0.14, -2.95
    for part, left, right in zip(parts, edges, edges[1:], strict=False):
        face, color = (FIRST, WHITE) if part == accent else (WHITE, BLACK)
        box = FancyBboxPatch(
            (left + gap, y - 0.33), right - left - 2 * gap, 0.66, "round,pad=0,rounding_size=0.1"
        )
        box.set(facecolor=face, edgecolor=FIRST if part == accent else GRAY)
        ax.add_patch(box)
        ax.text((left + right) / 2, y, part, ha="center", va="center", color=color)
    for x in edges:
        arrow = {"arrowstyle": "->", "color": GRAY, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x + gap, y), (x - gap, y), arrowprops=arrow)


def plot_activations(
    axes: Sequence[Sequence[Axes]], images: NDArray, activations: Mapping[str, ArrayLike]
) -> Sequence[Sequence[Axes]]:
    """Draw what every unit puts out for each of a few images: a row a layer, a column a network.

    Every panel has its own scale of gray, so that what differs in it can be seen however little it is.

    Parameters
    ----------
    axes : (layers, 1 + networks) of Axes
        The first column gets the images, one above the other.
    images : (N, height, width)
    activations : mapping of str to (layers, N, units)
        Name of the network -> outputs of its units.
    """
    stacked = np.concatenate(images)  # (N height, width)
    layers = len(next(iter(activations.values())))
    check_shape(axes, (layers, 1 + len(activations)), "axes")
    for ax in np.ravel(axes):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.grid(False)
    for i, (digits, *row) in enumerate(axes):
        digits.imshow(stacked, cmap="gray_r")
        digits.set_ylabel(f"layer {i + 1}")
        for ax, name, values in panels(row, activations):
            values = check_shape(values, (layers, len(images), "units"), name)
            ax.imshow(values[i], cmap="gray_r", aspect="auto", interpolation="nearest")
            if i == 0:
                ax.set_title(name)
    for ax in axes[-1][1:]:
        ax.set_xlabel("units")
    return axes


def plot_spread_and_gradient(
    axes: Sequence[Axes], measured: Mapping[str, Mapping[str, ArrayLike]]
) -> Sequence[Axes]:
    """Draw a quantity of every layer on a logarithmic axis, a panel a quantity, a color a network.

    Parameters
    ----------
    measured : mapping of str to mapping of str to (layers,)
        Title of the panel -> name of the network -> one positive number a layer.

    Raises
    ------
    ValueError
        If a number is not positive: it has no place on the logarithmic axis.
    """
    for ax, title, networks in panels(axes, measured):
        for color, name, values in colored(networks):
            values = np.asarray(values)
            if not (values > 0).all():
                raise ValueError(f"{title}, {name}: expected positive numbers (got {values.min()})")
            layers = np.arange(1, len(values) + 1)
            ax.plot(layers, values, "o-", color=color, label=name)
        ax.set(title=title, xlabel="hidden layer", xticks=layers, yscale="log")
        ax.margins(x=0.12)
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return axes

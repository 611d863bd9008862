"""The palette of the figures, and what several of them do alike.

The colors of the series stand in ``book.mplstyle``, in its cycle; this module only names them by their order.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

__all__ = [
    "BLACK",
    "FAINT",
    "FIRST",
    "GRAY",
    "PALE",
    "SECOND",
    "THIRD",
    "WHITE",
    "check_axes",
    "check_shape",
    "colored",
    "colors",
    "log_log",
    "log_x",
    "note",
    "panels",
    "share_ylim",
]

FIRST, SECOND, THIRD = "C0", "C1", "C2"
BLACK = "black"
GRAY = "#777777"  # lines to compare with
PALE = "#aaaaaa"  # data in the background
FAINT = "#dbe3e8"
WHITE = "white"


def colors(n: int) -> list[str]:
    """Name the first n colors of the cycle."""
    return [f"C{i}" for i in range(n)]


def colored(series: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    """Give each series the next color: (color, name, values)."""
    return zip(colors(len(series)), series.keys(), series.values(), strict=True)


def check_axes(axes: Sequence[Axes], n: int) -> Sequence[Axes]:
    """Hand back the axes, if there are n of them; else raise a ValueError."""
    if len(axes) != n:
        raise ValueError(f"expected {n} axes (got {len(axes)})")
    return axes


def panels(axes: Sequence[Axes], named: Mapping[str, Any]) -> Iterable[tuple[Axes, str, Any]]:
    """Give each entry its panel: (Axes, name, values)."""
    return zip(check_axes(axes, len(named)), named.keys(), named.values(), strict=True)


def check_shape(values: ArrayLike, shape: tuple[int | str, ...], name: str) -> np.ndarray:
    """Hand back the values as an array, if they have the shape; else raise a ValueError.

    A size that may be any stands in the shape as a name: ``("m", 3)``.
    """
    values = np.asarray(values)
    fits = [isinstance(size, str) or size == got for size, got in zip(shape, values.shape, strict=False)]
    if values.ndim != len(shape) or not all(fits):
        expected = str(shape).replace("'", "")
        raise ValueError(f"{name}: expected shape {expected} (got {values.shape})")
    return values


def note(ax: Axes, text: str, at: Sequence[float], offset: Sequence[float], **style) -> Annotation:
    """Write a text beside a point of the data, some points of type away from it."""
    return ax.annotate(text, at, offset, textcoords="offset points", **style)


def share_ylim(axes: Iterable[Axes]) -> None:
    """Give all axes the limits that hold what each of them holds."""
    axes = list(axes)  # an iterator would be spent after the first pass
    limits = np.array([ax.get_ylim() for ax in axes])
    for ax in axes:
        ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def log_x(ax: Axes, ticks: Collection[float]) -> None:
    """Make the horizontal axis logarithmic, with a tick at each of these numbers and no other."""
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def log_log(ax: Axes, ticks: Collection[float]) -> None:
    """Make both axes logarithmic, the vertical one with plain numbers."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    log_x(ax, ticks)

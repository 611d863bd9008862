"""The figures of the chapter on forward and backward."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle
from numpy.typing import ArrayLike

from .style import BLACK, FAINT, FIRST, GRAY, SECOND, WHITE, check_shape

__all__ = ["draw_computation_graph", "draw_pooled_block", "draw_pooled_cells", "plot_residual"]


def draw_pooled_cells(
    ax: Axes, examples: int, channels: int, spatial: tuple[int, ...], pooled: int = 1
) -> Axes:
    """Draw a batch as a table of examples and channels, and fill the cells that share one mean.

    Parameters
    ----------
    examples, channels : int
        N and C.
    spatial : tuple of int
        () for a dense layer, whose cells hold one number; (H, W) for maps of H x W numbers.
    pooled : int
        The channel whose cells are filled; the others are pale.

    Raises
    ------
    ValueError
        If `spatial` has neither zero nor two sizes, or if there is no such channel.
    """
    if len(spatial) not in (0, 2):
        raise ValueError(f"expected spatial sizes () or (H, W) (got {spatial})")
    if not 0 <= pooled < channels:
        raise ValueError(f"expected a channel from 0 to {channels - 1} (got {pooled})")
    rows, columns = spatial or (1, 1)
    size = 0.84  # of a cell, in a grid of step 1
    width, height = size / columns, size / rows
    for n, c, h, w in np.ndindex(examples, channels, rows, columns):
        corner = (c + w * width - size / 2, n + h * height - size / 2)
        color = FIRST if c == pooled else FAINT
        ax.add_patch(Rectangle(corner, width, height, fc=color, ec=WHITE, lw=1.2))
    ax.set(xlim=(-0.6, channels - 0.4), ylim=(examples - 0.4, -0.6), aspect="equal")
    ax.set_xticks(range(channels), [f"$c={c}$" for c in range(channels)], fontsize=11)
    ax.set_yticks(range(examples), [f"$n={n}$" for n in range(examples)], fontsize=11)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    m = examples * rows * columns
    factors = rf"{examples} \cdot {rows} \cdot {columns} = " if spatial else ""
    ax.set_xlabel(f"one mean pools $m = {factors}{m}$", fontsize=12, color=FIRST)
    return ax


# The graph, from x at the top to y at the bottom: symbol, center and width of each node.
_NODES = {
    "x": (r"$x$", (1.25, 6.0), 2.35),
    "mean": (r"$\mu_{\mathcal{B}}$", (4.6, 4.3), 0.95),
    "var": (r"$\sigma^2_{\mathcal{B}}$", (2.85, 4.3), 0.95),
    "x_hat": (r"$\hat x$", (1.25, 2.6), 2.35),
    "gamma": (r"$\gamma$", (3.4, 1.75), 0.95),
    "beta": (r"$\beta$", (4.6, 0.6), 0.95),
    "y": (r"$y$", (1.25, 0.6), 2.35),
}
# What is computed from what, the derivative along each arrow, and how far down the arrow it is written.
_ARROWS = {
    ("x", "x_hat"): (r"$1/s$", 0.5),
    ("x", "mean"): (r"$1/m$", 0.5),
    ("x", "var"): (r"$2(x - \mu)/m$", 0.5),
    ("mean", "var"): ("0", 0.5),
    ("mean", "x_hat"): (r"$-1/s$", 0.4),
    ("var", "x_hat"): (r"$-(x - \mu)/2s^3$", 0.5),
    ("x_hat", "y"): (r"$\gamma$", 0.5),
    ("gamma", "y"): (r"$\hat x$", 0.45),
    ("beta", "y"): ("1", 0.5),
}


def draw_computation_graph(
    ax: Axes, values: Mapping[str, ArrayLike], derivatives: Mapping[str, ArrayLike] | None = None
) -> Axes:
    """Draw what is computed from what in one channel, with the numbers of a batch; no two arrows cross.

    The three arrows that leave x have a color.

    Parameters
    ----------
    values : mapping
        x, mean, var, x_hat, gamma, beta and y: a number or (m,) each.
    derivatives : mapping, optional
        The loss's, by the same names. With them the arrows say the derivative along each.

    Raises
    ------
    ValueError
        If the names are not those seven.
    """
    for given in filter(None, (values, derivatives)):
        if given.keys() != _NODES.keys():
            raise ValueError(f"expected {', '.join(_NODES)} (got {', '.join(given)})")
    height = 1.05 if derivatives else 0.8
    boxes = {name: _box(at, width, height) for name, (_, at, width) in _NODES.items()}
    for name, (symbol, (x, y), _) in _NODES.items():
        ax.add_patch(boxes[name])
        lines = [(symbol, BLACK, 13), (_numbers(values[name]), FIRST, 10)]
        if derivatives:
            lines.append((_numbers(derivatives[name]), SECOND, 10))
        for i, (text, color, size) in enumerate(lines):
            top = y + 0.33 * ((len(lines) - 1) / 2 - i)
            ax.text(x, top, text, color=color, fontsize=size, ha="center", va="center", zorder=4)
    for (start, end), (label, share) in _ARROWS.items():
        color, between = SECOND if start == "x" else GRAY, (_NODES[start][1], _NODES[end][1])
        clip = {"patchA": boxes[start], "patchB": boxes[end]}
        _arrow(ax, *between, color, lw=1.6, gap=1, **clip)
        if derivatives:
            at = np.add(*(np.multiply(*pair) for pair in zip(between, (1 - share, share), strict=True)))
            ground = {"boxstyle": "round,pad=0.15", "fc": WHITE, "lw": 0}
            ax.text(*at, label, fontsize=10, ha="center", va="center", bbox=ground, zorder=3)
    ax.text(5.15, 6.3, "values", color=FIRST, fontsize=10.5, ha="right")
    if derivatives:
        ax.text(5.15, 5.97, r"derivatives of $\ell$", color=SECOND, fontsize=10.5, ha="right")
        ax.text(5.15, 5.64, "along each arrow", fontsize=10.5, ha="right")
    ax.set(xlim=(0, 5.2), ylim=(0, 6.6))
    ax.set_axis_off()
    return ax


def _box(center: tuple[float, float], width: float, height: float) -> FancyBboxPatch:
    corner = (center[0] - width / 2, center[1] - height / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "fc": WHITE, "ec": BLACK, "lw": 1, "zorder": 3}
    return FancyBboxPatch(corner, width, height, **style)


def _numbers(values: ArrayLike) -> str:
    """As on a slip of paper: whole numbers whole, the others with two decimals; several in brackets."""
    rounded = np.round(np.ravel(values), 2) + 0.0  # and no negative zero
    shown = [f"{v:.0f}" if v == round(v) else f"{v:.2f}" for v in rounded]
    text = f"({', '.join(shown)})" if len(shown) > 1 else shown[0]
    return text.replace("-", "\N{MINUS SIGN}")


def draw_pooled_block(ax: Axes, pooled: ArrayLike, title: str) -> Axes:
    """Draw a batch as a block of numbers, and fill those that share one mean.

    Channels run across, positions upwards, examples into the page. To be seen are the faces of the first
    example, of the last channel and of the last position.

    Parameters
    ----------
    pooled : (N, C, positions) of bool
        Which numbers share the mean of the first example's last channel.
    """
    pooled = check_shape(pooled, ("N", "C", "positions"), "pooled")
    examples, channels, positions = pooled.shape
    depth, channel, up = np.array([0.55, 0.42]), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    faces = (
        (pooled[0], np.zeros(2), channel, up),
        (pooled[:, -1], channels * channel, depth, up),
        (pooled[:, :, -1], positions * up, depth, channel),
    )
    for cells, origin, along, beside in faces:
        for i, j in np.ndindex(cells.shape):
            corner = origin + i * along + j * beside
            outline = [corner, corner + along, corner + along + beside, corner + beside]
            ax.add_patch(Polygon(outline, fc=FIRST if cells[i, j] else FAINT, ec=WHITE, lw=1.2))
    label = {"fontsize": 11, "ha": "center", "va": "center"}
    ax.text(channels / 2, -0.6, "channels", **label)
    ax.text(-0.6, positions / 2, "positions", rotation=90, **label)
    slope = np.degrees(np.arctan2(*depth[::-1]))
    ax.text(*(channels * channel + examples / 2 * depth + (0.5, -0.5)), "examples", rotation=slope, **label)
    reach = channels * channel + positions * up + examples * depth
    ax.set(xlim=(-1, reach[0] + 0.2), ylim=(-1, reach[1] + 0.2), aspect="equal", title=title)
    ax.set_axis_off()
    return ax


def plot_residual(ax: Axes, x_hat: ArrayLike, g: ArrayLike) -> Axes:
    """Plot the gradient that comes in against x_hat, with the least-squares line and what is left over.

    The line is ``mean(g) + x_hat mean(g x_hat)``; a segment from it to each point is dx up to the factor
    gamma / std.

    Parameters
    ----------
    x_hat, g : (m,)
        The normalized values of one channel, of mean 0, and dL/dy at each.
    """
    x_hat = check_shape(x_hat, ("m",), "x_hat")
    g = check_shape(g, x_hat.shape, "g")
    line = np.mean(g) + x_hat * np.mean(g * x_hat)
    ends = [np.argmin(x_hat), np.argmax(x_hat)]
    ax.plot(x_hat[ends], line[ends], color=GRAY, label="least-squares line: removed")
    ax.vlines(x_hat, line, g, color=SECOND, lw=2.4, label="what is left")
    ax.plot(x_hat, g, "o", color=FIRST)
    ax.legend(loc="upper left")
    ax.set(xlabel=r"normalized value $\hat x_i$", ylabel=r"gradient from above $g_i$")
    return ax


def _arrow(ax: Axes, start: ArrayLike, end: ArrayLike, color: str, lw: float, gap: float, **clip) -> None:
    arrow = {"arrowstyle": "-|>", "color": color, "lw": lw, "shrinkA": gap, "shrinkB": gap, **clip}
    ax.annotate("", xy=end, xytext=start, arrowprops=arrow)

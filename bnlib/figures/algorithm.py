"""The figures of the chapter on the algorithm."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from .style import BLACK, FAINT, FIRST, GRAY, PALE, SECOND, THIRD, WHITE, check_shape, note

__all__ = [
    "draw_computation_graph",
    "draw_pooled_cells",
    "plot_residual",
    "plot_scale_deviation",
    "plot_sphere",
    "plot_variance_error",
    "plot_weight_growth",
]


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


def draw_computation_graph(ax: Axes) -> Axes:
    """Draw what is computed from what in batch normalization, one channel's values as one node.

    The three of the nine arrows that leave x have a color.
    """
    nodes = {
        r"$x$": (0, 2),
        r"$\mu_{\mathcal{B}}$": (1.2, 0),
        r"$\sigma^2_{\mathcal{B}}$": (3, 0),
        r"$\hat x$": (4.2, 2),
        r"$\gamma$": (5.2, 0),
        r"$\beta$": (6.4, 0),
        r"$y$": (6.4, 2),
    }
    x, mu, var, x_hat, gamma, beta, y = nodes
    arrows = [(x, x_hat), (x, mu), (x, var), (mu, var), (mu, x_hat), (var, x_hat)]
    arrows += [(x_hat, y), (gamma, y), (beta, y)]
    for start, end in arrows:
        _arrow(ax, nodes[start], nodes[end], SECOND if start == x else GRAY, lw=1.8, gap=17)
    for label, at in nodes.items():
        box = {"boxstyle": "circle,pad=0.28", "fc": WHITE, "ec": BLACK}
        ax.text(*at, label, ha="center", va="center", fontsize=14, bbox=box)
    ax.set(xlim=(-0.5, 6.9), ylim=(-0.6, 2.6))
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
    ax.plot(x_hat[ends], line[ends], color=GRAY)
    ax.vlines(x_hat, line, g, color=SECOND, lw=2.4)
    ax.plot(x_hat, g, "o", color=FIRST)
    ax.set(xlabel=r"$\hat x_i$", ylabel=r"$g_i = \partial\ell/\partial y_i$")
    return ax


def plot_sphere(ax: Axes, x_hat: ArrayLike, g: ArrayLike) -> Axes:
    """Plot three normalized values as one point on a circle, and split the gradient there.

    Three values with mean 0 lie in the plane orthogonal to (1, 1, 1); with variance 1 they lie on the
    circle of radius sqrt(3) in it. Arrows from x_hat: g without its mean; its part along x_hat; the rest,
    which is tangent.

    Parameters
    ----------
    x_hat, g : (3,)
        The normalized values, for eps = 0, and dL/dy.
    """
    x_hat, g = check_shape(x_hat, (3,), "x_hat"), check_shape(g, (3,), "g")
    plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # (2, 3), orthonormal, off (1, 1, 1)
    point, centered = plane @ x_hat, plane @ g
    along = point * (centered @ point) / (point @ point)
    tangent = centered - along

    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.sqrt(3) * np.cos(angle), np.sqrt(3) * np.sin(angle), color=PALE)
    ax.plot([0, point[0]], [0, point[1]], color=PALE, lw=1)
    arrows = [
        (centered, GRAY, r"$g - \mathrm{mean}(g)$"),
        (along, THIRD, r"along $\hat x$: removed"),
        (tangent, SECOND, r"tangent: $\frac{s}{\gamma}\,\frac{\partial\ell}{\partial x}$"),
    ]
    for step, color, label in arrows:
        end = point + step
        _arrow(ax, point, end, color, lw=2, gap=0)
        side, ha = (1, "left") if end[0] >= point[0] else (-1, "right")
        note(ax, label, end, (6 * side, 4), color=color, ha=ha, fontsize=11)
    corner = np.transpose([point + along, point + centered, point + tangent])
    ax.plot(*corner, color=GRAY, lw=1, ls=":")  # closes the rectangle; arrows alone would not set the limits
    ax.plot(*point, "o", color=FIRST)
    note(ax, r"$\hat x$", point, (8, -12), color=FIRST, fontsize=13)
    ax.set(aspect="equal")
    ax.margins(0.1)
    ax.set_axis_off()
    return ax


def plot_scale_deviation(
    ax: Axes, scales: ArrayLike, measured: ArrayLike, predicted: ArrayLike, eps: float
) -> Axes:
    """Plot how far batch normalization of scaled input is from that of the input itself.

    Parameters
    ----------
    scales : (K,)
        The factors a > 0.
    measured, predicted : (K,)
        Largest deviation at each: found, and by formula.
    eps : float
        Named in the plot.

    Raises
    ------
    ValueError
        If a scale is not positive.
    """
    scales = check_shape(scales, ("K",), "scales")
    if np.any(scales <= 0):
        raise ValueError(f"expected scales a > 0 (got {scales.min()})")
    ax.loglog(scales, check_shape(predicted, scales.shape, "predicted"), color=GRAY, lw=1.5)
    ax.loglog(scales, check_shape(measured, scales.shape, "measured"), "o", color=FIRST, ms=5)
    ax.set(xlabel="scale $a$ of the weights", ylabel="largest deviation")
    exponent = np.log10(eps)
    power = rf"10^{{{exponent:.0f}}}" if exponent == round(exponent) else f"{eps:g}"
    ax.set_title(rf"$|BN(aWu) - BN(Wu)|$ with $\epsilon = {power}$")
    return ax


def plot_weight_growth(ax: Axes, norms: ArrayLike, predicted: ArrayLike, label: str) -> Axes:
    """Plot the length of a weight before batch normalization over the steps of gradient descent.

    Parameters
    ----------
    norms, predicted : (steps + 1,)
        |W| as measured, and by adding up the squares of the steps.
    label : str
        Names the run, above its curve.
    """
    norms = check_shape(norms, ("steps + 1",), "norms")
    (line,) = ax.plot(norms)
    ax.plot(check_shape(predicted, norms.shape, "predicted"), color=BLACK, lw=1, ls=(0, (2, 3)))
    at = len(norms) // 4
    note(ax, label, (at, norms[at]), (-4, 5), color=line.get_color(), ha="right")
    ax.set(xlabel="step", ylabel=r"$\Vert W \Vert$")
    return ax


def plot_variance_error(ax: Axes, means: ArrayLike, naive: ArrayLike, two_pass: ArrayLike) -> Axes:
    """Plot the error of two ways to a variance, in single precision, against the mean of the data.

    Parameters
    ----------
    means : (K,)
        Positive.
    naive, two_pass : (K,)
        Largest error of ``E[x^2] - E[x]^2``, and of subtracting before squaring, of data of variance 1.
    """
    means = check_shape(means, ("K",), "means")
    ax.axhline(1, color=BLACK, lw=1, ls="--")
    note(ax, "the variance itself", (means[0], 1), (0, 4), fontsize=9)
    naive, two_pass = (naive, SECOND, r"$E[x^2] - E[x]^2$"), (two_pass, FIRST, "subtract, then square")
    for error, color, label in (naive, two_pass):
        error = check_shape(error, means.shape, label)
        ax.loglog(means, error, "o-", color=color)
        note(ax, label, (means[-1], error[-1]), (-8, 10), color=color, ha="right")
    ax.set(xlabel="mean of the data", ylabel="largest error")
    return ax


def _arrow(ax: Axes, start: ArrayLike, end: ArrayLike, color: str, lw: float, gap: float) -> None:
    arrow = {"arrowstyle": "-|>", "color": color, "lw": lw, "shrinkA": gap, "shrinkB": gap}
    ax.annotate("", xy=end, xytext=start, arrowprops=arrow)

"""The figures of the chapter on the algorithm."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

__all__ = [
    "draw_computation_graph",
    "draw_pooled_cells",
    "plot_residual",
    "plot_scale_deviation",
    "plot_sphere",
    "plot_variance_error",
    "plot_weight_growth",
]

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#777777"


def draw_pooled_cells(
    ax: Axes, examples: int, channels: int, spatial: tuple[int, ...], pooled: int = 1
) -> Axes:
    """Draw a batch as a table of examples and channels, and fill the cells that share one mean.

    Parameters
    ----------
    ax : Axes
    examples, channels : int
        N and C.
    spatial : tuple of int
        () for a dense layer, whose cells hold one number; (H, W) for maps of H x W numbers.
    pooled : int
        The channel whose cells are filled.

    Returns
    -------
    Axes
        One rectangle a number; the filled ones are blue, the others pale.

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
    for n in range(examples):
        for c in range(channels):
            for h in range(rows):
                for w in range(columns):
                    corner = (c + w * size / columns - size / 2, n + h * size / rows - size / 2)
                    color = BLUE if c == pooled else "#dbe3e8"
                    ax.add_patch(Rectangle(corner, size / columns, size / rows, fc=color, ec="white", lw=1.2))
    ax.set(xlim=(-0.6, channels - 0.4), ylim=(examples - 0.4, -0.6), aspect="equal")
    ax.set_xticks(range(channels), [f"$c={c}$" for c in range(channels)], fontsize=11)
    ax.set_yticks(range(examples), [f"$n={n}$" for n in range(examples)], fontsize=11)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    m = examples * rows * columns
    factors = rf"{examples} \cdot {rows} \cdot {columns} = " if spatial else ""
    ax.set_xlabel(f"one mean pools $m = {factors}{m}$", fontsize=12, color=BLUE)
    return ax


def draw_computation_graph(ax: Axes) -> Axes:
    """Draw what is computed from what in batch normalization, one channel's values as one node.

    Parameters
    ----------
    ax : Axes

    Returns
    -------
    Axes
        Nine arrows between the nodes x, mu, sigma^2, x_hat, gamma, beta and y; the three that leave
        x are colored.
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
        color = ORANGE if start == x else GRAY
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.8, "shrinkA": 17, "shrinkB": 17}
        ax.annotate("", xy=nodes[end], xytext=nodes[start], arrowprops=arrow)
    for label, at in nodes.items():
        box = {"boxstyle": "circle,pad=0.28", "fc": "white", "ec": "#333333"}
        ax.text(*at, label, ha="center", va="center", fontsize=14, bbox=box)
    ax.set(xlim=(-0.5, 6.9), ylim=(-0.6, 2.6))
    ax.set_axis_off()
    return ax


def plot_residual(ax: Axes, x_hat: ArrayLike, g: ArrayLike) -> Axes:
    """Plot the gradient that comes in against x_hat, with the least-squares line and what is left over.

    Parameters
    ----------
    ax : Axes
    x_hat, g : (m,)
        The normalized values of one channel, of mean 0, and dL/dy at each.

    Returns
    -------
    Axes
        The points; the line ``mean(g) + x_hat mean(g x_hat)``; from the line to each point a segment, which
        is dx up to the factor gamma / std.

    Raises
    ------
    ValueError
        If the two do not hold equally many values.
    """
    x_hat, g = _same_length(x_hat, g)
    line = np.mean(g) + x_hat * np.mean(g * x_hat)
    ends = np.array([x_hat.min(), x_hat.max()])
    ax.plot(ends, np.mean(g) + ends * np.mean(g * x_hat), color=GRAY)
    ax.vlines(x_hat, line, g, color=ORANGE, lw=2.4)
    ax.plot(x_hat, g, "o", color=BLUE)
    ax.set(xlabel=r"$\hat x_i$", ylabel=r"$g_i = \partial\ell/\partial y_i$")
    return ax


def plot_sphere(ax: Axes, x_hat: ArrayLike, g: ArrayLike) -> Axes:
    """Plot three normalized values as one point on a circle, and split the gradient there.

    Three values with mean 0 lie in the plane orthogonal to (1, 1, 1); with variance 1 they lie on the
    circle of radius sqrt(3) in it.

    Parameters
    ----------
    ax : Axes
    x_hat, g : (3,)
        The normalized values, for eps = 0, and dL/dy.

    Returns
    -------
    Axes
        Arrows from x_hat: g without its mean; its part along x_hat; the rest, which is tangent.

    Raises
    ------
    ValueError
        If either does not hold three values.
    """
    x_hat, g = _same_length(x_hat, g)
    if x_hat.shape != (3,):
        raise ValueError(f"expected three values (got shape {x_hat.shape})")
    plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # (2, 3), orthonormal, off (1, 1, 1)
    point, centered = plane @ x_hat, plane @ g
    along = point * (centered @ point) / (point @ point)
    tangent = centered - along

    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.sqrt(3) * np.cos(angle), np.sqrt(3) * np.sin(angle), color="#bbbbbb")
    ax.plot([0, point[0]], [0, point[1]], color="#bbbbbb", lw=1)
    arrows = [
        (centered, GRAY, r"$g - \mathrm{mean}(g)$"),
        (along, GREEN, r"along $\hat x$: removed"),
        (tangent, ORANGE, r"tangent: $\frac{s}{\gamma}\,\frac{\partial\ell}{\partial x}$"),
    ]
    for step, color, label in arrows:
        end = point + step
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=end, xytext=point, arrowprops=arrow)
        side = 1 if end[0] >= point[0] else -1
        ax.annotate(
            label,
            xy=end,
            xytext=(6 * side, 4),
            textcoords="offset points",
            color=color,
            ha="left" if side > 0 else "right",
            fontsize=11,
        )
    corner = np.transpose([point + along, point + centered, point + tangent])
    ax.plot(*corner, color=GRAY, lw=1, ls=":")  # closes the rectangle; arrows alone would not set the limits
    ax.plot(*point, "o", color=BLUE)
    ax.annotate(r"$\hat x$", xy=point, xytext=(8, -12), textcoords="offset points", color=BLUE, fontsize=13)
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
    ax : Axes
    scales : (K,)
        The factors a > 0.
    measured, predicted : (K,)
        Largest deviation at each: found, and by formula.
    eps : float
        Named in the plot.

    Returns
    -------
    Axes
        Both axes logarithmic; points for the measured, a line for the formula.

    Raises
    ------
    ValueError
        If a scale is not positive, or if the arrays do not hold equally many values.
    """
    scales, measured = _same_length(scales, measured)
    scales, predicted = _same_length(scales, predicted)
    if np.any(scales <= 0):
        raise ValueError(f"expected scales a > 0 (got {scales.min()})")
    ax.loglog(scales, predicted, color=GRAY, lw=1.5)
    ax.loglog(scales, measured, "o", color=BLUE, ms=5)
    ax.set(xlabel="scale $a$ of the weights", ylabel="largest deviation")
    ax.set_title(rf"$|BN(aWu) - BN(Wu)|$ with $\epsilon = {_power_of_ten(eps)}$")
    return ax


def plot_weight_growth(ax: Axes, norms: ArrayLike, predicted: ArrayLike, label: str) -> Axes:
    """Plot the length of a weight before batch normalization over the steps of gradient descent.

    Parameters
    ----------
    ax : Axes
    norms, predicted : (steps + 1,)
        |W| as measured, and by adding up the squares of the steps.
    label : str
        Names the run, above its curve.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the two do not hold equally many values.
    """
    norms, predicted = _same_length(norms, predicted)
    (line,) = ax.plot(norms)
    ax.plot(predicted, color="black", lw=1, ls=(0, (2, 3)))
    ax.annotate(
        label,
        xy=(len(norms) // 4, norms[len(norms) // 4]),
        xytext=(-4, 5),
        textcoords="offset points",
        color=line.get_color(),
        ha="right",
    )
    ax.set(xlabel="step", ylabel=r"$\Vert W \Vert$")
    return ax


def plot_variance_error(ax: Axes, means: ArrayLike, naive: ArrayLike, two_pass: ArrayLike) -> Axes:
    """Plot the error of two ways to a variance, in single precision, against the mean of the data.

    Parameters
    ----------
    ax : Axes
    means : (K,)
        Positive.
    naive, two_pass : (K,)
        Largest error of ``E[x^2] - E[x]^2``, and of subtracting before squaring.

    Returns
    -------
    Axes
        Both axes logarithmic; a dashed line at 1, the variance itself.

    Raises
    ------
    ValueError
        If the arrays do not hold equally many values.
    """
    means, naive = _same_length(means, naive)
    means, two_pass = _same_length(means, two_pass)
    ax.axhline(1, color="black", lw=1, ls="--")
    ax.annotate(
        "the variance itself", xy=(means[0], 1), xytext=(0, 4), textcoords="offset points", fontsize=9
    )
    for error, color, label in [
        (naive, ORANGE, r"$E[x^2] - E[x]^2$"),
        (two_pass, BLUE, "subtract, then square"),
    ]:
        ax.loglog(means, error, "o-", color=color)
        ax.annotate(
            label,
            xy=(means[-1], error[-1]),
            xytext=(-8, 10),
            textcoords="offset points",
            color=color,
            ha="right",
        )
    ax.set(xlabel="mean of the data", ylabel="largest error")
    return ax


def _same_length(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"expected two vectors of one length (got shapes {a.shape} and {b.shape})")
    return a, b


def _power_of_ten(number: float) -> str:
    exponent = np.log10(number)
    return rf"10^{{{exponent:.0f}}}" if exponent == round(exponent) else f"{number:g}"

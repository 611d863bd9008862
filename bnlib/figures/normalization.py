"""The figures of the chapter on normalization."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from .style import BLACK, FIRST, GRAY, PALE, SECOND, check_axes, check_shape, colors, log_log, note, panels

__all__ = [
    "plot_bias_descent",
    "plot_clouds",
    "plot_cost",
    "plot_descents",
    "plot_digits",
    "plot_regions",
    "plot_sigmoid",
]


def plot_clouds(
    axes: Sequence[Axes], clouds: Mapping[str, NDArray], marked: Sequence[int] = ()
) -> Sequence[Axes]:
    """Draw clouds of points in the plane, a panel each on one scale, with the same few points marked in all.

    Parameters
    ----------
    clouds : mapping of str to (N, 2)
        Title -> points; all clouds have the same points in the same order.
    marked : (k,) of int
        Rows to mark, each in its own color.
    """
    x, y = np.array([1.05, 1.25]) * np.max([np.abs(points).max(axis=0) for points in clouds.values()], axis=0)
    for ax, title, points in panels(axes, clouds):
        ax.axhline(0, color=GRAY, linewidth=0.8)
        ax.axvline(0, color=GRAY, linewidth=0.8)
        ax.scatter(*points.T, s=4, color=PALE, linewidths=0)
        chosen = points[np.asarray(marked, dtype=int)]
        ax.scatter(*chosen.T, s=36, c=colors(len(chosen)), zorder=3)
        ax.set(title=title, xlim=(-x, x), ylim=(-y, y), aspect="equal")
    return axes


def plot_descents(
    axes: Sequence[Axes], descents: Mapping[str, tuple[NDArray, NDArray]], steps: int = 12
) -> Sequence[Axes]:
    """Draw gradient descent on the contours of a quadratic loss, in the plane of its extreme curvatures.

    Parameters
    ----------
    descents : mapping of str to (curvature, error)
        Title -> the smallest and the largest curvature (2,), and the way along these two, (steps + 1, 2).
    steps : int
        How many to draw.
    """
    reach = 1.2
    p, q = np.meshgrid(*[np.linspace(-reach, reach, 121)] * 2)
    for ax, title, (curvature, error) in panels(axes, descents):
        low, high = curvature / np.sum(curvature)  # 1 at the start, (1, 1)
        ax.contour(p, q, low * p**2 + high * q**2, [0.02, 0.1, 0.25, 0.5, 1], colors=PALE, linewidths=1)
        ax.plot(*error[: steps + 1].T, color=SECOND, linewidth=0.8, marker="o", markersize=3)
        ax.plot(0, 0, "+", color=BLACK, markersize=9)
        ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ax.set(xticks=[], yticks=[], xlabel="flattest direction")
    axes[0].set_ylabel("steepest direction")
    return axes


def plot_digits(axes: Sequence[Sequence[Axes]], rows: Mapping[str, NDArray]) -> Sequence[Sequence[Axes]]:
    """Draw rows of small gray images, each image on its own scale of gray.

    Parameters
    ----------
    rows : mapping of str to (columns, height, width)
        Title of the row -> its images.
    """
    for row, title, images in panels(axes, rows):
        for ax, image in zip(check_axes(row, len(images)), images, strict=True):
            ax.imshow(image, cmap="gray")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_title(title)
    return axes


def plot_cost(ax: Axes, features: NDArray, ratio: NDArray) -> Axes:
    """Draw how many times longer whitening takes than standardizing, against the number of features.

    Parameters
    ----------
    features : (k,)
    ratio : (k,)
        Seconds over seconds.
    """
    ax.axhline(1, color=GRAY, linewidth=1)
    note(ax, "standardizing: 1", (features[-1], 1), (0, 4), color=GRAY, ha="right", fontsize=9)
    ax.plot(features, ratio, marker="o", color=FIRST)
    for i, ha, offset in ((0, "left", (-4, 10)), (-1, "right", (-8, 0))):
        note(ax, f"{ratio[i]:.0f} times", (features[i], ratio[i]), offset, color=FIRST, ha=ha)
    ax.set(xlabel="features d", title="duration of whitening, as a multiple")
    log_log(ax, features)
    return ax


def plot_bias_descent(axes: Sequence[Axes], runs: Mapping[str, tuple[NDArray, NDArray]]) -> Sequence[Axes]:
    """Draw the bias and the loss over the steps of gradient descent, for two gradients.

    Parameters
    ----------
    axes : two Axes
        For the bias and for the loss.
    runs : mapping of str to (b, loss)
        Label -> two arrays over the steps.
    """
    left, right = check_axes(axes, 2)
    thick_under_thin = ((SECOND, 5, "-"), (FIRST, 2, (0, (4, 2))))
    top = max(b.max() for b, _ in runs.values())
    for (label, (b, loss)), (color, width, dashes) in zip(runs.items(), thick_under_thin, strict=True):
        for ax, values in ((left, b), (right, loss)):
            ax.plot(values, color=color, linewidth=width, linestyle=dashes)
        rises = b[-1] > top / 2
        at = (3 if rises else 2) * len(b) // 4  # left of a line that rises, above one that stays
        offset, ha = ((-8, 4), "right") if rises else ((0, 8), "center")
        note(left, label, (at, b[at]), offset, color=color, ha=ha)
        at, below = len(b) // 2, 10 if color == SECOND else -18
        note(right, label, (at, loss[at]), (0, below), color=color, ha="center")
    left.set(xlabel="step", title="bias b")
    right.set(xlabel="step", title="loss", ylim=(0, 1.3 * max(loss.max() for _, loss in runs.values())))
    return axes


def plot_regions(ax: Axes, points: NDArray, labels: NDArray, answers: NDArray, reach: float) -> Axes:
    """Draw where in the plane a network answers with which of two classes, and the points it learned from.

    Parameters
    ----------
    points : (N, 2)
    labels : (N,) of 0 or 1
    answers : (k, k) of 0 or 1
        At a grid over the square |x|, |y| <= reach; the first row is the lowest.
    """
    points = check_shape(points, ("N", 2), "points")
    labels = check_shape(labels, (len(points),), "labels")
    two = ListedColormap([FIRST, SECOND])
    extent = (-reach, reach, -reach, reach)
    ax.imshow(answers, cmap=two, vmin=0, vmax=1, origin="lower", extent=extent, alpha=0.3)
    for label, color in enumerate((FIRST, SECOND)):
        ax.scatter(*points[labels == label].T, s=3, color=color, linewidths=0)
    ax.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")
    return ax


def plot_sigmoid(
    axes: Sequence[Axes], inputs: Mapping[str, tuple[float, float]], limit: float
) -> Sequence[Axes]:
    """Draw the sigmoid with its near-linear and its nonlinear parts, and normally distributed inputs on it.

    Parameters
    ----------
    inputs : mapping of str to (mean, std)
        Title -> the normal distribution whose density is drawn along the bottom.
    limit : float
        The sigmoid counts as near-linear where |x| <= limit.
    """
    x = np.linspace(-8, 8, 801)
    sigmoid = 1 / (1 + np.exp(-x))
    parts = [(x < -limit, SECOND), (x > limit, SECOND), (np.abs(x) <= limit, FIRST)]
    for ax, title, (mean, std) in panels(axes, inputs):
        ax.axvspan(-limit, limit, color=FIRST, alpha=0.12, linewidth=0)
        ax.plot(x, 0.5 + x / 4, color=GRAY, linewidth=1, linestyle=":")
        for part, color in parts:
            ax.plot(x[part], sigmoid[part], color=color, linewidth=3)
        density = np.exp(-(((x - mean) / std) ** 2) / 2)
        ax.fill_between(x, 0, 0.35 * density / std**0.5, color=GRAY, alpha=0.4, linewidth=0)
        ax.set(title=title, xlim=(-8, 8), ylim=(0, 1.03), xlabel="input of the sigmoid")
    axes[0].set_ylabel("output")
    note(axes[0], "nonlinear", (2.2, 0.9), (10, -22), color=SECOND)
    note(axes[0], "near-linear", (-limit, 0.62), (-4, 0), color=FIRST, ha="right")
    return axes

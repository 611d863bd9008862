"""The figures of the chapter on normalization."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .style import FIRST, GRAY, PALE, SECOND, check_axes, colors, log_log, note, panels

__all__ = ["plot_bias_descent", "plot_clouds", "plot_cost", "plot_digits", "plot_sigmoid"]


def plot_clouds(axes: Sequence[Axes], clouds: Mapping[str, NDArray], marked: NDArray) -> Sequence[Axes]:
    """Draw clouds of points in the plane, a panel each on one scale, with the same few points marked in all.

    Parameters
    ----------
    clouds : mapping of str to (N, 2)
        Title -> points; all clouds have the same points in the same order.
    marked : (k,) of int
        Rows to mark, each in its own color.
    """
    reach = 1.05 * max(np.abs(points).max() for points in clouds.values())
    for ax, title, points in panels(axes, clouds):
        ax.scatter(*points.T, s=4, color=PALE, linewidths=0)
        ax.scatter(*points[marked].T, s=36, c=colors(len(marked)), zorder=3)
        ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
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
    """Draw how many times longer one way takes than another, against the number of features.

    Parameters
    ----------
    features : (k,)
    ratio : (k,)
        Seconds over seconds.
    """
    ax.axhline(1, color=GRAY, linewidth=1)
    ax.plot(features, ratio, marker="o", color=FIRST)
    ax.set(xlabel="features", ylabel="times as long")
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
    thick_under_thin = ((SECOND, 4), (FIRST, 2))
    for (label, (b, loss)), (color, width) in zip(runs.items(), thick_under_thin, strict=True):
        left.plot(b, color=color, linewidth=width, label=label)
        right.plot(loss, color=color, linewidth=width)
    left.set(xlabel="step", title="bias b")
    right.set(xlabel="step", title="loss", ylim=(0, 1.3 * max(loss.max() for _, loss in runs.values())))
    left.legend()
    return axes


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

"""Figures of the chapter on normalization."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from ._checks import check_axes

__all__ = ["plot_bias_descent", "plot_clouds", "plot_cost", "plot_digits", "plot_sigmoid"]


def plot_clouds(axes: Sequence[Axes], clouds: Mapping[str, NDArray], marked: NDArray) -> Sequence[Axes]:
    """Draw clouds of points in the plane, each in its panel, with the same few points marked in all.

    Parameters
    ----------
    axes : one Axes per cloud
    clouds : mapping of str to (N, 2)
        Title -> points; all clouds have the same points in the same order.
    marked : (k,) of int
        Rows to mark, each in its own color.

    Returns
    -------
    The axes, with one scale.
    """
    reach = 1.05 * max(np.abs(points).max() for points in clouds.values())
    for ax, (title, points) in zip(check_axes(axes, len(clouds)), clouds.items(), strict=True):
        ax.scatter(*points.T, s=4, color="0.7", linewidths=0)
        ax.scatter(*points[marked].T, s=36, c=[f"C{i}" for i in range(len(marked))], zorder=3)
        ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    return axes


def plot_digits(axes: Sequence[Sequence[Axes]], rows: Mapping[str, NDArray]) -> Sequence[Sequence[Axes]]:
    """Draw rows of small gray images, each image on its own scale of gray.

    Parameters
    ----------
    axes : grid of Axes
        One row per entry of `rows`, one column per image.
    rows : mapping of str to (columns, height, width)
        Title of the row -> its images.

    Returns
    -------
    The axes.
    """
    for row, (title, images) in zip(check_axes(list(axes), len(rows)), rows.items(), strict=True):
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
    ax : Axes
    features : (k,)
    ratio : (k,)
        Seconds over seconds.

    Returns
    -------
    Axes
    """
    ax.plot(features, ratio, marker="o")
    ax.axhline(1, color="0.4", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="features", ylabel="times as long", xticks=features)
    ax.set_xticklabels([str(d) for d in features])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return ax


def plot_bias_descent(axes: Sequence[Axes], runs: Mapping[str, tuple[NDArray, NDArray]]) -> Sequence[Axes]:
    """Draw the bias and the loss over the steps of gradient descent, one curve per gradient.

    Parameters
    ----------
    axes : two Axes
        For the bias and for the loss.
    runs : mapping of str to (b, loss)
        Label -> two arrays over the steps.

    Returns
    -------
    The axes.
    """
    check_axes(axes, 2)
    for i, (label, (b, loss)) in enumerate(runs.items()):
        style = {"color": f"C{1 - i}", "label": label, "linewidth": 4 - 2 * i}  # thick under thin
        axes[0].plot(b, **style)
        axes[1].plot(loss, **style)
    axes[0].set(xlabel="step", title="bias b")
    axes[1].set(xlabel="step", title="loss", ylim=(0, 1.3 * max(loss.max() for _, loss in runs.values())))
    axes[0].legend()
    return axes


def plot_sigmoid(
    axes: Sequence[Axes], inputs: Mapping[str, tuple[float, float]], limit: float
) -> Sequence[Axes]:
    """Draw the sigmoid with its near-linear and its nonlinear parts, and normally distributed inputs on it.

    Parameters
    ----------
    axes : one Axes per distribution of inputs
    inputs : mapping of str to (mean, std)
        Title -> the normal distribution whose density is drawn along the bottom.
    limit : float
        The sigmoid counts as near-linear where |x| < limit.

    Returns
    -------
    The axes.
    """
    x = np.linspace(-8, 8, 801)
    sigmoid = 1 / (1 + np.exp(-x))
    inside = np.abs(x) <= limit
    for ax, (title, (mean, std)) in zip(check_axes(axes, len(inputs)), inputs.items(), strict=True):
        ax.axvspan(-limit, limit, color="C0", alpha=0.12, linewidth=0)
        ax.plot(x, 0.5 + x / 4, color="0.4", linewidth=1, linestyle=":")
        ax.plot(x, np.where(x < -limit, sigmoid, np.nan), color="C1", linewidth=3)
        ax.plot(x, np.where(x > limit, sigmoid, np.nan), color="C1", linewidth=3)
        ax.plot(x, np.where(inside, sigmoid, np.nan), color="C0", linewidth=3)
        density = np.exp(-(((x - mean) / std) ** 2) / 2)
        ax.fill_between(x, 0, 0.35 * density / std**0.5, color="0.4", alpha=0.4, linewidth=0)
        ax.set(title=title, xlim=(-8, 8), ylim=(0, 1.03), xlabel="input of the sigmoid")
    axes[0].set_ylabel("output")
    axes[0].annotate("nonlinear", (2.2, 0.9), (10, -22), textcoords="offset points", color="C1")
    axes[0].annotate(
        "near-linear", (-limit, 0.62), (-4, 0), textcoords="offset points", color="C0", ha="right"
    )
    return axes

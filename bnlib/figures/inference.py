"""The figures of the chapter on inference."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from .style import BLACK, FIRST, GRAY, PALE, SECOND, WHITE, check_axes, check_shape, colored, log_x, note

__all__ = [
    "plot_affine_maps",
    "plot_answers",
    "plot_border_difference",
    "plot_changed_share",
    "plot_kept_variance",
    "plot_running_means",
]


def plot_answers(axes: Sequence[Axes], image: ArrayLike, answers: ArrayLike, label: int) -> Sequence[Axes]:
    """Show one image, and how often each class was the answer for it.

    Parameters
    ----------
    image : (H, W)
    answers : (batches,) of int
        The class the image was given in each batch, 0 to 9.
    label : int
        What it is; its bar has a color of its own.

    Raises
    ------
    ValueError
        If an answer is not from 0 to 9.
    """
    left, right = check_axes(axes, 2)
    answers = np.asarray(answers)
    if answers.min() < 0 or answers.max() > 9:
        raise ValueError(f"expected answers from 0 to 9 (got {answers.min()} to {answers.max()})")
    left.imshow(image, cmap="gray_r")
    left.set(xticks=[], yticks=[], title=f"one image, a {label}")

    counts = np.bincount(answers, minlength=10)
    bars = right.bar(range(10), counts, color=[FIRST if c == label else SECOND for c in range(10)])
    right.bar_label(bars, labels=[str(n) if n else "" for n in counts], fontsize=9)
    right.set(xticks=range(10), xlabel="class it was given", title=f"its answer in {len(answers)} batches")
    right.set_yticks([])
    right.grid(False)  # the bars are labelled
    right.margins(y=0.15)
    return axes


def plot_changed_share(ax: Axes, sizes: Sequence[int], shares: ArrayLike) -> Axes:
    """Draw for each batch size what share of the images changed their class, the first size on top.

    Parameters
    ----------
    shares : (len(sizes),)
        From 0 to 1; drawn in per cent.

    Raises
    ------
    ValueError
        If a share is not from 0 to 1.
    """
    shares = check_shape(shares, (len(sizes),), "shares")
    if shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"expected shares from 0 to 1 (got {shares.min()} to {shares.max()})")
    bars = ax.barh([str(size) for size in sizes], 100 * shares, color=SECOND)
    ax.bar_label(bars, labels=[f" {share:.0%}" for share in shares], fontsize=10)
    ax.invert_yaxis()
    ax.grid(False)  # the bars are labelled
    ax.set(xlim=(0, 100), xlabel="images that changed their class, %", ylabel="images in a batch")
    return ax


def plot_affine_maps(
    ax: Axes, slopes: ArrayLike, intercepts: ArrayLike, slope: float, intercept: float, limits: tuple
) -> Axes:
    """Draw y against x for one channel: a line of its own for every batch, and the one line of inference.

    Parameters
    ----------
    slopes, intercepts : (batches,)
        Of the map that each batch's statistics make.
    slope, intercept : float
        Of the map that fixed statistics make.
    limits : (low, high)
        Of x.
    """
    slopes = check_shape(slopes, ("batches",), "slopes")
    intercepts = check_shape(intercepts, slopes.shape, "intercepts")
    x = np.array([limits]).T  # (2, 1)
    ax.plot(x, slopes * x + intercepts, color=SECOND, lw=0.8, alpha=0.45)
    ax.plot(x, slope * x + intercept, color=BLACK, lw=2.2)
    at = limits[0] + 0.72 * np.ptp(limits)
    ax.annotate(
        "at inference: one line",
        (at, slope * at + intercept),
        (0.97, 0.12),
        textcoords="axes fraction",
        ha="right",
        arrowprops={"arrowstyle": "-", "color": GRAY},
    )
    ax.text(0.03, 0.9, "in training: a line a batch", color=SECOND, transform=ax.transAxes)
    ax.set(xlabel="x, what comes in", ylabel="y, what goes out", xlim=limits)
    return ax


def plot_running_means(ax: Axes, batch_means: ArrayLike, running: Mapping[str, ArrayLike]) -> Axes:
    """Draw the mean of each training batch as a dot, and the running means that follow it as lines.

    Parameters
    ----------
    batch_means : (steps,)
    running : mapping of str to (steps,)
        Label -> the running mean after each step.
    """
    batch_means = np.asarray(batch_means)
    steps = np.arange(1, len(batch_means) + 1)
    ax.plot(steps, batch_means, ".", color=PALE, ms=3)
    at = len(steps) // 5  # early, where the lines are apart
    for color, label, values in colored(running):
        values = check_shape(values, batch_means.shape, label)
        ax.plot(steps, values, color=color)
        note(ax, label, (steps[at], values[at]), (0, 9), color=color)
    ax.set(xlabel="training step", ylabel="mean of one channel")
    return ax


def plot_kept_variance(ax: Axes, sizes: Sequence[int], ratios: Mapping[str, ArrayLike]) -> Axes:
    """Draw the kept variance over the whole training set's against the batch size, and m/(m-1) dashed.

    Parameters
    ----------
    sizes : sequence of int
        m, each at least 2.
    ratios : mapping of str to (len(sizes),)
        Label -> the kept variance over the true one; at most two.

    Raises
    ------
    ValueError
        If a size is below 2.
    """
    sizes = np.asarray(sizes)
    if sizes.min() < 2:
        raise ValueError(f"expected sizes of at least 2 (got {sizes.min()})")
    ax.axhline(1, color=GRAY, lw=1)
    fine = np.geomspace(sizes[0], sizes[-1], 100)
    ax.plot(fine, fine / (fine - 1), "--", color=GRAY, lw=1.2, label="m/(m−1)")
    looks = [(SECOND, "o"), (FIRST, "s")]
    for (label, values), (color, marker) in zip(ratios.items(), looks[: len(ratios)], strict=True):
        ax.plot(sizes, check_shape(values, sizes.shape, label), color=color, marker=marker, label=label)
    ax.legend()
    log_x(ax, sizes)
    ax.set(xlabel="m, images in a batch", ylabel="kept variance / true one")
    return ax


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

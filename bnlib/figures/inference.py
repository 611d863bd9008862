"""The figures of the chapter on inference."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from ._checks import check_axes

__all__ = [
    "plot_affine_maps",
    "plot_answers",
    "plot_border_difference",
    "plot_changed_share",
    "plot_kept_variance",
    "plot_running_means",
]

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#777777"


def plot_answers(axes: Sequence[Axes], image: ArrayLike, answers: ArrayLike, label: int) -> Sequence[Axes]:
    """Show one image, and how often each class was the answer for it.

    Parameters
    ----------
    axes : two Axes
    image : (H, W)
    answers : (batches,) of int
        The class the image was given in each batch, 0 to 9.
    label : int
        What it is; its bar is blue, the others orange.

    Returns
    -------
    two Axes
        The image, and one bar a class.

    Raises
    ------
    ValueError
        If there are not two axes, or an answer is not from 0 to 9.
    """
    left, right = check_axes(axes, 2)
    answers = np.asarray(answers)
    if answers.min() < 0 or answers.max() > 9:
        raise ValueError(f"expected answers from 0 to 9 (got {answers.min()} to {answers.max()})")
    left.imshow(image, cmap="gray_r")
    left.set(xticks=[], yticks=[], title=f"one image, a {label}")
    left.grid(False)

    counts = np.bincount(answers, minlength=10)
    bars = right.bar(range(10), counts, color=[BLUE if c == label else ORANGE for c in range(10)])
    right.bar_label(bars, labels=[str(n) if n else "" for n in counts], fontsize=9)
    right.set(xticks=range(10), xlabel="class it was given", title=f"its answer in {len(answers)} batches")
    right.set_yticks([])
    right.grid(False)  # the bars are labelled
    right.margins(y=0.15)
    return axes


def plot_changed_share(ax: Axes, sizes: Sequence[int], shares: ArrayLike) -> Axes:
    """Draw for each batch size what share of the images changed their class.

    Parameters
    ----------
    ax : Axes
    sizes : sequence of int
    shares : (len(sizes),)
        From 0 to 1.

    Returns
    -------
    Axes
        One horizontal bar a size, in per cent, the first on top.

    Raises
    ------
    ValueError
        If there is not one share a size, or a share is not from 0 to 1.
    """
    shares = np.asarray(shares, dtype=float)
    if shares.shape != (len(sizes),):
        raise ValueError(f"expected one share for each of {len(sizes)} sizes (got shape {shares.shape})")
    if shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"expected shares from 0 to 1 (got {shares.min()} to {shares.max()})")
    bars = ax.barh([str(size) for size in sizes], 100 * shares, color=ORANGE)
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
    ax : Axes
    slopes, intercepts : (batches,)
        Of the map that each batch's statistics make.
    slope, intercept : float
        Of the map that fixed statistics make.
    limits : (low, high)
        Of x.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If slopes and intercepts differ in number.
    """
    slopes, intercepts = np.asarray(slopes), np.asarray(intercepts)
    if slopes.shape != intercepts.shape or slopes.ndim != 1:
        raise ValueError(f"expected as many slopes as intercepts (got {slopes.shape} and {intercepts.shape})")
    x = np.array(limits, dtype=float)
    for a, b in zip(slopes, intercepts, strict=True):
        ax.plot(x, a * x + b, color=ORANGE, lw=0.8, alpha=0.45)
    ax.plot(x, slope * x + intercept, color="black", lw=2.2)
    ax.annotate(
        "at inference: one line",
        (x[0] + 0.72 * np.ptp(x), slope * (x[0] + 0.72 * np.ptp(x)) + intercept),
        xytext=(0.97, 0.12),
        textcoords="axes fraction",
        ha="right",
        arrowprops={"arrowstyle": "-", "color": GRAY},
    )
    ax.text(0.03, 0.9, "in training: a line a batch", color=ORANGE, transform=ax.transAxes)
    ax.set(xlabel="x, what comes in", ylabel="y, what goes out", xlim=limits)
    return ax


def plot_running_means(ax: Axes, batch_means: ArrayLike, running: Mapping[str, ArrayLike]) -> Axes:
    """Draw the mean of each training batch, and the running means that follow it.

    Parameters
    ----------
    ax : Axes
    batch_means : (steps,)
    running : mapping of str to (steps,)
        Label -> the running mean after each step.

    Returns
    -------
    Axes
        Gray dots, and one labelled line for each running mean.

    Raises
    ------
    ValueError
        If a running mean has another number of steps.
    """
    batch_means = np.asarray(batch_means)
    steps = np.arange(1, len(batch_means) + 1)
    ax.plot(steps, batch_means, ".", color="#bbbbbb", ms=3)
    at = len(steps) // 5  # early, where the lines are apart
    for (label, values), color in zip(running.items(), (BLUE, ORANGE, GREEN), strict=False):
        if np.shape(values) != batch_means.shape:
            raise ValueError(f"{label}: expected {len(batch_means)} steps (got shape {np.shape(values)})")
        ax.plot(steps, values, color=color)
        ax.annotate(label, (steps[at], values[at]), (0, 9), textcoords="offset points", color=color)
    ax.set(xlabel="training step", ylabel="mean of one channel")
    return ax


def plot_kept_variance(ax: Axes, sizes: Sequence[int], ratios: Mapping[str, ArrayLike]) -> Axes:
    """Draw, against the batch size, the kept variance as a multiple of the whole training set's.

    Parameters
    ----------
    ax : Axes
    sizes : sequence of int
        m, each at least 2.
    ratios : mapping of str to (len(sizes),)
        Label -> the kept variance over the true one.

    Returns
    -------
    Axes
        One labelled line each, and m/(m-1) dashed.

    Raises
    ------
    ValueError
        If a size is below 2, or a label does not have one ratio a size.
    """
    sizes = np.asarray(sizes)
    if sizes.min() < 2:
        raise ValueError(f"expected sizes of at least 2 (got {sizes.min()})")
    ax.axhline(1, color=GRAY, lw=1)
    fine = np.geomspace(sizes[0], sizes[-1], 100)
    ax.plot(fine, fine / (fine - 1), "--", color=GRAY, lw=1.2, label="m/(m−1)")
    for (label, values), color, marker in zip(ratios.items(), (ORANGE, BLUE, GREEN), "os^", strict=False):
        if np.shape(values) != sizes.shape:
            raise ValueError(
                f"{label}: expected one ratio for each of {len(sizes)} sizes (got {np.shape(values)})"
            )
        ax.plot(sizes, values, color=color, marker=marker, label=label)
    ax.legend()
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set(xlabel="m, images in a batch", ylabel="kept variance / true one")
    return ax


def plot_border_difference(ax: Axes, difference: ArrayLike) -> Axes:
    """Draw how far off a convolution's output is, position by position.

    Parameters
    ----------
    ax : Axes
    difference : (H, W)
        Not negative.

    Returns
    -------
    Axes
        A heat map; zero is white.

    Raises
    ------
    ValueError
        If the difference is not a map, or is negative somewhere.
    """
    difference = np.asarray(difference)
    if difference.ndim != 2:
        raise ValueError(f"expected a map of shape (H, W) (got shape {difference.shape})")
    if difference.min() < 0:
        raise ValueError(f"expected differences of at least 0 (got {difference.min()})")
    image = ax.imshow(
        difference, cmap=LinearSegmentedColormap.from_list("differences", ["white", ORANGE]), vmin=0
    )
    ax.figure.colorbar(image, ax=ax, label="largest |difference|")
    ax.set(
        xticks=range(difference.shape[1]), yticks=range(difference.shape[0]), xlabel="column", ylabel="row"
    )
    ax.grid(False)
    return ax

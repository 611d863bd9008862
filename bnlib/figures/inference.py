"""The figures of the chapter on inference."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from numpy.typing import ArrayLike

from .style import BLACK, FIRST, GRAY, SECOND, WHITE, check_axes, check_shape, log_x

__all__ = ["draw_modes", "plot_affine_maps", "plot_changed_share", "plot_kept_variance"]


BOXES = {
    "x": (0.0, 0.0),
    "normalize": (1.55, 0.0),
    "γ · + β": (3.25, 0.0),
    "y": (4.5, 0.0),
    "mean, variance\nof the batch": (0.75, 1.15),
    "running mean,\nrunning variance": (3.1, 1.15),
}
X, NORMALIZE, SCALE, Y, BATCH, RUNNING = BOXES


def draw_modes(axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw what flows where in a batch norm: in training mode, and in eval mode.

    The statistics that normalize, and the arrows to and from them, have a color; dashed is what carries no
    gradient.
    """
    train, evaluate = check_axes(axes, 2)
    boxes = _draw_flow(train, [BATCH, RUNNING], [(X, BATCH), (BATCH, NORMALIZE)], SECOND)
    _draw_arrow(boxes, BATCH, RUNNING, color=GRAY, linestyle="--")
    train.text(1.9, 1.2, "keep", ha="center", va="bottom", fontsize=9)
    train.set_title("training mode: model.train()")
    _draw_flow(evaluate, [RUNNING], [(RUNNING, NORMALIZE)], FIRST)
    evaluate.set_title("eval mode: model.eval()")
    return axes


def _draw_flow(
    ax: Axes, statistics: Sequence[str], special: Sequence[tuple[str, str]], color: str
) -> dict[str, Text]:
    """Draw the boxes, the way from x to y, and what feeds the normalization, in a color."""
    boxes = {}
    for name in (X, NORMALIZE, SCALE, Y, *statistics):
        used = name == special[-1][0]  # by the normalization
        box = {"boxstyle": "round,pad=0.4", "fc": WHITE, "ec": color if used else GRAY, "lw": 1 + used}
        boxes[name] = ax.text(*BOXES[name], name, ha="center", va="center", fontsize=9, bbox=box)
    for start, end in ((X, NORMALIZE), (NORMALIZE, SCALE), (SCALE, Y)):
        _draw_arrow(boxes, start, end, color=BLACK)
    for start, end in special:
        _draw_arrow(boxes, start, end, color=color)
    ax.set(xlim=(-0.35, 4.85), ylim=(-0.4, 1.6))
    ax.set_axis_off()
    return boxes


def _draw_arrow(boxes: Mapping[str, Text], start: str, end: str, **style) -> None:
    """From the edge of one box to the edge of another."""
    edges = {"patchA": boxes[start].get_bbox_patch(), "patchB": boxes[end].get_bbox_patch()}
    arrow = {"arrowstyle": "-|>", "shrinkA": 1, "shrinkB": 1, **edges, **style}
    boxes[start].axes.annotate("", BOXES[end], BOXES[start], arrowprops=arrow)


def plot_changed_share(ax: Axes, sizes: Sequence[int], shares: ArrayLike) -> Axes:
    """Draw for each batch size what share of the images changed their class, the first size on top.

    Parameters
    ----------
    shares : (networks, len(sizes))
        From 0 to 1; drawn in per cent: a bar to the mean over the networks, a dot for each of them.

    Raises
    ------
    ValueError
        If a share is not from 0 to 1.
    """
    shares = check_shape(shares, ("networks", len(sizes)), "shares")
    if shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"expected shares from 0 to 1 (got {shares.min()} to {shares.max()})")
    ax.barh([str(size) for size in sizes], 100 * shares.mean(axis=0), color=SECOND, alpha=0.5)
    for row, of_size in enumerate(100 * shares.T):
        ax.plot(of_size, np.full(len(of_size), row), ".", color=BLACK, ms=4)
        ax.text(of_size.max() + 2, row, f"{of_size.mean():.0f}%", va="center")
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
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


def plot_kept_variance(ax: Axes, sizes: Sequence[int], ratios: Mapping[str, ArrayLike]) -> Axes:
    """Draw the kept variance over the whole training set's against the batch size, and m/(m-1) dashed.

    Parameters
    ----------
    sizes : sequence of int
        m, each at least 2.
    ratios : mapping of str to (len(sizes), layers)
        Label -> the kept variance over the true one; at most two. At its left end each line has the number of
        its layer, the first label's nearer to the lines; numbers that would touch share a place.

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
    shown = {label: check_shape(v, (len(sizes), "layers"), label) for label, v in ratios.items()}
    apart = 0.05 * np.ptp([1, *(value for values in shown.values() for value in values.flat)])
    for (label, values), color, left in zip(
        shown.items(), (SECOND, FIRST)[: len(shown)], (-5, -17), strict=False
    ):
        for layer, of_layer in enumerate(values.T):
            named = label if layer == 0 else None  # once in the legend
            ax.plot(sizes, of_layer, "o-", color=color, lw=1, ms=3, label=named)
        for layers in _close(values[0], apart):
            ax.annotate(
                ",".join(str(layer + 1) for layer in sorted(layers)),
                (sizes[0], values[0][layers].mean()),
                (left, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=color,
                fontsize=9,
            )
    ax.legend()
    log_x(ax, sizes)
    ax.margins(x=0.13)  # for the numbers
    ax.set(xlabel="m, images in a batch", ylabel="kept variance / true one")
    return ax


def _close(values: np.ndarray, apart: float) -> list[list[int]]:
    """The indices of values in groups, whose neighbors in order are no further apart than that."""
    order = [int(i) for i in np.argsort(values)]
    groups = [[order[0]]]
    for i, j in pairwise(order):
        if values[j] - values[i] > apart:
            groups.append([])
        groups[-1].append(j)
    return groups

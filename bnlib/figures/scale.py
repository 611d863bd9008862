"""The figures of the chapter on what the formula does to training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import BLACK, FIRST, GRAY, SECOND, check_axes, check_shape, colored, note

__all__ = ["plot_perpendicular_step", "plot_scale_deviation", "plot_variance_error", "plot_weight_growth"]


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
    predicted = check_shape(predicted, scales.shape, "predicted")
    measured = check_shape(measured, scales.shape, "measured")
    ax.loglog(scales, predicted, color=GRAY, lw=1.5, label="formula")
    ax.loglog(scales, measured, "o", color=FIRST, ms=4, label="measured")
    note(ax, r"$\epsilon$ outweighs the variance", (scales[0], predicted[0]), (0, 9))
    note(ax, r"the $\epsilon$ of $a = 1$", (scales[-1], predicted[-1]), (0, 9), ha="right")
    ax.set(xlabel="the weights are multiplied by $a$", ylabel="largest change of an output")
    exponent = np.log10(eps)
    power = rf"10^{{{exponent:.0f}}}" if exponent == round(exponent) else f"{eps:g}"
    ax.set_title(rf"$|BN(aWu) - BN(Wu)|$ with $\epsilon = {power}$")
    ax.margins(y=0.15)
    ax.legend(loc="upper right")
    return ax


def plot_perpendicular_step(ax: Axes, step: float, factor: float = 2) -> Axes:
    """Draw weights, a step perpendicular to them and where it leads, for a length of 1 and for a longer one.

    Parameters
    ----------
    step : float
        Length of the first step, positive.
    factor : float
        How many times as long the second weights are, positive; their step is as many times shorter.

    Raises
    ------
    ValueError
        If one of the two is not positive.
    """
    if step <= 0 or factor <= 0:
        raise ValueError(f"expected a step and a factor > 0 (got {step} and {factor})")
    across = np.array([step, step / factor])
    up = np.array([1.0, factor])
    foot = np.array([0.0, step + 1.2])
    zero = np.zeros(2)
    for x, y, u, v, color in (
        (foot, zero, zero, up, FIRST),
        (foot, up, across, zero, SECOND),
        (foot, zero, across, up, BLACK),
    ):
        ax.quiver(x, y, u, v, color=color, angles="xy", scale_units="xy", scale=1, width=0.008)
    names = ("$W$", "step", "$W'$"), (f"${factor:g}\\,W$", f"step / {factor:g}", "$W'$")
    for x, over, high, (weights, move, after) in zip(foot, across, up, names, strict=True):
        note(ax, weights, (x, high / 2), (-6, 0), color=FIRST, ha="right", va="center")
        note(ax, move, (x + over / 2, high), (0, 5), color=SECOND, ha="center")
        note(ax, after, (x + over / 2, high / 2), (10, -6), color=BLACK, va="center")
    ax.set(xlim=(-0.9, foot[1] + across[1] + 0.5), ylim=(-0.05, up.max() + 0.3), aspect="equal")
    ax.set_axis_off()
    return ax


def plot_weight_growth(
    axes: Sequence[Axes], runs: Mapping[str, tuple[ArrayLike, ArrayLike]], learning_rate: float
) -> Sequence[Axes]:
    """Plot the length of a weight before batch normalization over gradient descent, and its effective rate.

    Parameters
    ----------
    axes : two Axes
        For the length and for the rate, over the same steps.
    runs : mapping of str to (norms, predicted)
        Label -> |W| as measured, and by adding up the squares of the steps; (steps + 1,) each.
    """
    above, below = check_axes(axes, 2)
    for color, label, (norms, predicted) in colored(runs):
        norms = check_shape(norms, ("steps + 1",), "norms")
        predicted = check_shape(predicted, norms.shape, "predicted")
        above.plot(norms, color=color, label=label)
        above.plot(predicted, color=BLACK, lw=1, ls=(0, (2, 3)))
        below.semilogy(learning_rate / norms**2, color=color)
    above.set(ylim=(0, None), title=r"length of the weights $\Vert W \Vert$ (dotted: by Pythagoras)")
    above.legend(loc="lower right", ncols=len(runs))
    below.set(xlabel="step", title=r"effective learning rate $\eta / \Vert W \Vert^2$")
    return axes


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
    note(ax, "the variance itself", (means[0], 1), (0, 4))
    naive, two_pass = (naive, SECOND, r"$E[x^2] - E[x]^2$"), (two_pass, FIRST, "subtract, then square")
    for error, color, label in (naive, two_pass):
        error = check_shape(error, means.shape, label)
        ax.loglog(means, error, "o-", color=color)
        note(ax, label, (means[-1], error[-1]), (-8, 10), color=color, ha="right")
    ax.set(xlabel="mean of the data", ylabel="largest error of the variance")
    return ax

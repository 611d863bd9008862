"""The figures of the chapter on scale, depth and noise."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import check_shape, colored, log_log, panels

__all__ = ["plot_predicted", "plot_train_and_test"]


def plot_predicted(ax: Axes, sizes: Sequence[int], found: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Axes:
    """Draw noise against the size of the batch: dots as measured, lines as predicted.

    Parameters
    ----------
    sizes : sequence of int, of length k
    found : mapping of str to (measured, predicted)
        (k,) each, positive.
    """
    for color, name, (measured, predicted) in colored(found):
        ax.plot(sizes, check_shape(predicted, (len(sizes),), name), color=color, linewidth=1.2)
        ax.plot(sizes, check_shape(measured, (len(sizes),), name), "o", color=color, markersize=5, label=name)
    ax.set(xlabel="examples in the batch", ylabel="relative standard deviation")
    log_log(ax, sizes)
    ax.legend()
    return ax


def plot_train_and_test(
    axes: Sequence[Axes], runs: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]]
) -> Sequence[Axes]:
    """Draw the test loss against the training loss while networks learn, a panel for each title.

    Parameters
    ----------
    axes : one Axes per panel
    runs : mapping of str to mapping of str to (train, test)
        Title -> network -> losses (seeds, T). Thin lines are seeds; the thick one goes through their medians.
    """
    for ax, title, networks in panels(axes, runs):
        for color, name, (train, test) in colored(networks):
            train = check_shape(train, ("seeds", "T"), name)
            test = check_shape(test, train.shape, name)
            ax.plot(train.T, test.T, color=color, linewidth=0.5, alpha=0.4)
            ax.plot(
                np.median(train, axis=0), np.median(test, axis=0), "o-", color=color, markersize=3, label=name
            )
        ax.set(title=title, xlabel="training loss", xscale="log")
        ax.invert_xaxis()
        ax.legend(fontsize=8)
    axes[0].set_ylabel("test loss")
    return axes

"""The figure of the chapter on mistakes."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from .style import FIRST, GRAY, SECOND

__all__ = ["plot_ragged"]


def plot_ragged(ax: Axes, ragged: ArrayLike, whole: ArrayLike, epochs: int, mean: float) -> Axes:
    """Draw a running mean over some epochs, with a small last batch in each and without.

    Parameters
    ----------
    ragged, whole : (steps,)
        The running mean after each step; each its own number of steps, the same in every epoch.
    epochs : int
        A dot marks the end of each.
    mean : float
        Of the data.

    Raises
    ------
    ValueError
        If the steps of either are not a multiple of `epochs`.
    """
    ax.axhline(mean, color=GRAY, linewidth=1)
    for label, means, color in [("last batch of two", ragged, SECOND), ("dropped", whole, FIRST)]:
        if len(means) == 0 or len(means) % epochs:
            raise ValueError(f"expected the same number of steps in {epochs} epochs (got {len(means)} steps)")
        steps = len(means) // epochs
        epoch = np.arange(1, len(means) + 1) / steps
        ax.plot(epoch, means, color=color, label=label)
        ax.plot(epoch[steps - 1 :: steps], means[steps - 1 :: steps], "o", color=color, markersize=5)
    ax.set(xlabel="epoch", ylabel="running mean", xticks=range(epochs + 1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax

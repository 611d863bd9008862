"""The figure of the chapter on mistakes."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

__all__ = ["plot_ragged"]

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#777777"


def plot_ragged(ax: Axes, ragged: ArrayLike, whole: ArrayLike, epochs: int, mean: float) -> Axes:
    """Draw a running mean over some epochs, with a small last batch in each and without.

    Parameters
    ----------
    ax : Axes
    ragged, whole : (steps,)
        The running mean after each step; each its own number of steps, the same in every epoch.
    epochs : int
    mean : float
        Of the data.

    Returns
    -------
    Axes
        Two lines over the epoch, with a dot at the end of each epoch.

    Raises
    ------
    ValueError
        If the steps of either are not a multiple of `epochs`.
    """
    ax.axhline(mean, color=GRAY, linewidth=1)
    series = (("last batch of two", ragged, ORANGE), ("dropped", whole, BLUE))
    for label, kept, color in series:
        kept = np.asarray(kept, dtype=float)
        if len(kept) == 0 or len(kept) % epochs:
            raise ValueError(f"expected the same number of steps in {epochs} epochs (got {len(kept)} steps)")
        steps = len(kept) // epochs
        epoch = np.arange(1, len(kept) + 1) / steps
        ax.plot(epoch, kept, color=color, label=label)
        ax.plot(epoch[steps - 1 :: steps], kept[steps - 1 :: steps], "o", color=color, markersize=5)
    ax.set(xlabel="epoch", ylabel="running mean", xticks=range(epochs + 1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax

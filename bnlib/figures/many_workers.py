"""The figures of the chapter on one batch on many workers."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from .style import FAINT, FIRST, GRAY, SECOND, THIRD, check_axes, check_shape, colored, log_log

__all__ = ["plot_error_by_share", "plot_times", "plot_who_shares"]


def plot_who_shares(axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw four blocks of examples, side by side or one after the other, framed by who shares statistics.

    Parameters
    ----------
    axes : three of them
        Synchronized, accumulated, ghost.
    """
    check_axes(axes, 3)
    # (workers, steps), then (left, bottom, width, height) of the groups in blocks of one
    cases = {
        "synchronized:\none step, all workers": (4, 1, [(0, 0, 4, 1)]),
        "accumulated:\none worker, four forwards": (1, 4, [(0, k, 1, 1) for k in range(4)]),
        "ghost, or not synchronized:\nfour shares": (4, 1, [(k, 0, 1, 1) for k in range(4)]),
    }
    for ax, (title, (columns, rows, groups)), color in zip(
        axes, cases.items(), (FIRST, SECOND, THIRD), strict=True
    ):
        for column in range(columns):
            for row in range(rows):
                ax.add_patch(Rectangle((column + 0.14, row + 0.14), 0.72, 0.72, facecolor=FAINT))
        for left, bottom, width, height in groups:
            frame = (left + 0.06, bottom + 0.06), width - 0.12, height - 0.12
            ax.add_patch(Rectangle(*frame, fill=False, edgecolor=color, linewidth=2.5))
        ax.set(xlim=(-0.1, 4.1), ylim=(4.1, -0.1), xticks=[], yticks=[], title=title)
        ax.set_aspect("equal")
        ax.set_axis_off()
    return axes


def plot_error_by_share(ax: Axes, sizes: ArrayLike, error: ArrayLike, theory: ArrayLike) -> Axes:
    """Draw how far the shares' statistics put an output off, over the size of a share.

    Parameters
    ----------
    sizes : (k,)
        Values of a channel on each worker.
    error : (k,)
        Root mean square, in standard deviations.
    theory : (k,)
    """
    sizes = check_shape(sizes, ("k",), "sizes")
    ax.plot(sizes, check_shape(error, sizes.shape, "error"), "o", color=FIRST, label="measured")
    ax.plot(sizes, check_shape(theory, sizes.shape, "theory"), "--", color=GRAY, label=r"$\sqrt{1.5/m_k}$")
    ax.set(
        xlabel="values of a channel on each worker, $m_k$", ylabel="root mean square difference of outputs"
    )
    log_log(ax, sizes)
    ax.legend()
    return ax


def plot_times(
    ax: Axes,
    measured: Mapping[str, tuple[ArrayLike, ArrayLike]],
    modelled: Mapping[str, tuple[ArrayLike, ArrayLike]],
) -> Axes:
    """Draw measured times of a synchronization as dots and a model of them as lines.

    Parameters
    ----------
    measured, modelled : mapping of str to ((k,), (k,))
        Workers and seconds, by what is synchronized: at most three, the same in both.
    """
    for marker, (color, name, (workers, seconds)) in zip("osD", colored(measured), strict=False):
        workers = check_shape(workers, ("k",), "workers")
        seconds = check_shape(seconds, workers.shape, "seconds")
        ax.plot(workers, 1e3 * seconds, marker, color=color, label=name)
        workers, seconds = modelled[name]
        workers = check_shape(workers, ("k",), "workers")
        ax.plot(workers, 1e3 * check_shape(seconds, workers.shape, "seconds"), color=color)
    ax.set(xlabel="workers", ylabel="milliseconds for one norm")
    log_log(ax, [2**k for k in range(1, 11)])
    ax.legend(title="dots measured, lines a model")
    return ax

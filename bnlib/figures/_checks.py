"""What several figures check."""

from collections.abc import Sequence

from matplotlib.axes import Axes


def check_axes(axes: Sequence[Axes], n: int) -> Sequence[Axes]:
    """Hand back the axes, if there are n of them.

    Raises
    ------
    ValueError
        If there are more or fewer.
    """
    if len(axes) != n:
        raise ValueError(f"expected {n} axes (got {len(axes)})")
    return axes

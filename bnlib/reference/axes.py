"""Which axes a statistic pools, and how C numbers line up with a batch."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["per_channel", "statistic_axes"]


def statistic_axes(x: NDArray) -> tuple[int, ...]:
    """Every axis but the channel's: a statistic pools batch and positions.

    ``(0,)`` for ``(N, C)``, ``(0, 2, 3)`` for ``(N, C, H, W)``.

    Parameters
    ----------
    x : (N, C, *spatial)

    Raises
    ------
    ValueError
        If `x` has fewer than two axes.
    TypeError
        If `x` does not hold floating-point numbers.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, section 3.2: a convolution pools m' = m p q
    values per feature map.
    """
    if x.ndim < 2:
        raise ValueError(
            f"expected input of shape (N, C, *spatial) (got {x.ndim}D input)"
        )
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"expected a floating-point array (got {x.dtype})")
    return (0, *range(2, x.ndim))


def per_channel(v: NDArray, x: NDArray) -> NDArray:
    """A view of a vector that broadcasts along the channels of a batch.

    Parameters
    ----------
    v : (C,)
    x : (N, C, *spatial)

    Returns
    -------
    (1, C, 1, ..., 1)
        With as many axes as `x`.

    Raises
    ------
    ValueError
        If `v` does not hold exactly one number per channel of `x`.
    """
    if v.shape != (x.shape[1],):
        raise ValueError(
            f"expected one value per channel, shape ({x.shape[1]},) "
            f"(got {v.shape})"
        )
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))

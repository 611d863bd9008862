"""At inference batch normalization is affine: the layer before can absorb it."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fold_batch_norm"]


def fold_batch_norm(
    weight: NDArray,
    bias: NDArray | None,
    gamma: NDArray,
    beta: NDArray,
    mean: NDArray,
    var: NDArray,
    eps: float = 1e-5,
) -> tuple[NDArray, NDArray]:
    """One layer that computes what a layer and its batch norm compute together.

    Parameters
    ----------
    weight : (C, inputs) or (C, inputs, *kernel)
        Of a linear or convolution layer; output channels first, as in PyTorch.
    bias : (C,) or None
        None stands for zero.
    gamma, beta, mean, var : (C,)
        Of the batch norm *after* the layer, as inference uses them.

    Returns
    -------
    weight : same shape
        slope W, with slope = gamma / sqrt(var + eps).
    bias : (C,)
        slope (b - mean) + beta.

    Raises
    ------
    ValueError
        If a vector does not have one value per output channel.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 11, put into Wu + b.
    """
    channels = weight.shape[0]
    bias = np.zeros(channels, weight.dtype) if bias is None else bias
    named = {"bias": bias, "gamma": gamma, "beta": beta, "mean": mean, "var": var}
    for name, v in named.items():
        if v.shape != (channels,):
            raise ValueError(
                f"expected {name} of shape ({channels},) (got {v.shape})"
            )
    slope = gamma / np.sqrt(var + eps)  # (C,)
    rows = slope.reshape(-1, *(1,) * (weight.ndim - 1))  # (C, 1, ..., 1)
    return rows * weight, slope * (bias - mean) + beta

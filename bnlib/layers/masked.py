"""Batch norm of padded sequences: the padding is no data."""

import torch
from torch import Tensor

from .batch_norm import BatchNormBase

__all__ = ["MaskedBatchNorm"]


class MaskedBatchNorm(BatchNormBase):
    """A `BatchNorm` of the positions that a mask calls valid; others become zero.

    The valid positions are taken out, normalized as one batch of m = mask.sum()
    values per channel, and put back. Whatever stands in the padding, NaN
    included, enters neither the output nor the statistics, and its gradient is
    zero. With running statistics at inference, the mask only zeroes.

    The parameters are those of `BatchNorm`, and so is the state dict.

    Raises
    ------
    TypeError
        On forward: if the mask is not boolean.
    ValueError
        On forward: if the mask has the wrong shape, or with batch statistics a
        single position is valid; and as in `BatchNorm`. The running statistics
        are then left as they were.

    Notes
    -----
    `fold_model` leaves it where it is.

    How many positions are valid is known only from the mask's values, and so are
    shapes: ``torch.compile`` breaks the graph here, and refuses ``fullgraph``;
    ``torch.export`` refuses it. ``torch.jit.trace`` follows the mask, but a trace
    raises nothing, so a single valid position spoils the running statistics.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalize, scale and shift the valid positions.

        Parameters
        ----------
        x : (N, C, L), or (N, C, *spatial)
        mask : (N, L), or (N, *spatial), bool
            True where x is data, False where it is padding.

        Returns
        -------
        Tensor of x's shape
        """
        values = self.counted(x, mask)  # (m, C)
        y = torch.zeros_like(x)  # (N, C, *spatial)
        y.movedim(1, -1)[mask] = super().forward(values)
        return y

    def counted(self, x: Tensor, mask: Tensor) -> Tensor:
        """The valid values as one batch (m, C); arguments as in `forward`."""
        self.check_input(x)
        expected = (x.shape[0], *x.shape[2:])
        if mask.dtype != torch.bool:
            raise TypeError(f"expected a mask of torch.bool (got {mask.dtype})")
        if mask.shape != expected:
            raise ValueError(
                f"expected a mask of shape {expected} (got {tuple(mask.shape)})"
            )
        # taken out, not multiplied by zero: 0 * nan is nan
        return x.movedim(1, -1)[mask]

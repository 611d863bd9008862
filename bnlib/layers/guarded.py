"""A guard before the running statistics: one bad batch must not spoil them for ever."""

import torch
from torch import Tensor

from .batch_norm import BatchNorm

__all__ = ["GuardedBatchNorm", "SkippingBatchNorm"]


class GuardedBatchNorm(BatchNorm):
    """A `BatchNorm` whose running statistics only finite batches can move; others raise an error.

    A moving average never forgets a NaN, or an infinity: (1 - momentum) nan + momentum new is nan. The
    guard looks at the batch's mean and variance, which are finite only if every value is. It also refuses
    finite values so large that either overflows. It guards the statistics only: at inference a bad batch
    passes through.

    To do something else than raise, override `refuse`, as `SkippingBatchNorm` does.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        As in `BatchNorm`, whose state dict it has, and so torch.nn's.

    Raises
    ------
    ValueError
        On forward, in training: if the batch's mean or variance is not finite; and as in `BatchNorm`. The
        running statistics are then left as they were.
    RuntimeError
        On forward: if the input has another number of channels than `num_features`.

    Notes
    -----
    The question is asked once a batch, and on an accelerator the answer has to be waited for; hence this
    is no part of `BatchNorm`.
    """

    def keep(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Move the running statistics if that leaves them finite, else refuse; both (C,)."""
        # as they would be stored: what float32 can hold may be infinite in a float16 buffer
        new = torch.stack([mean.to(self.running_mean), unbiased_var.to(self.running_var)])  # (2, C)
        finite = new.isfinite().all(dim=0)  # (C,)
        if finite.all():
            super().keep(mean, unbiased_var)
        else:
            self.refuse(~finite)

    def refuse(self, bad: Tensor) -> None:
        """Raise an error that names the bad channels; `bad` is (C,), bool."""
        channels = bad.nonzero().flatten().tolist()
        raise ValueError(f"expected finite batch statistics (got NaN or infinity in channels {channels})")


class SkippingBatchNorm(GuardedBatchNorm):
    """A `GuardedBatchNorm` that raises nothing: a bad batch moves, and counts, nothing.

    It is still normalized by its own statistics, so its bad channels come out NaN, and so do the gradients:
    the optimizer must skip that step too, as torch.amp.GradScaler does.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        As in `BatchNorm`.
    """

    def refuse(self, bad: Tensor) -> None:
        """Leave the running statistics of every channel as they are."""

"""A guard before the running statistics: no bad batch may spoil them for ever."""

import torch
from torch import Tensor

from .batch_norm import BatchNormBase
from .functional import at_least_float32, batch_statistics

__all__ = ["GuardedBatchNorm", "SkippingBatchNorm"]


class GuardedBatchNorm(BatchNormBase):
    """A `BatchNorm` whose running statistics only finite batches can move.

    A moving average never forgets a NaN, or an infinity: (1 - momentum) nan +
    momentum new is nan. The guard looks at the batch's mean and variance, which
    are finite only if every value is. It also refuses finite values so large that
    either overflows. It guards the statistics only: at inference a bad batch
    passes through.

    To do something else than raise, override `refuse`. The parameters are those
    of `BatchNorm`, and so is the state dict.

    Raises
    ------
    ValueError
        On forward, in training: if a mean or variance to be kept is not finite;
        and as in `BatchNorm`. The running statistics are then left as they were.
    RuntimeError
        On forward, in training, in ``torch.jit.trace`` and ``torch.export``: what
        they record cannot raise. `SkippingBatchNorm` keeps its guard there.

    Notes
    -----
    The question is asked once a batch, and on an accelerator the answer has to be
    waited for; hence this is no part of `BatchNorm`. To raise is to branch on a
    value: ``torch.compile`` breaks the graph here, and raises as the layer does,
    but refuses ``fullgraph``.
    """

    def keep(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Move the running statistics if they stay finite, else refuse."""
        if is_traced():
            raise RuntimeError(
                "expected to be run (got traced or exported, where nothing can "
                "be raised): take a SkippingBatchNorm, with the same state dict, "
                "or eval mode"
            )
        finite = self.finite(mean, unbiased_var)  # (C,)
        if finite.all():
            super().keep(mean, unbiased_var)
        else:
            self.refuse(~finite)

    def finite(self, mean: Tensor, var: Tensor) -> Tensor:
        """Which channels' statistics are finite once they are stored, (C,)."""
        # what float32 can hold may be infinite in a float16 buffer
        stored = mean.to(self.running_mean), var.to(self.running_var)
        return torch.stack(stored).isfinite().all(dim=0)

    def refuse(self, bad: Tensor) -> None:
        """Raise an error that names the bad channels; `bad` is (C,), bool."""
        channels = bad.nonzero().flatten().tolist()
        raise ValueError(
            "expected finite batch statistics "
            f"(got NaN or infinity in channels {channels})"
        )


class SkippingBatchNorm(GuardedBatchNorm):
    """A `GuardedBatchNorm` that raises nothing: a bad batch does not count.

    It is still normalized by its own statistics. A channel with a NaN or an
    infinity comes out NaN, and so do its gradients: the optimizer must skip that
    step too, as torch.amp.GradScaler does. A channel whose variance overflows
    comes out as its bias.

    Notes
    -----
    Nothing branches on a value, so nothing is waited for, and what is compiled,
    exported or traced skips as the layer does; `refuse` is not called.
    """

    def keep(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Move the running statistics, and take it back after a bad batch."""
        good = self.finite(mean, unbiased_var).all()  # ()
        buffers = list(self.buffers(recurse=False))
        before = [buffer.clone() for buffer in buffers]
        BatchNormBase.keep(self, mean, unbiased_var)
        for buffer, old in zip(buffers, before, strict=True):
            # chosen, not multiplied by zero: 0 * nan is nan
            buffer.copy_(torch.where(good, buffer, old))

    def counted(self, x: Tensor) -> Tensor:
        """All of x, or none of it if its statistics are not finite.

        This shape depends on values, so here is a branch: `recompute_statistics`,
        which asks, runs as it is written.
        """
        mean, var, _ = batch_statistics(at_least_float32(x))
        return x if self.finite(mean, var).all() else x[:0]


def is_traced() -> bool:
    """Whether this run is being recorded, by torch.jit.trace or torch.export."""
    # dynamo is no such run: where it cannot go on, it breaks the graph
    compiler = torch.compiler
    exported = compiler.is_compiling() and not compiler.is_dynamo_compiling()
    return torch.jit.is_tracing() or exported

"""The layer: parameters, running statistics and modes around the functions."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from bnlib.reference.statistics import Statistics

from . import fused
from .functional import (
    at_least_float32,
    batch_statistics,
    normalize,
    scale_and_shift,
)

__all__ = [
    "BatchNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchNormBase",
]


class BatchNormBase(_NormBase):
    """Statistics, normalize, keep: what `BatchNorm` and all its variants do.

    Arguments, parameters, buffers and state dict are those of torch.nn, by the
    base that its batch norms have too. By type this is none of those, and so no
    variant that does more than they do (frozen, masked, guarded) is: converters,
    as ``SyncBatchNorm.convert_sync_batchnorm`` and ``swa_utils.update_bn``, leave
    it as it is, and a recipe that is to see it has to name this class too.
    """

    # how many dimensions an input may have; None: two or more
    dimensions: tuple[int, ...] | None = None
    # False where a norm that trains in another way is to do so as `BatchNorm`
    own_way = True

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, scale and shift: (N, C, *spatial) to the same shape."""
        self.check_input(x)
        mean, var = map(at_least_float32, self.statistics(x))  # (C,), (C,)
        y = normalize(at_least_float32(x), mean, var, self.eps)
        weight, bias = self.weight, self.bias
        if weight is not None or bias is not None:
            weight = torch.ones_like(bias) if weight is None else weight  # (C,)
            bias = torch.zeros_like(weight) if bias is None else bias  # (C,)
            y = scale_and_shift(y, weight, bias)
        return y.to(x.dtype)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) to normalize with: the batch's or the kept."""
        if not self.training and self.running_mean is not None:
            return self.running_mean, self.running_var
        batch = batch_statistics(at_least_float32(x))
        self.take(batch, x)
        return batch.mean, batch.var

    def take(self, batch: Statistics, x: Tensor) -> None:
        """Keep the statistics of a batch x, if it can be normalized by them."""
        mean, var, m = batch  # (C,), (C,), int
        if m == 1:
            raise ValueError(
                "Expected more than 1 value per channel when training, "
                f"got input size {x.size()}"
            )
        if self.eps == 0:
            raise ValueError("expected eps > 0 with batch statistics (got 0)")
        # as in torch.nn, both may be changed after construction
        tracking = self.track_running_stats and self.running_mean is not None
        if self.training and tracking:
            if m > 0:
                self.keep(mean.detach(), var.detach() * (m / (m - 1)))
            elif self.num_batches_tracked is not None:
                self.num_batches_tracked += 1

    @torch.no_grad()
    def keep(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Move the running statistics towards those of a new batch, both (C,)."""
        count, momentum = self.num_batches_tracked, self.momentum
        if count is not None:
            count += 1
        if momentum is None:
            # in the statistics' dtype: a quotient of integers would be float32;
            # as in torch.nn, where the count was taken away, nothing moves
            momentum = 0 if count is None else 1 / count.to(mean.dtype)
        for running, new in (
            (self.running_mean, mean),
            (self.running_var, unbiased_var),
        ):
            # (1 - momentum) running + momentum new
            running.copy_(running.to(new.dtype).lerp(new, momentum))

    def counted(self, x: Tensor) -> Tensor:
        """The values that x adds to a population, channels second: all of them.

        A norm whose forward takes more than x, or skips some of it, overrides
        this.
        """
        return x

    def check_input(self, x: Tensor) -> None:
        """Refuse, before anything moves, what the layer cannot normalize."""
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected a tensor (got {type(x).__name__}); "
                "a model is traced by torch.fx after bnlib.layers.as_torch(model)"
            )
        if self.dimensions is None:
            if x.dim() < 2:
                raise ValueError(
                    f"expected at least 2D input (got {x.dim()}D input)"
                )
        elif x.dim() not in self.dimensions:
            expected = " or ".join(f"{d}D" for d in self.dimensions)
            raise ValueError(f"expected {expected} input (got {x.dim()}D input)")
        tensors = self.weight, self.bias, self.running_mean, self.running_var
        own = [v for v in tensors if v is not None]
        # as in torch.nn the tensors count: pruning may leave num_features alone
        for channels in [v.shape[0] for v in own] or [self.num_features]:
            if x.shape[1] != channels:
                raise RuntimeError(
                    f"expected {channels} channels (got {x.shape[1]})"
                )
        if not x.is_floating_point():
            raise NotImplementedError(
                f"expected floating-point input (got {x.dtype})"
            )
        for dtype in {v.dtype for v in own} - {x.dtype}:
            if dtype != torch.promote_types(x.dtype, torch.float32):
                raise RuntimeError(
                    f"expected {dtype} input, as the layer is (got {x.dtype})"
                )
        if self.eps < 0:
            raise ValueError(f"expected eps >= 0 (got {self.eps})")


class BatchNorm(BatchNormBase, _BatchNorm):
    """Batch normalization for input of any rank; a drop-in for ``torch.nn``'s.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the new batch: running = (1 - momentum) running + momentum new.
        None: the plain average over all batches since the last reset.
    affine : bool
        Whether there are a `weight` (gamma) and a `bias` (beta) to learn, both
        (C,).
    track_running_stats : bool
        Whether there are `running_mean` and `running_var`, both (C,), and
        `num_batches_tracked`. Without them, batch statistics serve at inference
        too.
    bias : bool
        Whether there is a `bias` beside the `weight`; needs a torch whose own
        norms have it.

    Raises
    ------
    ValueError
        On forward: if the input has the wrong number of dimensions, if eps is
        negative or, with batch statistics, if eps is zero or a channel has a
        single value. The running statistics are then left as they were.
    RuntimeError
        On forward: if the input has another number of channels than the layer, or
        another dtype; a float32 layer takes float16 and bfloat16 too.
    NotImplementedError
        On forward: if the input is not floating point.
    TypeError
        On forward: if the input is no tensor, as where torch.fx traces.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithms 1 and 2. A batch is normalized by its
    biased variance; what is kept for inference is the unbiased one. Sums and
    statistics are in float32 at least, and the output in the input's dtype. An
    empty batch has no statistics: it is counted, and moves nothing.

    Its derivatives are right to every order. In eager training it goes through
    `bnlib.layers.fused`, with no more kept for the backward pass than torch.nn
    keeps, and about as fast for large contiguous input in float32; slower for
    small input, channels-last images and half precision. Compilers, tracers and
    torch.func get elementary operations. Inference without gradients is torch's
    own kernel. Where a running mean is many standard deviations from zero, that
    loses digits, and on a CPU the plain operations do it, as with gradients.
    Outside of compilers and tracers the output lies in memory as torch.nn's.

    By type it is one of torch.nn's, so that what looks for those with
    ``isinstance`` sees it, as ``torch.optim.swa_utils.update_bn`` and
    ``SyncBatchNorm.convert_sync_batchnorm``. What asks for them by name, as the
    tracer of ``torch.fx.symbolic_trace`` and the tables of
    ``torch.ao.quantization`` do, and TorchScript (``torch.jit.script``), which
    compiles the source, need `as_torch` first. A recipe that names
    ``nn.BatchNorm1d``, ``2d`` and ``3d`` sees ours of those names, and not
    `BatchNorm`, which is none of the three.

    In several processes each norm takes the statistics of its own batch;
    `convert_to_sync` makes norms of it that take those of all. Torch's
    ``SyncBatchNorm.convert_sync_batchnorm`` makes torch.nn's synchronized ones.

    Under ``torch.func.vmap`` each example would move the same buffers, which
    torch refuses: use eval mode or ``track_running_stats=False`` there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """As all its kind, and where only the numbers are asked for, faster."""
        own = type(self).statistics is not BatchNormBase.statistics
        if own or not fused.serves(x):
            return super().forward(x)
        self.check_input(x)
        if self.training or self.running_mean is None:
            y, batch = fused.training_batch_norm(
                x, self.weight, self.bias, self.eps
            )
            self.take(batch, x)
            return y
        kept = self.running_mean, self.running_var
        if torch.is_grad_enabled() or fused.is_far(*kept, self.eps):
            return super().forward(fused.laid_out(x))
        return fused.inference_batch_norm(
            x, self.weight, self.bias, *kept, self.eps
        )


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """`BatchNorm` for input of shape (N, C) or (N, C, L)."""

    dimensions = (2, 3)


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """`BatchNorm` for input of shape (N, C, H, W)."""

    dimensions = (4,)


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):
    """`BatchNorm` for input of shape (N, C, D, H, W)."""

    dimensions = (5,)

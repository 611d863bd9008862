"""The layer: parameters, running statistics and modes around the functions."""

import torch
from torch import Tensor, nn

from bnlib.reference.statistics import update_running

from .functional import (
    at_least_float32,
    batch_statistics,
    normalize,
    scale_and_shift,
)

__all__ = ["BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class BatchNorm(nn.Module):
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
        Whether there is a `bias` beside the `weight`.

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

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithms 1 and 2. A batch is normalized by its
    biased variance; what is kept for inference is the unbiased one. Sums and
    statistics are in float32 at least, and the output in the input's dtype. An
    empty batch has no statistics: it is counted, and moves nothing.

    It is made of elementary operations: its derivatives are right to every order,
    it saves more for the backward pass than torch.nn's fused kernel, and is
    slower. And it is no subclass of torch.nn's: what looks for those by type does
    not see it, as ``torch.optim.swa_utils.update_bn`` (`recompute_statistics`
    sees both), ``SyncBatchNorm.convert_sync_batchnorm`` and the tracer of
    ``torch.fx.symbolic_trace``.

    Under ``torch.func.vmap`` each example would move the same buffers, which
    torch refuses: use eval mode or ``track_running_stats=False`` there.
    """

    _version = 2  # torch.nn's: the state dict has num_batches_tracked
    # how many dimensions an input may have; None: two or more
    dimensions: tuple[int, ...] | None = None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def empty():
            return torch.empty(num_features, device=device, dtype=dtype)

        self.register_parameter(
            "weight", nn.Parameter(empty()) if affine else None
        )
        self.register_parameter(
            "bias", nn.Parameter(empty()) if affine and bias else None
        )
        self.register_buffer(
            "running_mean", empty() if track_running_stats else None
        )
        self.register_buffer(
            "running_var", empty() if track_running_stats else None
        )
        count = torch.tensor(0, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget every batch seen: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Start anew: gamma 1, beta 0, and no batches seen."""
        self.reset_running_stats()
        if self.affine:
            nn.init.ones_(self.weight)
            if self.bias is not None:
                nn.init.zeros_(self.bias)

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
        mean, var, m = batch_statistics(at_least_float32(x))  # (C,), (C,), int
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
        return mean, var

    def keep(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Move the running statistics towards those of a new batch, both (C,)."""
        count, momentum = self.num_batches_tracked, self.momentum
        if count is not None:
            count += 1
        if momentum is None:
            # in the statistics' dtype: a quotient of integers would be float32;
            # as in torch.nn, where the count was taken away, nothing moves
            momentum = 0 if count is None else 1 / count.to(mean.dtype)
        with torch.no_grad():
            mean = update_running(self.running_mean, mean, momentum)
            var = update_running(self.running_var, unbiased_var, momentum)
            self.running_mean.copy_(mean)
            self.running_var.copy_(var)

    def counted(self, x: Tensor) -> Tensor:
        """The values that x adds to a population, channels second: all of them.

        A norm whose forward takes more than x, or skips some of it, overrides
        this.
        """
        return x

    def check_input(self, x: Tensor) -> None:
        """Refuse, before anything moves, what the layer cannot normalize."""
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
        for channels in [len(v) for v in own] or [self.num_features]:
            if x.shape[1] != channels:
                raise RuntimeError(
                    f"expected {channels} channels (got {x.shape[1]})"
                )
        if not x.is_floating_point():
            raise NotImplementedError(
                f"expected floating-point input (got {x.dtype})"
            )
        accepted = x.dtype, torch.promote_types(x.dtype, torch.float32)
        for v in own:
            if v.dtype not in accepted:
                raise RuntimeError(
                    f"expected {v.dtype} input, as the layer is (got {x.dtype})"
                )
        if self.eps < 0:
            raise ValueError(f"expected eps >= 0 (got {self.eps})")

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, *args
    ) -> None:
        # Before version 2 torch.nn counted no batches: as it does, go on with the
        # count that is here.
        old = (local_metadata.get("version") or 1) < 2
        key = prefix + "num_batches_tracked"
        if old and self.track_running_stats and key not in state_dict:
            count = self.num_batches_tracked
            new = count is None or count.is_meta
            state_dict[key] = torch.tensor(0) if new else count
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class BatchNorm1d(BatchNorm):
    """`BatchNorm` for input of shape (N, C) or (N, C, L)."""

    dimensions = (2, 3)


class BatchNorm2d(BatchNorm):
    """`BatchNorm` for input of shape (N, C, H, W)."""

    dimensions = (4,)


class BatchNorm3d(BatchNorm):
    """`BatchNorm` for input of shape (N, C, D, H, W)."""

    dimensions = (5,)

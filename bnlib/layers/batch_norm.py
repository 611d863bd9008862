"""The layer: parameters, running statistics and two modes around the functions."""

import torch
from torch import Tensor, nn

from bnlib.reference.statistics import update_running

from .functional import batch_statistics, normalize, scale_and_shift

__all__ = ["BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class BatchNorm(nn.Module):
    """Batch normalization for input of any rank; a drop-in replacement of ``torch.nn``'s.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the new batch: running = (1 - momentum) running + momentum new. None: the plain
        average over all batches since the last reset.
    affine : bool
        Whether there are a `weight` (gamma) and a `bias` (beta) to learn, both (C,).
    track_running_stats : bool
        Whether to keep `running_mean` and `running_var`, both (C,), and `num_batches_tracked`.
        Without them, batch statistics serve at inference too.
    device, dtype
        Of the parameters and buffers.

    Raises
    ------
    ValueError
        On forward: if the input has the wrong number of dimensions or, with batch statistics, fewer than
        two values per channel or an eps that is not positive. The running statistics are then left as
        they were.
    RuntimeError
        On forward: if the input has another number of channels than `num_features`.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithms 1 and 2. A batch is normalized by its biased variance;
    what is kept for inference is the unbiased one.
    """

    _version = 2  # torch.nn's: the state dict has num_batches_tracked
    dimensions: tuple[int, ...] | None = None  # how many an input may have; None: two or more

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def empty():
            return torch.empty(num_features, device=device, dtype=dtype)

        self.register_parameter("weight", nn.Parameter(empty()) if affine else None)
        self.register_parameter("bias", nn.Parameter(empty()) if affine else None)
        self.register_buffer("running_mean", empty() if track_running_stats else None)
        self.register_buffer("running_var", empty() if track_running_stats else None)
        count = torch.tensor(0, dtype=torch.long, device=device) if track_running_stats else None
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
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, scale and shift: (N, C, *spatial) to the same shape."""
        self.check_input(x)
        mean, var = self.statistics(x)
        x_hat = normalize(x, mean, var, self.eps)
        return scale_and_shift(x_hat, self.weight, self.bias) if self.affine else x_hat

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and variance (C,) to normalize with: the batch's, kept for later, or the kept ones."""
        if not self.training and self.running_mean is not None:
            return self.running_mean, self.running_var
        count = x.numel() // x.shape[1]  # m, the values pooled per channel
        if count < 2:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {x.size()}"
            )
        if self.eps <= 0:
            raise ValueError(f"expected eps > 0 with batch statistics (got {self.eps})")
        mean, var = batch_statistics(x)
        # as in torch.nn, tracking may also be switched off, and the buffers taken away, after construction
        if self.training and self.track_running_stats and self.running_mean is not None:
            self.keep(mean.detach(), var.detach() * (count / (count - 1)))
        return mean, var

    @torch.no_grad()
    def keep(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Move the running statistics towards those of one more batch, both (C,)."""
        self.num_batches_tracked += 1
        # int: a quotient of a tensor would be float32, and too coarse for float64 statistics
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.copy_(update_running(self.running_mean, mean, momentum))
        self.running_var.copy_(update_running(self.running_var, unbiased_var, momentum))

    def check_input(self, x: Tensor) -> None:
        """Refuse, before anything moves, what has the wrong dimensions or channels."""
        if self.dimensions is None:
            if x.dim() < 2:
                raise ValueError(f"expected at least 2D input (got {x.dim()}D input)")
        elif x.dim() not in self.dimensions:
            expected = " or ".join(f"{d}D" for d in self.dimensions)
            raise ValueError(f"expected {expected} input (got {x.dim()}D input)")
        if x.shape[1] != self.num_features:
            raise RuntimeError(f"expected {self.num_features} channels (got {x.shape[1]})")

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args) -> None:
        # Before version 2 torch.nn counted no batches; as torch.nn does, go on with the count that is here.
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
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

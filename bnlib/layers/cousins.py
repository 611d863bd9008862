"""The cousins of batch norm, as modules: each changes one of its three steps."""

import math

import torch
from torch import Tensor, nn

from .batch_norm import BatchNormBase
from .functional import (
    at_least_float32,
    batch_statistics,
    scale_and_shift,
)

__all__ = [
    "BatchRenorm",
    "ExampleGroupNorm",
    "ExampleInstanceNorm",
    "ExampleLayerNorm",
    "ExampleRMSNorm",
    "GhostBatchNorm",
    "ScaledConv2d",
    "ScaledSkip",
    "StandardizedConv2d",
    "standardize_weight",
]


class GhostBatchNorm(BatchNormBase):
    """A `BatchNorm` that takes each part of a training batch for a batch.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    size : int
        Examples in a part.
    **keywords
        Those of `BatchNorm`.

    Raises
    ------
    ValueError
        If the size is not positive. On forward, in training: if the batch is no
        multiple of the size, and as in `BatchNorm`; the running statistics are
        then left as they were.

    Notes
    -----
    Source: Hoffer, Hubara & Soudry 2017: the running statistics move once a part,
    k times in a batch of k parts. For the memory of batch norm's momentum a take
    1 - (1 - a)**(1/k), or recompute them at the end (`recompute_statistics`).

    In eval mode it is a `BatchNorm`, which takes its state dict: `freeze`,
    `fold_model` and `as_torch` take it; `convert_to_sync` refuses it.
    """

    def __init__(self, num_features: int, size: int, **keywords) -> None:
        super().__init__(num_features, **keywords)
        if size < 1:
            raise ValueError(f"expected a positive size (got {size})")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Part by part in training, whole at inference."""
        if not (self.training and self.own_way):
            return super().forward(x)
        self.check_input(x)
        if len(x) % self.size:
            raise ValueError(
                f"expected a multiple of {self.size} examples (got {len(x)})"
            )
        parts = x.split(self.size)  # (size, C, *spatial) each
        return torch.cat([super(GhostBatchNorm, self).forward(p) for p in parts])

    def extra_repr(self) -> str:
        """As `BatchNorm`, and the size."""
        return f"{super().extra_repr()}, size={self.size}"


class BatchRenorm(BatchNormBase):
    """A `BatchNorm` whose training sees the statistics that inference will use.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    r_max, d_max : float
        How far the statistics may be moved: r within [1 / r_max, r_max], d within
        [-d_max, d_max]. 1 and 0 make a `BatchNorm` of it; both may be changed
        while training.
    **keywords
        Those of `BatchNorm`.

    Raises
    ------
    ValueError
        If r_max < 1 or d_max < 0. On forward: in training without running
        statistics, and as in `BatchNorm`.

    Notes
    -----
    Source: Ioffe 2017, Algorithm 1: x_hat = (x - mean) / std r + d, where r and d
    are constants of the backward pass. That is (x - (mean - d std / r)) /
    (std / r), so only `statistics` differs from `BatchNorm`. The algorithm moves
    a standard deviation; here it is the unbiased variance that moves, as in
    `BatchNorm`, whose state dict this is.

    In eval mode it is a `BatchNorm`, which takes its state dict: `freeze`,
    `fold_model` and `as_torch` take it; `convert_to_sync` refuses it.
    """

    def __init__(
        self,
        num_features: int,
        *,
        r_max: float = 3.0,
        d_max: float = 5.0,
        **keywords,
    ) -> None:
        super().__init__(num_features, **keywords)
        if r_max < 1 or d_max < 0:
            raise ValueError(
                f"expected r_max >= 1 and d_max >= 0 (got {r_max} and {d_max})"
            )
        self.r_max, self.d_max = r_max, d_max

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """In training the batch's mean and variance (C,), moved by d and r."""
        if not (self.training and self.own_way):
            return super().statistics(x)
        if self.running_mean is None:
            raise ValueError("expected running statistics (got none)")
        batch = batch_statistics(at_least_float32(x))
        std = torch.sqrt(batch.var + self.eps)  # (C,)
        kept_mean = at_least_float32(self.running_mean)
        kept_std = torch.sqrt(at_least_float32(self.running_var) + self.eps)
        r = (std / kept_std).detach().clamp(1 / self.r_max, self.r_max)
        d = (batch.mean - kept_mean) / kept_std
        d = d.detach().clamp(-self.d_max, self.d_max)
        self.take(batch, x)
        return batch.mean - d * std / r, (std / r) ** 2 - self.eps

    def extra_repr(self) -> str:
        """As `BatchNorm`, and the limits."""
        limits = f"r_max={self.r_max}, d_max={self.d_max}"
        return f"{super().extra_repr()}, {limits}"


class ExampleGroupNorm(nn.Module):
    """Group normalization: some neighboring channels of an example share a mean.

    It looks at each example by itself, so there is nothing to keep, and training
    and inference are the same. `statistics` is what its kinds override.

    Parameters
    ----------
    num_groups : int
        Into how many the channels are divided.
    num_channels : int
        How many, C. There is one `weight` and one `bias` a channel, both (C,).
    eps : float
        Added to the variance.

    Raises
    ------
    ValueError
        If the channels do not divide into so many groups. On forward: if the
        input has fewer than two dimensions or another number of channels, or if a
        single value would be its own mean.
    NotImplementedError
        On forward: if the input is not floating point.

    Notes
    -----
    Source: Wu & He 2018. The same function as torch.nn.GroupNorm,
    with the same state dict. An empty batch comes out empty.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"expected {num_channels} channels to divide into groups "
                f"(got {num_groups})"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, scale and shift: (N, C, *spatial) to the same shape."""
        if x.dim() < 2 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"expected input of shape (N, {self.num_channels}, *spatial) "
                f"(got {tuple(x.shape)})"
            )
        if not x.is_floating_point():
            raise NotImplementedError(
                f"expected floating-point input (got {x.dtype})"
            )
        # an empty batch cannot tell how many values a group has; its channels can
        groups = at_least_float32(x).unflatten(1, (self.num_groups, -1))
        groups = groups.flatten(2)  # (N, G, values)
        mean, var = self.statistics(groups)  # (N, G, 1), (N, G, 1)
        x_hat = ((groups - mean) / torch.sqrt(var + self.eps)).reshape(x.shape)
        bias = torch.zeros_like(self.weight) if self.bias is None else self.bias
        return scale_and_shift(x_hat, self.weight, bias).to(x.dtype)

    def statistics(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (N, G, 1) of the values (N, G, values) of groups."""
        if groups.shape[2] == 1:
            raise ValueError(
                "expected more than 1 value to share a mean "
                f"(got groups of shape {tuple(groups.shape)})"
            )
        mean = groups.mean(dim=2, keepdim=True)
        var = ((groups - mean) ** 2).mean(dim=2, keepdim=True)
        return mean, var

    def extra_repr(self) -> str:
        """The groups, the channels and eps."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class ExampleLayerNorm(ExampleGroupNorm):
    """Layer normalization: all channels and positions of an example.

    That is group normalization with one group. For dense input it is
    torch.nn.LayerNorm(C); for images that has a weight for every value, and this
    one for every channel.

    Notes
    -----
    Source: Ba, Kiros & Hinton 2016; Wu & He 2018.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(1, num_channels, eps)


class ExampleInstanceNorm(ExampleGroupNorm):
    """Instance normalization: the positions of one channel of one example.

    That is group normalization with as many groups as channels. It has a weight
    and a bias; torch.nn.InstanceNorm2d has them with affine=True.

    Notes
    -----
    Source: Ulyanov, Vedaldi & Lempitsky 2016.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, num_channels, eps)


class ExampleRMSNorm(ExampleLayerNorm):
    """Root mean square normalization: nothing is subtracted, and nothing added.

    For dense input it is torch.nn.RMSNorm(C, eps), which has no bias either.

    Notes
    -----
    Source: Zhang & Sennrich 2019, equation 4.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, eps)
        self.bias = None

    def statistics(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Zero, and the mean square (N, 1, 1)."""
        mean_square = (groups**2).mean(dim=2, keepdim=True)
        return torch.zeros_like(mean_square), mean_square


def standardize_weight(weight: Tensor, eps: float = 1e-5) -> Tensor:
    """Weight standardization: the weights of each output share a mean.

    Parameters
    ----------
    weight : (C_out, ...)
        More than one weight an output.

    Returns
    -------
    (C_out, ...)
        Each output's weights with mean 0 and, but for eps, variance 1.

    Raises
    ------
    ValueError
        If an output has a single weight.

    Notes
    -----
    Source: Qiao et al. 2019.
    """
    if weight[0].numel() < 2:
        raise ValueError(
            "expected more than 1 weight an output "
            f"(got a weight of shape {tuple(weight.shape)})"
        )
    axes = tuple(range(1, weight.dim()))
    mean = weight.mean(dim=axes, keepdim=True)  # (C_out, 1, ..., 1)
    var = ((weight - mean) ** 2).mean(dim=axes, keepdim=True)
    return (weight - mean) / torch.sqrt(var + eps)


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weights are standardized before each use.

    Its state dict is that of torch.nn.Conv2d. Its outputs are larger by about
    sqrt(fan-in), so a norm has to follow; `ScaledConv2d` needs none.

    Parameters
    ----------
    *args
        Those of torch.nn.Conv2d, as are the keywords.
    eps : float
        Added to the variance of an output's weights.

    Notes
    -----
    Source: Qiao et al. 2019.
    """

    # `device` by name, for torch.nn.utils.skip_init asks the signature for it
    def __init__(self, *args, eps: float = 1e-5, device=None, **keywords) -> None:
        super().__init__(*args, device=device, **keywords)
        self.eps = eps

    def standardized(self) -> Tensor:
        """The weight to convolve with, in the shape of `weight`."""
        return standardize_weight(self.weight, self.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C_in, H, W) to maps (N, C_out, H', W')."""
        return self._conv_forward(x, self.standardized(), self.bias)

    def extra_repr(self) -> str:
        """As torch.nn.Conv2d, and eps."""
        return f"{super().extra_repr()}, eps={self.eps}"


class ScaledConv2d(StandardizedConv2d):
    """A `StandardizedConv2d` that keeps the variance behind a ReLU; no norm.

    Its arguments are those of one.

    Notes
    -----
    Source: Brock, De & Smith 2021, "Characterizing signal propagation": weights
    of variance gain^2 / fan-in, and the gain of a ReLU, sqrt(2 / (1 - 1 / pi)).
    Here the gain stands in the convolution and not behind the activation.
    """

    gain = math.sqrt(2 / (1 - 1 / math.pi))

    def standardized(self) -> Tensor:
        """The weight to convolve with: of variance gain^2 / fan-in."""
        fan_in = self.weight[0].numel()
        return self.gain / math.sqrt(fan_in) * super().standardized()


class ScaledSkip(nn.Module):
    """A residual block without a norm: h + alpha branch(h / scale).

    Parameters
    ----------
    branch : nn.Module
        To the same shape, and keeping a variance of 1.
    scale : float
        The standard deviation expected of h, as from
        `bnlib.reference.skip_scales`.
    alpha : float
        How much the branch counts.

    Raises
    ------
    ValueError
        If the scale is not positive.

    Notes
    -----
    Source: Brock et al. 2021.
    """

    def __init__(self, branch: nn.Module, scale: float, alpha: float) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"expected a positive scale (got {scale})")
        self.branch, self.scale, self.alpha = branch, scale, alpha

    def forward(self, h: Tensor) -> Tensor:
        """Any shape that the branch takes, to the same."""
        return h + self.alpha * self.branch(h / self.scale)

"""Batch norm whose output is made to shift: noise with another mean and another spread at every step."""

import torch
from torch import Tensor

from bnlib.layers.batch_norm import BatchNormBase

__all__ = ["NoisyBatchNorm", "counted_noise"]

LOW_32_BITS = 0xFFFFFFFF


def counted_noise(seed: Tensor, draw: Tensor, n: int) -> Tensor:
    """Uniform noise in [0, 1) that depends on nothing but a seed and the number of the draw.

    So networks that are trained in one stack, or again alone, meet the same noise.

    Parameters
    ----------
    seed, draw : Tensor of int64, ()
    n : int
        Numbers wanted.

    Returns
    -------
    (n,) of float64

    Notes
    -----
    A counter through an integer hash of 32 bits: multiply, shift and exclusive or (C. Wellons, lowbias32).
    """
    key = hashed(seed ^ hashed(draw))
    return hashed(key + torch.arange(n, device=seed.device)).double() / 2**32


def hashed(x: Tensor) -> Tensor:
    x = x & LOW_32_BITS
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) & LOW_32_BITS
    return x ^ (x >> 16)


class NoisyBatchNorm(BatchNormBase):
    """A `BatchNorm` after which, in training, every activation is scaled and shifted at random.

    At every step each channel j draws a shift from U(-shift, shift) and a scale from U(1, scale), and each
    example draws its own around them, with the half-width `jitter`. All positions of one example's channel
    share theirs. At inference there is no noise.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    shift, scale, jitter : float
    seed : int
        Of the noise. Two layers of one network need two.
    **keywords
        Those of `BatchNorm`.

    Notes
    -----
    Source: the "noisy" batch norm of Santurkar et al. 2018: noise of non-zero mean and non-unit variance,
    another at every step. The paper draws for every activation; here positions share what a channel of an
    example draws.
    """

    def __init__(
        self,
        num_features: int,
        *,
        shift: float = 0.5,
        scale: float = 1.25,
        jitter: float = 0.1,
        seed: int = 0,
        **keywords,
    ) -> None:
        super().__init__(num_features, **keywords)
        self.shift, self.scale, self.jitter = shift, scale, jitter
        self.register_buffer("seed", torch.tensor(seed))
        self.register_buffer("draws", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize and, in training, disturb; another disturbance each time."""
        y = super().forward(x)
        if not self.training:
            return y
        n, c = y.shape[:2]
        noise = counted_noise(self.seed, self.draws, 2 * c + 2 * n * c).to(y.dtype)
        self.draws += 1
        channels, examples = noise.split((2 * c, 2 * n * c))
        around = (2 * examples.view(2, n, c) - 1) * self.jitter  # in +-jitter
        by_shift, by_scale = channels.view(2, 1, c)
        shift = (2 * by_shift - 1) * self.shift + around[0]  # (N, C)
        scale = 1 + (self.scale - 1) * by_scale + around[1]  # (N, C)
        over_positions = (n, c, *[1] * (y.dim() - 2))
        return y * scale.view(over_positions) + shift.view(over_positions)

"""Noisy batch norm: what it adds is as stated, and nothing but a seed and a count decides it."""

import pytest
import torch

from bnlib.lab import NoisyBatchNorm, counted_noise
from bnlib.layers import BatchNorm


def noise(seed, draw, n=20_000):
    return counted_noise(torch.tensor(seed), torch.tensor(draw), n)


def test_counted_noise_is_uniform_and_not_correlated_with_its_neighbors():
    u = noise(3, 7)
    assert u.min() >= 0
    assert u.max() < 1
    histogram = torch.histc(u, 20, 0, 1)
    assert (histogram - 1000).abs().max() < 130  # four standard deviations
    pairs = (u, noise(3, 8)), (u, noise(4, 7)), (u[:-1], u[1:])
    for one, other in pairs:
        assert torch.corrcoef(torch.stack([one, other]))[0, 1].abs() < 0.03


def test_counted_noise_is_the_hash_as_it_stands_in_c():
    def low_bias_32(x):
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    key = low_bias_32(5 ^ low_bias_32(2))
    expected = [low_bias_32((key + i) % 2**32) / 2**32 for i in range(4)]
    assert noise(5, 2, 4).tolist() == expected


@pytest.fixture
def layer():
    layer = NoisyBatchNorm(6, seed=1).double()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.normal_()
    return layer


@pytest.mark.parametrize("shape", [(500, 6), (500, 6, 3, 2)])
def test_each_channel_is_scaled_and_shifted_and_each_example_a_little_more(layer, shape):
    x = 3 + 2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = BatchNorm(6).double()
    plain.load_state_dict(layer.state_dict(), strict=False)
    y, clean = layer(x), plain(x)
    flat = (v.flatten(2) if v.dim() > 2 else v[..., None] for v in (y, clean))
    for noisy, own in zip(*(v.unbind(1) for v in flat), strict=True):  # (N, positions) of each channel
        design = torch.stack([own.flatten(), torch.ones(own.numel(), dtype=own.dtype)], 1)
        scale, shift = torch.linalg.lstsq(design, noisy.reshape(-1, 1)).solution.flatten()
        assert 0.98 < scale < 1.27
        assert shift.abs() < 0.52
        left = noisy - scale * own - shift
        assert left.abs().max() < 0.12 * (1 + own.abs().max())


def test_every_forward_pass_draws_anew_and_inference_draws_nothing(layer):
    x = torch.randn(8, 6, dtype=torch.float64)
    first, second = layer(x), layer(x)
    assert (first - second).abs().max() > 0.1
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    assert layer.draws == 2


def test_without_any_spread_it_is_batch_norm():
    x = torch.randn(8, 6)
    quiet = NoisyBatchNorm(6, shift=0, scale=1, jitter=0)
    torch.testing.assert_close(quiet(x), BatchNorm(6)(x))

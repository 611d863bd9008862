"""Sums of millions of values: torch.nn's CPU kernel adds them one by one in float32; ours stay right."""

import pytest
import torch
from torch.testing import assert_close

from bnlib.layers import BatchNorm1d, BatchNorm2d


@pytest.fixture
def normalized():
    """What a norm makes of x and keeps of it, beside float64's answers."""

    def run(norm, x):
        axes = [axis for axis in range(x.dim()) if axis != 1]
        wide = x.double()
        mean = wide.mean(axes, keepdim=True)
        var = (wide - mean).square().mean(axes, keepdim=True)
        y = ((wide - mean) / torch.sqrt(var + norm.eps)).float()
        m = x.numel() // x.shape[1]
        with torch.no_grad():
            ours = norm(x)
        assert_close(ours, y, rtol=1e-3, atol=1e-3)
        assert_close(norm.running_mean, mean.flatten().float(), rtol=1e-6, atol=1e-6)
        assert_close(norm.running_var, (var.flatten() * m / (m - 1)).float(), rtol=1e-4, atol=0)

    return run


@pytest.mark.parametrize("shape", [(32, 2, 200, 200), (64, 2, 200, 200)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_millions_of_positions_far_from_zero_in_either_layout(normalized, generator, shape, layout):
    # channels last, torch.nn's was off by 5.6, and its running variance was a hundred times too large
    x = (1000 + torch.randn(shape, generator=generator)).to(memory_format=layout)
    normalized(BatchNorm2d(2, momentum=1.0), x)


@pytest.mark.parametrize("shape", [(1_000_000, 2), (20_000_000, 1)], ids=str)
def test_millions_of_rows(normalized, generator, shape):
    # of 20 million rows torch.nn's variance was 2.5 % too small
    normalized(BatchNorm1d(shape[1], momentum=1.0), torch.rand(shape, generator=generator))


def test_millions_of_rows_far_from_zero(normalized, generator):
    x = 1000 + torch.randn(1_280_000, 2, generator=generator)
    normalized(BatchNorm1d(2, momentum=1.0), x)

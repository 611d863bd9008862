"""Batches as the layers get them: of every rank, in both dtypes, off center and unequal."""

import pytest
import torch
from torch import nn

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@pytest.fixture(params=[(6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 4, 2, 3)], ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=list(TOLERANCE), ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def agree(dtype):
    """Assert that two tensors agree, relative and absolute, for numbers of order one; dtypes too."""

    def check(ours, theirs, times=1):
        tolerance = times * TOLERANCE[dtype]
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)

    return check


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def new_batch(generator, shape, dtype):
    """Each call another batch, off center, each channel with another mean and spread."""
    channels = (1, 3, *(1,) * (len(shape) - 2))
    mean = torch.tensor([3.0, -2.0, 0.5], dtype=dtype).reshape(channels)
    std = torch.tensor([2.0, 0.3, 1.0], dtype=dtype).reshape(channels)
    return lambda: mean + std * torch.randn(shape, generator=generator, dtype=dtype)


@pytest.fixture
def x(new_batch):
    return new_batch()


@pytest.fixture
def gamma(dtype):
    return torch.tensor([1.5, -0.7, 2.0], dtype=dtype)


@pytest.fixture
def beta(dtype):
    return torch.tensor([-1.0, 0.4, 3.0], dtype=dtype)


@pytest.fixture
def dy(generator, x):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.fixture
def unlike_new(generator):
    """Give a norm parameters and running statistics that differ from channel to channel."""

    def change(norm: nn.Module) -> nn.Module:
        for name, v in norm.state_dict(keep_vars=True).items():
            if v.is_floating_point():
                drawn = torch.rand(v.shape, generator=generator, dtype=v.dtype) + 0.1
                v.data = drawn if name == "running_var" else 2 * drawn - 1.3
        return norm

    return change

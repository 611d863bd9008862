"""Batches as the reference gets them: dense, sequence and image, in both dtypes, off center and unequal."""

import numpy as np
import pytest

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture(params=[(6, 3), (4, 3, 5), (2, 3, 4, 5)], ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=list(TOLERANCE))
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def tolerance(dtype):
    """Relative and absolute, for numbers of order one."""
    return {"rtol": TOLERANCE[dtype.name], "atol": TOLERANCE[dtype.name]}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng, shape, dtype):
    """Off center, and each channel with another mean and spread."""
    channels = (1, 3, *(1,) * (len(shape) - 2))
    mean, std = np.array([3.0, -2.0, 0.5]).reshape(channels), np.array([2.0, 0.3, 1.0]).reshape(channels)
    return (mean + std * rng.normal(size=shape)).astype(dtype)


@pytest.fixture
def gamma(dtype):
    return np.array([1.5, -0.7, 2.0], dtype)


@pytest.fixture
def beta(dtype):
    return np.array([-1.0, 0.4, 3.0], dtype)


@pytest.fixture
def dy(rng, x):
    return rng.normal(size=x.shape).astype(x.dtype)

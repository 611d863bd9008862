"""Batches as the layers get them: of every rank, in both dtypes, off center and unequal."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close

from bnlib.layers import BatchNorm1d, BatchNorm2d, BatchNorm3d

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
OURS = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}
THEIRS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@pytest.fixture(params=[(6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 4, 2, 3)], ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=list(TOLERANCE), ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def tolerance(dtype):
    """Relative and absolute, for numbers of order one."""
    return TOLERANCE[dtype]


@pytest.fixture
def agree(tolerance):
    """Assert that two tensors agree, relative and absolute, for numbers of order one; dtypes too."""

    def check(ours, theirs, times=1):
        assert_close(ours, theirs, rtol=times * tolerance, atol=times * tolerance)

    return check


@pytest.fixture(scope="session")
def same_state():
    """Assert that two modules are in the same state, to the last bit unless a tolerance is given."""

    def check(a, b, tolerance=0):
        a, b = a.state_dict(), b.state_dict()
        assert list(a) == list(b)
        for name in b:
            assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, equal_nan=True)

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
def train_alike(generator, agree, same_state, tolerance):
    """Assert that one step is the same through two norms: output, gradients, and what they are left as.

    A norm that takes more than x gets it as keywords; `view` takes from a batch what the other norm is given.
    """

    def check(ours, theirs, batch, view=lambda v: v, **keywords):
        x, x_theirs = batch.clone().requires_grad_(), batch.clone().requires_grad_()
        dy = torch.randn(batch.shape, generator=generator, dtype=batch.dtype)
        y, y_theirs = ours(x, **keywords), theirs(view(x_theirs))
        agree(view(y), y_theirs, times=10)
        y.backward(dy), y_theirs.backward(view(dy))
        agree(x.grad, x_theirs.grad, times=50)
        for p, p_theirs in zip(ours.parameters(), theirs.parameters(), strict=True):
            agree(p.grad, p_theirs.grad, times=50)
            for q in (p, p_theirs):
                q.data -= 0.1 * q.grad
                q.grad = None
        same_state(ours, theirs, 50 * tolerance)

    return check


@pytest.fixture(scope="session")
def unlike_new():
    """Give a norm parameters and running statistics that differ from channel to channel."""
    generator = torch.Generator()

    def change(norm: nn.Module, seed: int = 0) -> nn.Module:
        generator.manual_seed(seed)
        for name, v in norm.state_dict(keep_vars=True).items():
            if v.is_floating_point():
                drawn = torch.rand(v.shape, generator=generator, dtype=torch.float64)
                v.data.copy_(drawn + 0.1 if name == "running_var" else 2 * drawn - 1.3)
        return norm

    return change


@pytest.fixture(scope="session")
def pair():
    """Our layer and torch.nn's for an input of some rank, new."""
    return lambda rank, *args, **kwargs: tuple(kind[rank](*args, **kwargs) for kind in (OURS, THEIRS))


@pytest.fixture(scope="session")
def twins(pair, unlike_new):
    """The two layers with the same parameters and statistics, none of them as in a new layer."""

    def make(rank, *args, mode=True, **kwargs):
        ours, theirs = pair(rank, *args, **kwargs)
        ours.load_state_dict(unlike_new(theirs).state_dict())
        return ours.train(mode), theirs.train(mode)

    return make


@pytest.fixture(
    params=[
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
    ],
    ids=["weight_norm", "spectral_norm", "prune", "parametrized-weight_norm", "parametrized-spectral_norm"],
)
def compute_weight(request):
    """Let a layer's weight be computed from other parameters: by a hook, or by a parametrization."""

    def change(layer):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch advises against the hooks; models have them
            return request.param(layer) or layer

    return change

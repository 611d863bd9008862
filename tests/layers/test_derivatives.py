"""torch.func, and derivatives of higher order: the layer's are right, also where torch.nn's are not."""

import copy
from functools import partial

import pytest
import torch
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap
from torch.testing import assert_close

from bnlib.layers import BatchNorm1d, handmade_batch_norm

# torch's own forward mode imports what torch itself calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
modes = pytest.mark.parametrize("mode", [True, False], ids=["training", "inference"])
close = partial(assert_close, rtol=1e-12, atol=1e-11)


@pytest.fixture
def dtype():
    return torch.float64


@pytest.fixture
def shape():
    return 5, 3


@pytest.fixture
def v(dy):
    """The direction of the derivatives."""
    return dy


def call(norm, x, **parameters):
    """A norm as a pure function; its buffers are handed in, so that those that move are copies."""
    buffers = {name: b.clone() for name, b in norm.named_buffers()}
    return functional_call(norm, (parameters, buffers), (x,))


def cubes(f):
    return lambda x: f(x).pow(3).sum()


def along(f, v):
    """The directional derivative by reverse mode."""
    return lambda x: (grad(f)(x) * v).sum()


def along_forward(f, v):
    """The same by forward mode."""
    return lambda x: jvp(f, (x,), (v,))[1]


def by_differences(f, x, v, order, step=1e-2):
    """Directional derivative of f by central differences of sixth order, in a 20-digit neighborhood of x."""
    offsets = torch.arange(-4, 5, dtype=torch.float64)
    # weights that are exact for polynomials up to degree 8
    powers = offsets ** torch.arange(9).unsqueeze(1)
    weights = torch.linalg.solve(powers, torch.eye(9, dtype=torch.float64)[order])
    factorial = torch.arange(1, order + 1).prod()
    values = torch.stack([f(x + offset * step * v) for offset in offsets])
    return (weights * values).sum() * factorial / step**order


@modes
def test_grad_and_jvp_are_those_of_torch(twins, x, v, mode):
    norms = twins(2, 3, mode=mode, dtype=torch.float64)
    close(*(grad(lambda x, n=n: (call(n, x) * v).sum())(x) for n in norms))
    close(*(grad(lambda w, n=n: (call(n, x, weight=w) * v).sum())(n.weight) for n in norms))
    for a, b in zip(*(jvp(partial(call, n), (x,), (v,)) for n in norms), strict=True):
        close(a, b)
    close(jacfwd(partial(call, norms[0]))(x), jacrev(partial(call, norms[0]))(x))


@pytest.mark.parametrize("which", [0, 1], ids=["ours", "theirs"])
def test_vmap_is_refused_while_statistics_move_and_free_otherwise(twins, new_batch, which):
    # the documented limit: which of the examples should move the buffers?
    xs = torch.stack([new_batch() for _ in range(4)])
    norm = twins(2, 3, dtype=torch.float64)[which]
    before = copy.deepcopy(norm)
    with pytest.raises(RuntimeError):
        vmap(norm)(xs)
    assert_close(norm.running_mean, before.running_mean, rtol=0, atol=0)
    for free in (norm.eval(), twins(2, 3, track_running_stats=False, dtype=torch.float64)[which]):
        close(vmap(free)(xs), torch.stack([free(x) for x in xs]))


@modes
def test_the_nested_forward_mode_second_derivative_is_right(twins, x, v, mode):
    norm, _ = twins(2, 3, eps=1e-2, mode=mode, dtype=torch.float64)
    f = cubes(partial(call, norm))
    second = along_forward(along_forward(f, v), v)(x)
    assert_close(second, by_differences(f, x, v, order=2), rtol=1e-7, atol=1e-8)
    assert_close(second, along(along(f, v), v)(x), rtol=1e-10, atol=1e-10)


@modes
def test_the_third_reverse_derivative_is_right(twins, x, v, mode):
    norm, _ = twins(2, 3, eps=1e-2, mode=mode, dtype=torch.float64)
    f = cubes(partial(call, norm))
    third = along(along(along(f, v), v), v)(x)
    assert_close(third, by_differences(f, x, v, order=3), rtol=1e-5, atol=1e-6)


def test_the_layer_written_by_hand_has_all_reverse_derivatives_too(x, v, gamma, beta):
    f = cubes(lambda x: handmade_batch_norm(x, gamma, beta, 1e-2))
    third = along(along(along(f, v), v), v)(x)
    assert_close(third, by_differences(f, x, v, order=3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("order", "derivative"), [(2, along_forward), (3, along)], ids=["forward", "reverse"]
)
def test_torchs_nested_forward_and_third_reverse_derivatives_are_still_wrong(twins, x, v, order, derivative):
    # github.com/pytorch/pytorch/issues/196699 (forward), and silently in torch 2.13 (reverse);
    # when this fails, the book can say that it is mended
    _, norm = twins(2, 3, eps=1e-2, track_running_stats=False, dtype=torch.float64)
    f = cubes(norm)
    got = f
    for _ in range(order):
        got = derivative(got, v)
    right = by_differences(f, x, v, order)
    assert abs(got(x) - right) > 0.1 * abs(right)


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@modes
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2), (2, 3, 2, 2), (2, 3, 2, 1, 2)], ids=str)
def test_both_first_derivatives_are_those_of_central_differences(twins, x, check, mode, shape):
    norm, _ = twins(len(shape), 3, eps=1e-2, mode=mode, dtype=torch.float64)

    def f(x, weight, bias):
        return functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    assert check(f, [x.requires_grad_(), *norm.parameters()])


def test_the_buffers_hold_no_graph(x):
    norm = BatchNorm1d(3, dtype=x.dtype)
    norm(x.requires_grad_())
    assert not any(v.requires_grad for v in norm.buffers())

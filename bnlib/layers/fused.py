"""Speed, and nothing but: batch normalization in few passes over its input.

What it computes stands in `functional`, in plain words. Here torch's kernels do
it where they are exact, and where they are not, operations in place: on large
input the time goes into memory, most of all into fresh memory.
"""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from bnlib.reference.statistics import Statistics

from .functional import at_least_float32
from .functional import per_channel as along
from .handmade import batch_norm_backward

__all__ = []  # for the layer alone

FULL = torch.float32, torch.float64

# Torch adds up a channel of contiguous images in float64, but rows, as those of
# (N, C) and of channels-last images, one by one in float32. With more rows than
# this that costs digits: in the mean, and later in the sums of the gradients.
ROWS = 2**10
ROWS_BACKWARD = 2**14

# Rows are taken in blocks up to this many blocks.
BLOCKS = 2**7

# The kernels compute x scale + shift. That loses next to nothing as long as no
# channel's mean is more standard deviations than this away from zero.
FAR = 16.0

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def serves(x: Tensor) -> bool:
    """Whether x can be treated here; else the plain operations have to do it.

    Those are what a tracer wants to see, and what torch.func and forward mode
    know how to transform.
    """
    return torch.compiler.is_compiling() or (
        not torch.jit.is_tracing()
        and get_proxy_mode() is None
        # neither has a public name
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and type(x) in (Tensor, nn.Parameter)
        and not x.is_meta
        and x.numel() > 0
    )


def laid_out(x: Tensor) -> Tensor:
    """X as torch.nn's output lies: channels last if it is, else contiguous."""
    last = x.dim() in LAST and x.is_contiguous(memory_format=LAST[x.dim()])
    return x if last else x.contiguous()


def is_far(mean: Tensor, var: Tensor, eps: float) -> bool:
    """Whether x scale + shift would lose digits, of statistics (C,).

    An accelerator is not asked, since its answer would have to be waited for.
    """
    if torch.compiler.is_compiling():
        return True  # a compiler cannot ask, and fuses the plain operations
    return mean.is_cpu and not _is_near(mean, (var + eps).rsqrt())


def inference_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
) -> Tensor:
    """Batch normalization at inference by torch's kernel: x scale + shift."""
    return torch.batch_norm(
        x, weight, bias, running_mean, running_var, False, 0.0, eps, False
    )


def training_batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Statistics]:
    """Batch normalization in training, and the batch's statistics.

    Derivatives of the output are right to every order; the statistics have none.

    Parameters
    ----------
    x : (N, C, *spatial)
    weight, bias : (C,) or None
        gamma and beta; None stands for 1 and 0.
    """
    if torch.compiler.is_compiling():
        y, mean, var = _for_a_compiler(x, weight, bias, eps)
    else:
        statistics = []  # filled on the way; as outputs they would cost time
        y = _TrainingBatchNorm.apply(x, weight, bias, eps, statistics)
        mean, var = statistics
    return y, Statistics(mean, var, x.numel() // x.shape[1])


class _TrainingBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps, statistics):
        X, gamma, beta = laid_out(x), weight, bias
        if x.dtype not in FULL:
            X, gamma, beta = map(_at_least_float32, (X, weight, bias))
        way = _way(X)
        y, mean, var, invstd = way(X, gamma, beta, eps)
        # The other ways are for CPUs alone, where a value needs no waiting for.
        if way is not _centered and not _is_near(mean, invstd):
            y, mean, var, invstd = _centered(X, gamma, beta, eps)
        statistics += mean, var
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.eps = eps
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        x, weight, mean, invstd = ctx.saved_tensors
        x = laid_out(x)
        if torch.is_grad_enabled():  # the gradients will be differentiated
            gradients = _plain_gradients(dy, x, weight, ctx.eps)
        elif _kernel_is_exact(x, ROWS_BACKWARD):
            gradients = torch.ops.aten.native_batch_norm_backward(
                *(dy, x, weight, None, None, mean, invstd, True, ctx.eps),
                ctx.needs_input_grad[:3],
            )
        else:
            gradients = _gradients_in_place(dy, x, weight, mean, invstd)
        wanted = zip(gradients, ctx.needs_input_grad, strict=False)
        return *(g if needed else None for g, needed in wanted), None, None


def _for_a_compiler(x, weight, bias, eps):
    """What fuses best: one pass for both statistics, no quotient of arrays."""
    X = at_least_float32(x)
    axes = (0, *range(2, X.dim()))
    var, mean = torch.var_mean(X, dim=axes, correction=0)  # (C,), by Welford
    y = (X - along(mean, X)) * along((var + eps).rsqrt(), X)
    if weight is not None:
        y = y * along(weight, X)
    if bias is not None:
        y = y + along(bias, X)
    return y.to(x.dtype), mean, var


def _at_least_float32(v: Tensor | None) -> Tensor | None:
    return None if v is None else at_least_float32(v)


def _kernel_is_exact(x: Tensor, rows: int) -> bool:
    """Whether torch's kernels lose no digits in their sums over x."""
    images = x.numel() > x.shape[0] * x.shape[1]
    few = x.shape[0] <= rows
    full = x.dtype in FULL
    return full and x.is_cpu and x.is_contiguous() and (images or few)


def _way(X: Tensor):
    """Which of the ways to take: (X, gamma, beta, eps) -> y, mean, var, 1/std.

    X is `laid_out`.
    """
    if _kernel_is_exact(X, ROWS):
        return _by_kernel
    few = X.numel() // X.shape[1] <= ROWS * BLOCKS
    return _by_blocks if X.is_cpu and few else _centered


def _is_near(mean: Tensor, invstd: Tensor) -> bool:
    """Whether no channel's mean is far from zero, nor NaN."""
    return (mean * invstd).abs().max().item() <= FAR


def _by_kernel(X, gamma, beta, eps):
    mean, var = X.new_zeros(2, X.shape[1])  # (C,), (C,)
    # with a momentum of 1 the kernel writes the batch's into the running ones
    y, _, invstd = torch.native_batch_norm(
        X, gamma, beta, mean, var, True, 1.0, eps
    )
    m = X.numel() // X.shape[1]
    return y, mean, var * ((m - 1) / m), invstd


def _by_blocks(X, gamma, beta, eps):
    """Statistics block by block, put together as `bnlib.layers.pooled` does."""
    blocks = X.movedim(1, -1).flatten(0, -2).split(ROWS)  # (ROWS, C) each
    each = [torch.batch_norm_update_stats(b, None, None, 0.0) for b in blocks]
    means, within = map(torch.stack, zip(*each, strict=True))  # (blocks, C)
    count = X.new_tensor([[len(b)] for b in blocks])  # (blocks, 1)
    share = count / count.sum()
    # no matrix product: autocast would take it in half precision
    mean = (share * means).sum(0)  # (C,)
    var = (share * (within + (means - mean).square())).sum(0)  # (C,)
    y, *_ = torch.native_batch_norm(X, gamma, beta, mean, var, False, 0.0, eps)
    return y, mean, var, (var + eps).rsqrt()


def _centered(X, gamma, beta, eps):
    """The plain operations, in place, with a mean that is corrected once.

    What rounding left of the mean counts where the spread is no larger (Chan,
    Golub & LeVeque 1983).
    """
    axes = (0, *range(2, X.dim()))
    mean = X.mean(axes)  # (C,)
    y = X - along(mean, X)  # (N, C, *spatial)
    mean += y.mean(axes)
    var = torch.sub(X, along(mean, X), out=y).square_().mean(axes)  # (C,)
    invstd = (var + eps).rsqrt()  # (C,)
    scale = invstd if gamma is None else invstd * gamma  # (C,)
    torch.sub(X, along(mean, X), out=y).mul_(along(scale, X))
    if beta is not None:
        y += along(beta, X)
    return y, mean, var, invstd


def _gradients_in_place(dy, x, weight, mean, invstd):
    """`batch_norm_backward`, statistics known; in float32 two large arrays."""
    X, g = at_least_float32(x), at_least_float32(dy)
    axes = (0, *range(2, X.dim()))
    m = x.numel() // x.shape[1]
    x_hat = (X - along(mean, X)).mul_(along(invstd, X))  # (N, C, *spatial)
    dgamma, dbeta = (g * x_hat).sum(axes), g.sum(axes)  # (C,)
    scale = invstd if weight is None else invstd * weight  # (C,)
    dx = x_hat.mul_(along(-dgamma / m, X)).sub_(along(dbeta / m, X)).add_(g)
    return dx.mul_(along(scale, X)).to(x.dtype), dgamma, dbeta


def _plain_gradients(dy, x, weight, eps):
    """`batch_norm_backward`, which autograd can differentiate."""
    X, g = at_least_float32(x), at_least_float32(dy)
    gamma = X.new_ones(X.shape[1]) if weight is None else weight
    dx, dgamma, dbeta = batch_norm_backward(g, X, gamma, eps)
    return dx.to(x.dtype), dgamma, dbeta

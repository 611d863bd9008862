"""One batch on many workers: statistics of all the shares together."""

import copy

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from bnlib.reference.statistics import Statistics

from .batch_norm import BatchNormBase
from .functional import at_least_float32, batch_statistics, per_channel
from .guarded import is_traced

__all__ = ["SyncBatchNorm"]

# What a worker says of its input goes ahead of its statistics: the place of its
# dtype in DTYPES, or REFUSED; whether it records gradients; how many values.
DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64
REFUSED = -1
HEADER = 3


class SyncBatchNorm(BatchNormBase):
    """A `BatchNorm` of a batch whose examples lie on several workers.

    Each worker of a ``torch.distributed`` group brings its share. Output,
    gradients and running statistics are those of one process with the whole
    batch, on any backend: gloo on CPUs, nccl on GPUs. Shares may differ in size,
    and be empty. The running statistics are the same on all workers, bit for bit.

    Where there is no initialized process group, or a single worker in it, it is
    a `BatchNorm`. All other arguments are those of one, and so is the state dict.

    Parameters
    ----------
    process_group : torch.distributed.ProcessGroup, optional
        The workers whose shares make one batch. By default all.

    Raises
    ------
    RuntimeError
        On forward, on every worker: if one has another number of channels or
        another dtype than the others, if some record gradients and some do not,
        if one refuses its input (that one raises as `BatchNorm` does), or if one
        is gone or lets the others wait longer than the group's timeout. The
        running statistics are then left as they were. Also in
        ``torch.jit.trace`` and ``torch.export``.
    ValueError
        If this worker is none of the group's; on forward as in `BatchNorm`.

    Notes
    -----
    Source: Chan, Golub & LeVeque 1983, for the merged statistics.

    A forward pass with batch statistics is a meeting. Every worker has to call
    the layer equally often, in the same order, and so for the backward pass. Then
    one collective carries (count, mean, M2) forward, in float64, and one carries
    two sums backward. Before the first meeting a small one makes sure of the
    number of channels, since a message of another length cannot be read; the
    dtype is checked at each. On an accelerator the counts have to be waited for.
    Derivatives are right to every order, at one more collective each.

    The gradient of the input is that of the sum of all the workers' losses, as
    in ``torch.nn.SyncBatchNorm``. Those of weight and bias are the share's own:
    ``DistributedDataParallel`` averages them with all others.

    Unlike torch's, it also synchronizes in eval mode if there are no running
    statistics, for then the batch's serve there too.

    Under ``torch.compile`` the statistics are taken as written, between two
    graphs, and ``fullgraph`` is refused.
    """

    def __init__(self, *args, process_group=None, **keywords) -> None:
        super().__init__(*args, **keywords)
        self.process_group = process_group

    # the group, and the number of channels agreed upon with it
    agreed = None

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "agreed"}

    def __deepcopy__(self, memo):
        # a group is no part of a model: two copies meet in the same one
        memo[id(self.process_group)] = self.process_group
        new = memo[id(self)] = self.__new__(type(self))
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return new

    def check_input(self, x: Tensor) -> None:
        """Refuse as `BatchNorm` does, and tell those who would wait."""
        try:
            super().check_input(x)
        except Exception:
            group = self.group()
            if group is not None:
                self.meet(None, group)
            raise

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) to normalize with: of all shares, or kept."""
        group = self.group()
        if group is None:
            return super().statistics(x)
        if is_traced():
            raise RuntimeError(
                "expected to be run (got traced or exported, where nobody can be "
                "met): take eval mode, or revert_from_sync"
            )
        if torch.compiler.is_dynamo_compiling():
            # a decorator would load dynamo at import
            return torch.compiler.disable(self.together)(x, group)
        return self.together(x, group)

    def group(self):
        """Whom to meet for the batch's statistics; None: nobody."""
        if not self.training and self.running_mean is not None:
            return None
        if not (dist.is_available() and dist.is_initialized()):
            return None
        group = self.process_group
        group = dist.group.WORLD if group is None else group
        workers = dist.get_world_size(group)
        if workers < 1:
            raise ValueError(
                "expected a process group with this worker in it (got another)"
            )
        return group if workers > 1 else None

    def together(self, x: Tensor, group) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of all the shares, which are then kept."""
        mean, var, m = merged(self.meet(x, group))
        X = at_least_float32(x)  # (N, C, *spatial)
        mean, var = _OfAllShares.apply(X, mean.to(X), var.to(X), m, group)
        self.take(Statistics(mean, var, m), x)
        return mean, var

    def meet(self, x: Tensor | None, group) -> Tensor:
        """Everybody's (count, mean, M2), (workers, 1 + 2C), in float64.

        None instead of x: this worker refuses its own.
        """
        own = self.weight, self.bias, self.running_mean, self.running_var
        own = [v for v in own if v is not None]
        channels = own[0].shape[0] if own else self.num_features
        device = x.device if x is not None else own[0].device if own else None
        if self.agreed != (group, channels):
            C = torch.tensor([channels], device=device)
            expect_one("number of channels", gathered(C, group)[:, 0].tolist())
            self.agreed = group, channels
        message = torch.zeros(
            HEADER + 2 * channels, dtype=torch.float64, device=device
        )
        if x is None:
            message[0] = REFUSED
        else:
            mean, var, m = batch_statistics(at_least_float32(x.detach()))
            records = torch.is_grad_enabled() and x.requires_grad
            message[:HEADER] = message.new_tensor(
                [DTYPES.index(x.dtype), records, m]
            )
            if m > 0:  # an empty share has no mean
                message[HEADER:] = torch.cat([mean, var.double() * m])
        messages = gathered(message, group)  # (workers, HEADER + 2C)
        dtypes, recording, _ = messages[:, :HEADER].T.tolist()
        refused = [rank for rank, d in enumerate(dtypes) if d == REFUSED]
        if x is not None and refused:
            raise RuntimeError(
                "expected input that every worker can normalize "
                f"(got some that workers {refused} refused)"
            )
        if not refused:
            expect_one("dtype", [DTYPES[int(d)] for d in dtypes])
            expect_one("answer to requires_grad", [bool(r) for r in recording])
        return messages[:, HEADER - 1 :]


def merged(shares: Tensor) -> Statistics:
    """The statistics of all shares, from (count, mean, M2) of each.

    Parameters
    ----------
    shares : (workers, 1 + 2C)
        M2 is the sum of the squared deviations from the share's mean.
    """
    count, mean, m2 = shares.tensor_split([1, 1 + shares.shape[1] // 2], dim=1)
    m = count.sum()
    # no matrix product: autocast would take it in half precision
    total = (count / m * mean).sum(0)  # (C,)
    deviations = m2 + count * (mean - total).square()  # (workers, C)
    return Statistics(total, deviations.sum(0) / m, int(m))


def gathered(v: Tensor, group) -> Tensor:
    """Every worker's v, of one shape on all of them, stacked."""
    all_of_them = [torch.empty_like(v) for _ in range(dist.get_world_size(group))]
    with _Expected():
        dist.all_gather(all_of_them, v, group=group)
    return torch.stack(all_of_them)


def expect_one(what: str, found: list) -> None:
    """Refuse what differs from worker to worker."""
    if any(v != found[0] for v in found):
        raise RuntimeError(
            f"expected one {what} on all workers "
            f"(got {', '.join(map(str, found))} on workers 0 to {len(found) - 1})"
        )


class _Expected:
    """Say plainly that a collective has failed; the cause stays attached."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, RuntimeError):
            raise RuntimeError(
                "expected all workers of the group to meet in a SyncBatchNorm "
                "(got one that is gone, late or elsewhere)"
            ) from error


class _OfAllShares(Function):
    """Merged statistics as functions of x, a share of what they were taken of."""

    @staticmethod
    def forward(ctx, x, mean, var, m, group):
        mean, var = mean.clone(), var.clone()
        ctx.save_for_backward(x, mean)
        ctx.m, ctx.group = m, group
        return mean, var

    @staticmethod
    def backward(ctx, dmean, dvar):
        x, mean = ctx.saved_tensors
        # every worker's loss depends on the statistics, and they on every share
        both = _Sum.apply(torch.stack([dmean, dvar]), ctx.group)  # (2, C)
        dmean, dvar = (per_channel(v / ctx.m, x) for v in both)
        # var depends on the mean too, but there its derivative is zero
        dx = dmean + 2 * dvar * (x - per_channel(mean, x))
        return dx, None, None, None, None


class _Sum(Function):
    """The sum over all workers; its transpose is the same sum."""

    @staticmethod
    def forward(ctx, v, group):
        ctx.group = group
        v = v.clone(memory_format=torch.contiguous_format)
        with _Expected():
            dist.all_reduce(v, group=group)
        return v

    @staticmethod
    def backward(ctx, dv):
        return _Sum.apply(dv, ctx.group), None

"""What is a batch norm? One answer, for whatever walks through a model."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from .batch_norm import BatchNorm, BatchNormBase
from .cousins import BatchRenorm, GhostBatchNorm
from .frozen import FrozenBatchNorm
from .sync import SyncBatchNorm

__all__ = [
    "counted",
    "input_ranks",
    "is_batch_norm",
    "keeps_statistics",
    "may_move_buffers",
    "only_normalizes",
]

FORWARDS = (
    BatchNormBase.forward,
    BatchNorm.forward,
    GhostBatchNorm.forward,
    _BatchNorm.forward,
    nn.SyncBatchNorm.forward,
)
STATISTICS = (
    BatchNormBase.statistics,
    BatchRenorm.statistics,
    FrozenBatchNorm.statistics,
    SyncBatchNorm.statistics,
)
RANKS = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm, ours or torch.nn's."""
    return isinstance(module, BatchNormBase | _BatchNorm)


def only_normalizes(norm: nn.Module) -> bool:
    """Whether a batch norm's class adds nothing, as an activation or a mask.

    In eval mode, that is: training may be another than `BatchNorm`'s, as that of
    frozen and guarded norms is, and of the cousins of batch norm.
    """
    kind = type(norm)
    plain = not isinstance(norm, BatchNormBase) or kind.statistics in STATISTICS
    return kind.forward in FORWARDS and plain


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a module is a batch norm with running statistics, not frozen."""
    if not is_batch_norm(module) or isinstance(module, FrozenBatchNorm):
        return False
    return module.running_mean is not None


def may_move_buffers(module: nn.Module) -> bool:
    """Whether a forward may move a module's own running statistics.

    That is a batch norm, or an instance norm of torch.nn, whatever its arguments.
    """
    return isinstance(module, _NormBase)


def input_ranks(norm: nn.Module) -> tuple[int, ...] | None:
    """How many dimensions a batch norm's input may have; None: two or more."""
    if isinstance(norm, BatchNormBase):
        return norm.dimensions
    return next(
        (ranks for kind, ranks in RANKS.items() if isinstance(norm, kind)), None
    )


def counted(norm: nn.Module, *inputs, **keywords) -> Tensor:
    """The values that a batch norm's inputs add to a population, channels second.

    Ours say so by their method of this name; of torch.nn's, all values count.
    """
    if isinstance(norm, BatchNormBase):
        return norm.counted(*inputs, **keywords)
    return next(iter((*inputs, *keywords.values())))

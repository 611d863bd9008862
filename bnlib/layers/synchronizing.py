"""Synchronizing: one batch on many workers, for a model that has batch norms."""

from torch import nn

from .as_torch import BY_RANKS, OURS, THEIRS, with_kinds
from .batch_norm import BatchNorm
from .frozen import FrozenBatchNorm
from .kinds import input_ranks
from .sync import SyncBatchNorm

__all__ = ["convert_to_sync", "revert_from_sync"]

PLAIN = {BatchNorm, *OURS, *THEIRS}
SYNCED = {SyncBatchNorm, nn.SyncBatchNorm}


def convert_to_sync(model: nn.Module, process_group=None) -> nn.Module:
    """A copy of a model with a `SyncBatchNorm` in the place of each batch norm.

    Parameters, buffers, modes and hooks stay as they are; make the optimizer and
    ``DistributedDataParallel`` afterwards. Frozen norms take no statistics of a
    batch, and stay.

    Parameters
    ----------
    model : nn.Module
        It may be a batch norm itself. Its norms may be ours or torch.nn's, those
        that torch has synchronized too.
    process_group : torch.distributed.ProcessGroup, optional
        The workers whose shares make one batch. By default all.

    Raises
    ------
    TypeError
        If a norm does more than normalize, as guarded and masked ones,
        subclasses with a forward of their own, lazy and parametrized ones.

    Notes
    -----
    Unlike ``torch.nn.SyncBatchNorm.convert_sync_batchnorm``, which replaces by
    type whatever is a torch batch norm, activation and all, and nothing else.
    """
    ranks = {}

    def kind(name: str, norm: nn.Module) -> type[nn.Module]:
        ranks[name] = input_ranks(norm)
        if isinstance(norm, FrozenBatchNorm):
            return type(norm)
        return _expect(norm, name, PLAIN | SYNCED) and SyncBatchNorm

    synced = with_kinds(model, kind)
    for name, dimensions in ranks.items():
        norm = synced.get_submodule(name)
        if type(norm) is SyncBatchNorm:
            norm.dimensions, norm.process_group = dimensions, process_group
    return synced


def revert_from_sync(model: nn.Module) -> nn.Module:
    """A copy of a model with our plain norms in the place of synchronized ones.

    Each becomes the `BatchNorm1d`, ``2d`` or ``3d`` that it was, or a `BatchNorm`
    where that is not known, as of ``torch.nn.SyncBatchNorm``; `as_torch` goes on
    from there. All else stays as it is.

    Raises
    ------
    TypeError
        If a synchronized norm is of a subclass.
    """

    def kind(name: str, norm: nn.Module) -> type[nn.Module]:
        if not isinstance(norm, tuple(SYNCED)):
            return type(norm)
        theirs = _expect(norm, name, SYNCED) and BY_RANKS.get(input_ranks(norm))
        return OURS.get(theirs, BatchNorm)

    return with_kinds(model, kind)


def _expect(norm: nn.Module, name: str, kinds: set[type]) -> bool:
    if type(norm) not in kinds:
        raise TypeError(
            "expected batch norms that do nothing but normalize "
            f"(got {type(norm).__name__} {name!r})"
        )
    return True

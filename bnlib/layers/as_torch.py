"""To torch.nn's own norms and back: for what goes by the name of a class."""

from collections.abc import Callable

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from .batch_norm import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BatchNormBase,
)
from .copying import copied
from .kinds import input_ranks, is_batch_norm, only_normalizes

__all__ = ["as_torch", "from_torch"]

OURS = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}
OF_THEIR_OWN = (
    *("dimensions", "process_group", "agreed"),
    *("size", "r_max", "d_max"),
)
BY_RANKS = {ours.dimensions: theirs for theirs, ours in OURS.items()}


def as_torch(model: nn.Module, plain: type[nn.Module] | None = None) -> nn.Module:
    """A copy of a model with torch.nn's batch norms in the place of ours.

    The tracer of torch.fx, the tables of torch.ao.quantization and TorchScript
    know torch.nn's layers, and no subclass of them. Parameters, buffers, modes
    and hooks stay as they are.

    Parameters
    ----------
    model : nn.Module
        It may be a batch norm itself.
    plain : class
        What a norm for input of any rank becomes, as `BatchNorm`: torch.nn has
        none, so say ``nn.BatchNorm1d``, ``2d`` or ``3d``.

    Raises
    ------
    TypeError
        If a norm does more than torch.nn's: masked ones, and subclasses with a
        forward of their own, always; others, as frozen and guarded ones,
        `GhostBatchNorm` and `BatchRenorm`, in training mode. In eval mode they
        only normalize; once copied, they train as torch.nn's. And if there is a
        norm for any rank and `plain` is not given.

    Notes
    -----
    Numbers become torch.nn's too: what it rounds otherwise, it rounds otherwise.
    To be called before ``torch.jit.script``, not after: a scripted or traced
    module shows no classes, and no norm is found in it.
    """
    return with_kinds(model, lambda name, norm: _theirs(name, norm, plain))


def from_torch(model: nn.Module) -> nn.Module:
    """A copy of a model with our batch norms in the place of torch.nn's.

    Parameters, buffers, modes and hooks stay; ours stay as they are.

    Raises
    ------
    TypeError
        If a norm is of another class than ``nn.BatchNorm1d``, ``2d`` or ``3d``: a
        subclass, or a norm that is synchronized or lazy.
    """
    return with_kinds(model, _ours)


def with_kinds(model: nn.Module, kind: Callable) -> nn.Module:
    """A copy of a model, each norm of the class that `kind` says."""
    norms = [(n, m) for n, m in model.named_modules() if is_batch_norm(m)]
    kinds = {name: kind(name, norm) for name, norm in norms}
    model = copied(model)
    for name, norm in norms:
        if kinds[name] is not type(norm):
            # Both keep the same things under the same names, so that only the
            # class changes: hooks, and a norm in two places, come along.
            norm = model.get_submodule(name)
            for name_of_its_own in OF_THEIR_OWN:
                vars(norm).pop(name_of_its_own, None)
            norm.__class__ = kinds[name]
    return model


def _theirs(name: str, norm: nn.Module, plain: type | None) -> type[nn.Module]:
    kind, where = type(norm), f"{type(norm).__name__} {name!r}"
    if not isinstance(norm, BatchNormBase):
        return kind
    known = kind is BatchNorm or kind in THEIRS
    if is_parametrized(norm) or not (known or only_normalizes(norm)):
        raise TypeError(
            f"expected batch norms that do nothing but normalize (got {where})"
        )
    if norm.training and not known:
        raise TypeError(
            "expected norms that train as torch.nn's do, or a model in eval mode "
            f"(got {where} in training mode): call eval() first"
        )
    theirs = BY_RANKS.get(input_ranks(norm), plain)
    if theirs is None:
        raise TypeError(
            f"expected a class of torch.nn, as plain, for a norm of any rank "
            f"(got none for {where})"
        )
    return theirs


def _ours(name: str, norm: nn.Module) -> type[nn.Module]:
    kind = type(norm)
    if isinstance(norm, BatchNormBase):
        return kind
    if kind not in OURS:
        raise TypeError(
            "expected torch.nn's BatchNorm1d, 2d or 3d "
            f"(got {kind.__name__} {name!r})"
        )
    return OURS[kind]

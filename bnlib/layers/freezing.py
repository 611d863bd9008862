"""Freezing: fixed batch norms in the place of those that a model has."""

from torch import nn

from .copying import copied
from .frozen import FrozenBatchNorm
from .kinds import input_ranks, is_batch_norm, only_normalizes

__all__ = ["freeze"]


def freeze(model: nn.Module) -> nn.Module:
    """Put a `FrozenBatchNorm` in the place of every batch norm of a model.

    Parameters
    ----------
    model : nn.Module
        It may be a batch norm itself. Its norms may be ours or torch.nn's.

    Returns
    -------
    nn.Module
        A copy, with parameters of its own: make the optimizer after freezing. Its
        state dict has the same keys and values, and every module the mode that it
        had. Hooks on the norms themselves are left behind. The argument stays as
        it is.

    Raises
    ------
    ValueError
        If a batch norm has no running statistics to freeze.
    TypeError
        If a batch norm is of a class that may do more than normalize, or its
        weight or bias is computed from other parameters.

    Notes
    -----
    Norms are looked for among the submodules, under all of their names. One that
    the forward reaches in another way too, as by a plain list, is there the one
    that it was, not frozen. A scripted or traced module shows no classes, and no
    norm is found in it.
    """
    model = copied(model)
    modules = list(model.named_modules(remove_duplicate=False))
    # keyed by module: one that stands in two places is replaced by one
    frozen = {m: _frozen(name, m) for name, m in modules if is_batch_norm(m)}
    for name, module in modules:
        if name and module in frozen:
            model.set_submodule(name, frozen[module])
    return frozen.get(model, model)


def _frozen(name: str, norm: nn.Module) -> FrozenBatchNorm:
    """A frozen norm around the very parameters and buffers of another."""
    where = f"{type(norm).__name__} {name!r}"
    if not only_normalizes(norm):
        raise TypeError(
            f"expected batch norms that do nothing but normalize (got {where})"
        )
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            "expected batch norms with running statistics "
            f"(got {where}, which has none)"
        )
    for name in ("weight", "bias"):
        if not isinstance(getattr(norm, name), nn.Parameter | None):
            raise TypeError(
                "expected batch norms with parameters of their own "
                f"(got {where}, whose {name} is computed): make it permanent "
                "first, by prune.remove or parametrize.remove_parametrizations"
            )
    affine = norm.weight is not None
    # its own tensors are replaced at once: on the meta device they cost nothing
    frozen = FrozenBatchNorm(
        norm.num_features, norm.eps, norm.momentum, affine, device="meta"
    )
    frozen.dimensions = input_ranks(norm)
    frozen.weight, frozen.bias = norm.weight, norm.bias
    frozen.running_mean, frozen.running_var = norm.running_mean, norm.running_var
    frozen.num_batches_tracked = norm.num_batches_tracked
    frozen.training = norm.training
    return frozen

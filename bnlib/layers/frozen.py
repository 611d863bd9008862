"""A frozen batch norm: its statistics stay as they are, whatever the mode."""

import copy

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batch_norm import BatchNorm

__all__ = ["FrozenBatchNorm", "freeze"]

DIMENSIONS = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}


class FrozenBatchNorm(BatchNorm):
    """A `BatchNorm` that normalizes with the statistics it has, and keeps no others, in both modes.

    ``train()`` changes nothing: no example looks at another, and one value per channel is enough.
    Gradients flow to the input and to whichever parameters require them; ``requires_grad_(False)``
    freezes those too.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        As in `BatchNorm`, whose state dict it has, and so torch.nn's. `momentum` is not used, and
        `track_running_stats` must stay True.

    Raises
    ------
    ValueError
        On forward: if there are no running statistics, or the input has the wrong number of dimensions.
    RuntimeError
        On forward: if the input has another number of channels than `num_features`.

    Notes
    -----
    Source: He, Zhang, Ren & Sun 2016, appendix A, who fine-tune detectors with fixed batch norms.
    """

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kept mean and variance (C,), in training too."""
        if self.running_mean is None or self.running_var is None:
            raise ValueError("expected a frozen batch norm with running statistics (got none)")
        return self.running_mean, self.running_var


FORWARDS = (BatchNorm.forward, _BatchNorm.forward, nn.SyncBatchNorm.forward)
STATISTICS = (None, BatchNorm.statistics, FrozenBatchNorm.statistics)  # torch.nn's has no such method


def only_normalizes(norm: nn.Module) -> bool:
    """Whether a batch norm is of a class that adds nothing, such as an activation, to what a batch norm does.

    Parameters
    ----------
    norm : BatchNorm, ours or torch.nn's

    Returns
    -------
    bool
    """
    return type(norm).forward in FORWARDS and getattr(type(norm), "statistics", None) in STATISTICS


def freeze(model: nn.Module) -> nn.Module:
    """Put a `FrozenBatchNorm` in the place of every batch norm, ours or torch.nn's.

    Parameters
    ----------
    model : nn.Module
        It may be a batch norm itself. In any mode.

    Returns
    -------
    nn.Module
        A copy, with parameters of its own: make the optimizer after freezing. Its state dict has the same
        keys and values, and every module the mode that it had. Hooks on the norms themselves are left
        behind. The argument stays as it is.

    Raises
    ------
    ValueError
        If a batch norm has no running statistics to keep.
    TypeError
        If a batch norm is of a class with a forward of its own, which may do more than normalize.
    """
    copied = copy.deepcopy(model)
    modules = list(copied.named_modules(remove_duplicate=False))
    # keyed by module: one that stands in two places is replaced by one
    frozen = {m: _frozen(name, m) for name, m in modules if isinstance(m, BatchNorm | _BatchNorm)}
    for name, module in modules:
        if name and module in frozen:
            copied.set_submodule(name, frozen[module])
    return frozen.get(copied, copied)


def _frozen(name: str, norm: nn.Module) -> FrozenBatchNorm:
    """A frozen norm around the very parameters and buffers of another."""
    where = f"{type(norm).__name__} {name!r}"
    if not only_normalizes(norm):
        raise TypeError(f"expected batch norms that do nothing but normalize (got {where})")
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"expected batch norms with running statistics (got {where}, which has none)")
    affine = norm.weight is not None
    frozen = FrozenBatchNorm(norm.num_features, norm.eps, norm.momentum, affine, device="meta")
    theirs = next((dimensions for kind, dimensions in DIMENSIONS.items() if isinstance(norm, kind)), None)
    frozen.dimensions = getattr(norm, "dimensions", theirs)
    frozen.weight, frozen.bias = norm.weight, norm.bias
    frozen.running_mean, frozen.running_var = norm.running_mean, norm.running_var
    frozen.num_batches_tracked = norm.num_batches_tracked
    frozen.training = norm.training
    return frozen

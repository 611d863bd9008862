"""Gradient checkpointing runs a forward twice; the running statistics are to move once."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch.utils.checkpoint
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from .batch_norm import BatchNorm

__all__ = ["checkpoint", "hold_statistics"]


def checkpoint(module: nn.Module, *inputs, **keywords):
    """A module's output, whose activations are computed again in the backward pass instead of stored.

    Plain checkpointing lets every batch norm see, and count, each batch twice. Here the second forward
    normalizes as the first did, and leaves the running statistics alone.

    Parameters
    ----------
    module : nn.Module
        Its batch norms may be ours or torch.nn's.
    *inputs, **keywords
        Of its forward.

    Returns
    -------
    What ``module(*inputs, **keywords)`` returns.

    Notes
    -----
    Source: Chen, Xu, Zhang & Guestrin 2016, "Training deep nets with sublinear memory cost". Here by
    ``torch.utils.checkpoint`` without reentrance, which lets each of the two forwards have a context.
    """

    def contexts():
        return nullcontext(), _Held(module)

    return torch.utils.checkpoint.checkpoint(
        module, *inputs, use_reentrant=False, context_fn=contexts, **keywords
    )


@contextmanager
def hold_statistics(model: nn.Module) -> Iterator[None]:
    """Let no forward inside the block move a running statistic.

    In training, batch norms go on normalizing with the batch's statistics: unlike ``eval()``, this
    changes no output.

    Parameters
    ----------
    model : nn.Module
        It may be a norm itself. Its norms may be ours or torch.nn's, instance norms too.

    Yields
    ------
    Nothing.
    """
    norms = [m for m in model.modules() if isinstance(m, BatchNorm | _NormBase)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    try:
        # Copies move instead. Switching the tracking off would do for our norms; torch.nn's save their
        # buffers for the backward pass, and a checkpoint insists that both forwards save the same.
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


class _Held:
    """`hold_statistics`, to be entered any number of times: a second backward pass takes a third forward."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.entered = []

    def __enter__(self) -> None:
        self.entered.append(hold_statistics(self.model))
        self.entered[-1].__enter__()

    def __exit__(self, *error) -> None:
        self.entered.pop().__exit__(*error)

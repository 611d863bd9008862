"""Checkpointing runs a forward twice; the running statistics are to move once."""

from contextlib import nullcontext

import torch.utils.checkpoint
from torch import nn

from .kinds import may_move_buffers

__all__ = ["checkpoint", "hold_statistics"]


def checkpoint(
    module: nn.Module, *inputs, use_reentrant: bool = False, **keywords
):
    """A module's output, with activations computed again in the backward pass.

    Plain checkpointing lets every batch norm see, and count, each batch twice.
    Here the second forward normalizes as the first did, and leaves the running
    statistics alone.

    Parameters
    ----------
    module : nn.Module
        Its batch norms may be ours or torch.nn's.
    *inputs
        Of its forward.
    use_reentrant : bool
        False, which torch asks to be written out.
    **keywords
        `preserve_rng_state`, `determinism_check`, `debug` and `early_stop` go to
        ``torch.utils.checkpoint.checkpoint``; all others to the forward.

    Returns
    -------
    What the module returns.

    Raises
    ------
    TypeError
        If `module` is not a module, as a function or a method: its norms are not
        known.
    ValueError
        If `use_reentrant` is not False, or if there is a `context_fn`.

    Notes
    -----
    Source: Chen, Xu, Zhang & Guestrin 2016, "Training deep nets with sublinear
    memory cost". Here by ``torch.utils.checkpoint`` without reentrance, which
    lets each of the two forwards have a context.

    Inside ``torch.compile`` it breaks the graph, and ``fullgraph`` is refused:
    the module runs as it is written, and what is around it is compiled. As at
    every break, torch reads the `grad` of tensors that cross it and warns itself
    of that, which stops the program where warnings are errors.
    """
    if torch.compiler.is_dynamo_compiling():
        # dynamo knows no such contexts; a decorator would load it at import
        as_written = torch.compiler.disable(checkpoint)
        return as_written(
            module, *inputs, use_reentrant=use_reentrant, **keywords
        )
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"expected an nn.Module (got {type(module).__name__}), to find its "
            "norms: make it one, or call torch.utils.checkpoint.checkpoint with "
            "context_fn=lambda: (nullcontext(), hold_statistics(model))"
        )
    if use_reentrant is not False:
        raise ValueError(
            f"expected use_reentrant=False (got {use_reentrant!r}): only without "
            "reentrance is the second forward known to be the second"
        )
    if "context_fn" in keywords:
        raise ValueError(
            "expected no context_fn (got one): the second forward's is "
            "hold_statistics(module); to have another too, put both in one and "
            "call torch.utils.checkpoint.checkpoint"
        )

    def contexts():
        return nullcontext(), hold_statistics(module)

    return torch.utils.checkpoint.checkpoint(
        module, *inputs, use_reentrant=False, context_fn=contexts, **keywords
    )


class hold_statistics:  # noqa: N801, used like a function, as contextlib's suppress
    """Let no forward inside the ``with`` block move a running statistic.

    In training, batch norms go on normalizing with the batch's statistics: unlike
    ``eval()``, this changes no output. It can be entered again, also from within:
    a second backward pass through a checkpoint takes a third forward.

    Parameters
    ----------
    model : nn.Module
        It may be a norm itself. Its norms may be ours or torch.nn's, instance
        norms too.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.aside = []  # a list of (norm, name, buffer, copy) for each entry

    def __enter__(self) -> None:
        # Copies move instead. Switching the tracking off would do for our norms;
        # torch.nn's save their buffers for the backward pass, and a checkpoint
        # insists that both forwards save the same.
        norms = filter(may_move_buffers, self.model.modules())
        own = [
            (norm, name, buffer, buffer.clone())
            for norm in norms
            for name, buffer in norm.named_buffers(recurse=False)
        ]
        self.aside.append(own)
        for norm, name, _, copied in own:
            setattr(norm, name, copied)

    def __exit__(self, *error) -> None:
        for norm, name, buffer, _ in self.aside.pop():
            setattr(norm, name, buffer)

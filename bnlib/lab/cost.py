"""What a call costs, counted and not timed: bytes moved, and bytes kept for the backward pass."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Operation", "kept_for_backward", "operations"]


class Operation(NamedTuple):
    """One pass over data, as torch takes it.

    Attributes
    ----------
    name : str
        Torch's own, such as "mul".
    read : int
        Bytes of the tensors that go in, each counted once.
    written : int
        Bytes of the tensors that come out.
    """

    name: str
    read: int
    written: int


def operations(call: Callable[[], object]) -> list[Operation]:
    """Every operation of a call that moves data, in order: a backward pass in it included.

    What a fused operation does inside is not seen: it is one operation, however often it goes over its input.
    Views, which move nothing, and memory that is only set aside are left out.
    """
    counter = _Counter()
    with counter:
        call()
    return counter.found


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Operation] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (func.is_view or "empty" in name or name in ("detach", "_unsafe_view")):
            like = name.startswith("new_") or name.endswith("_like")  # a tensor in only lends its shape
            operation = Operation(name, 0 if like else _bytes((args, kwargs)), _bytes(out))
            if operation.read or operation.written:
                self.found.append(operation)
        return out


def _bytes(tree: object) -> int:
    """Of all tensors in it, each once; of one that was expanded, those that are there."""
    tensors = {id(leaf): leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}
    return sum(min(t.numel() * t.itemsize, t.untyped_storage().nbytes()) for t in tensors.values())


def kept_for_backward(call: Callable[[], object], beside: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps of a call until its backward pass.

    Parameters
    ----------
    call : callable
        () -> its output, whose graph is not yet freed.
    beside : iterable of Tensor
        Not counted, such as a module's parameters and buffers: they lie in memory in any case. The input
        counts if it is kept.

    Returns
    -------
    int
        What is kept twice, or as a view of something kept, is counted once.
    """
    kept = {}

    def keep(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no address comes back as another's
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        output = call()
    for tensor in beside:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    del output
    return sum(storage.nbytes() for storage in kept.values())

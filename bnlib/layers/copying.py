"""Copying a model, also one whose hooks compute a weight before each forward."""

import copy

from torch import Tensor, nn

__all__ = ["copied"]


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; a weight that a hook computes is a plain value in it.

    Such a weight (``torch.nn.utils.weight_norm``, ``spectral_norm`` and ``prune``
    leave one) hangs on the graph that computed it, and torch copies no graph.
    """
    held = [v for module in model.modules() for v in vars(module).values()]
    computed = [v for v in held if isinstance(v, Tensor) and not v.is_leaf]
    return copy.deepcopy(model, {id(v): v.detach().clone() for v in computed})

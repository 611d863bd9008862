"""Folding: at inference a batch norm disappears into the layer before it."""

import copy
from collections import Counter

import torch
from torch import nn
from torch.fx import Tracer

from .copying import copied
from .functional import at_least_float32
from .kinds import is_batch_norm, only_normalizes

__all__ = ["fold_model", "fold_pair"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold_pair(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """One layer that does what a layer and the batch norm after it do in eval.

    Parameters
    ----------
    layer : Linear, Conv1d, Conv2d or Conv3d
    norm : batch norm, ours or torch.nn's
        In eval mode, with running statistics, applied straight to the layer's
        output. For a Linear the channels are its outputs, so its input is (N,
        inputs).

    Returns
    -------
    nn.Module
        A new layer of the same type, with a bias; both arguments stay as they
        are.

    Raises
    ------
    TypeError
        If either is of another type, or the norm of a class that does more than
        normalize.
    ValueError
        If the norm is in training mode, has no running statistics, or has other
        channels than the layer has outputs; or if a forward hook is on either.

    Notes
    -----
    Source: Ioffe & Szegedy 2015, Algorithm 2, line 11, put into Wu + b.
    """
    obstacle = _obstacle(layer, norm)
    if obstacle is not None:
        raise obstacle
    if norm.training:
        raise ValueError(
            "expected a batch norm in eval mode (got training mode): "
            "call eval() first"
        )
    with torch.no_grad():
        folded = copy.deepcopy(layer)
        mean = at_least_float32(norm.running_mean)  # (C,)
        var = at_least_float32(norm.running_var)  # (C,)
        slope = 1 / torch.sqrt(var + norm.eps)  # (C,)
        slope = slope if norm.weight is None else norm.weight * slope
        spatial = (1,) * (layer.weight.dim() - 1)
        rows = slope.reshape(-1, *spatial)  # (C, 1, ..., 1)
        off_center = -mean if layer.bias is None else layer.bias - mean
        bias = slope * off_center
        bias = bias if norm.bias is None else bias + norm.bias
        folded.weight.copy_(rows * layer.weight)
        folded.bias = nn.Parameter(bias.to(layer.weight.dtype))
        folded.bias.requires_grad_(layer.weight.requires_grad)
    return folded


def _obstacle(layer: nn.Module, norm: nn.Module) -> Exception | None:
    """Why a pair would not fold, even in eval mode."""
    # a subclass may compute something else, or its weight from others
    if type(layer) not in LAYERS:
        kind = type(layer).__name__
        return TypeError(
            f"expected a Linear or Conv layer to fold into (got {kind})"
        )
    kind = type(norm).__name__
    if not is_batch_norm(norm):
        return TypeError(f"expected a batch norm to fold (got {kind})")
    if not only_normalizes(norm):
        return TypeError(
            f"expected a batch norm that does nothing else (got {kind})"
        )
    if _hooked(layer) or _hooked(norm):
        return ValueError(
            "expected a layer and a batch norm without hooks (got some): "
            "they are not folded"
        )
    if norm.running_mean is None:
        return ValueError(
            "expected a batch norm with running statistics "
            "(got track_running_stats=False)"
        )
    outputs, channels = len(layer.weight), len(norm.running_mean)
    if channels != outputs:
        return ValueError(
            f"expected {outputs} channels, one per output (got {channels})"
        )
    return None


def fold_model(model: nn.Module) -> nn.Module:
    """Fold every batch norm that directly follows a linear or convolution layer.

    The data flow is read by tracing, not from the order of the children: a pair
    is folded only if the layer's output goes to the batch norm and nowhere else,
    each of the two is called once and has no hooks, and the forward does not
    reach into their parameters.

    Parameters
    ----------
    model : nn.Module
        In eval mode. Its forward must not branch on the data, and a Linear before
        a batch norm must get (N, inputs), as in `fold_pair`: tracing sees no
        shapes.

    Returns
    -------
    nn.Module
        A copy, of the same class, with folded layers and an `nn.Identity` in
        place of each folded norm. Other norms stay. The argument stays as it is.

    Raises
    ------
    ValueError
        If the model is in training mode, or cannot be traced: one already
        scripted, compiled or wrapped for several processes; fold what is in it.

    Notes
    -----
    Modules are replaced among the submodules, under all of their names. What the
    forward reaches in another way, as by a plain list, runs on, unfolded, with
    the same result.
    """
    if model.training:
        raise ValueError(
            "expected a model in eval mode (got training mode): call eval() first"
        )
    folded = copied(model)
    for layer_name, norm_name in _pairs(folded):
        layer = folded.get_submodule(layer_name)
        norm = folded.get_submodule(norm_name)
        _replace(folded, layer, fold_pair(layer, norm))
        _replace(folded, norm, nn.Identity().eval())
    return folded


def _hooked(module: nn.Module) -> bool:
    """Whether a hook may change input, output or, as prune's do, the weight."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, under every name that it has."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            model.set_submodule(name, new)


class _Tracer(Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_batch_norm(m) or super().is_leaf_module(
            m, module_qualified_name
        )


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """The names of every layer and norm that fold."""
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        raise ValueError(
            f"expected a model whose data flow can be traced (got {error})"
        ) from error
    nodes = graph.nodes
    calls = [node for node in nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    reached_into = {
        n.target.rpartition(".")[0] for n in nodes if n.op == "get_attr"
    }
    pairs = []
    for node in calls:
        # called with its input alone; a masked norm is another function
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if before not in calls or len(before.users) > 1:
            continue
        names = before.target, node.target
        once = times[before.target] + times[node.target] == 2
        if once and not reached_into.intersection(names):
            layer, norm = map(model.get_submodule, names)
            if _obstacle(layer, norm) is None:
                pairs.append(names)
    return pairs

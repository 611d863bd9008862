"""What rounding the weights to a few bits does to a network."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

__all__ = ["quantized", "quantized_weight"]


@torch.no_grad()
def quantized_weight(
    weight: Tensor,
    bits: int = 8,
    per_channel: bool = False,
) -> Tensor:
    """A weight rounded to whole steps, 2^bits - 1 of them evenly about zero, and scaled back.

    Parameters
    ----------
    weight : (C_out, ...)
    bits : int
        2 to 8.
    per_channel : bool
        Whether each output has a step of its own. Otherwise one step serves them all.

    Raises
    ------
    ValueError
        If there are too few or too many bits.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"expected 2 to 8 bits (got {bits})")
    n = 2 ** (bits - 1) - 1  # steps on either side of zero
    largest = weight.flatten(1).abs().amax(dim=1)  # (C_out,)
    if not per_channel:
        largest = largest.max()
    step = (largest / n).clamp(min=torch.finfo(weight.dtype).tiny)
    if not per_channel:
        step, zero = float(step), 0
        return torch.fake_quantize_per_tensor_affine(weight, step, zero, -n, n)
    zero = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, step, zero, 0, -n, n)


@torch.no_grad()
def quantized(model: nn.Module, bits: int = 8, per_channel: bool = False) -> nn.Module:
    """A copy whose linear layers and convolutions have weights of so few bits; all else is left as it is.

    Raises
    ------
    TypeError
        If there is a transposed convolution, whose outputs are not the weight's first axis.
    ValueError
        If there are too few or too many bits.
    """
    model = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, _ConvTransposeNd):
            raise TypeError(f"expected no transposed convolution (got {type(module).__name__} {name!r})")
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            module.weight.copy_(quantized_weight(module.weight, bits, per_channel))
    return model

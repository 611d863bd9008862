"""Images that move after training: the same digits, taken by another camera."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Split

__all__ = ["SHIFTS", "shifted"]


def turned(x: Tensor, degrees: float) -> Tensor:
    """Images (N, 1, H, W), each turned by an angle about its middle."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    where = F.affine_grid(turn.to(x.dtype).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, where, align_corners=False)


#: Name -> images (N, 1, H, W) and a generator -> images of the same shape, some pixels beyond 0 and 1.
SHIFTS = {
    "low contrast": lambda x, generator: 0.25 * x,
    "brightness": lambda x, generator: x + 0.5,
    "noise": lambda x, generator: x + 0.5 * torch.randn(x.shape, generator=generator, dtype=x.dtype),
    "inversion": lambda x, generator: 1 - x,
    "rotation": lambda x, generator: turned(x, 40),
}


def shifted(split: Split, name: str, seed: int = 0) -> Split:
    """The images of a split as another camera would take them; the labels are the same.

    Parameters
    ----------
    split : Split
        Images (N, 1, 28, 28).
    name : str
        One of `SHIFTS`.
    seed : int
        Of the noise.

    Raises
    ------
    KeyError
        If there is no such shift.
    ValueError
        If the images have another number of dimensions.
    """
    if split.images.dim() != 4:
        raise ValueError(f"expected images (N, 1, H, W) (got {tuple(split.images.shape)})")
    generator = torch.Generator().manual_seed(seed)
    return Split(SHIFTS[name](split.images, generator), split.labels)

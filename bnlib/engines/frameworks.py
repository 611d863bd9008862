"""Which frameworks there are, and which are here."""

from .base import FrameworkLayer
from .flax_layer import FlaxLayer
from .keras_layer import KerasLayer
from .onnx_layer import OnnxLayer
from .torch_layer import TorchLayer

__all__ = ["FRAMEWORKS", "installed"]

#: In the order of the book's table.
FRAMEWORKS = (TorchLayer, KerasLayer, FlaxLayer, OnnxLayer)


def installed() -> tuple[type[FrameworkLayer], ...]:
    """The frameworks that can run here: PyTorch, and those of requirements-frameworks.txt that are there."""
    return tuple(layer for layer in FRAMEWORKS if layer.is_here())

"""PyTorch, asked."""

import torch

from bnlib.reference import TORCH

from .base import FrameworkLayer

__all__ = ["TorchLayer"]


class TorchLayer(FrameworkLayer):
    """PyTorch's BatchNorm1d."""

    convention = TORCH
    packages = ("torch",)
    _name_of_eps = "eps"

    def _build(self, settings):
        dtype = getattr(torch, self.dtype)
        self._layer = torch.nn.BatchNorm1d(self.channels, dtype=dtype, **settings)

    def _call(self, x, training):
        with torch.no_grad():
            return self._layer.train(training)(torch.from_numpy(x)).numpy()

    def _get(self):
        return self._layer.running_mean.numpy(), self._layer.running_var.numpy()

    def _set(self, mean, var):
        self._layer.running_mean.copy_(torch.from_numpy(mean))
        self._layer.running_var.copy_(torch.from_numpy(var))

    def _names(self):
        return set(self._layer.state_dict()) - {"num_batches_tracked"}

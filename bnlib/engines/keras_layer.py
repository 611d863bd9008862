"""Keras, asked."""

import os
import sys

import torch

from bnlib.reference import KERAS

from .base import FrameworkLayer

__all__ = ["KerasLayer"]


class KerasLayer(FrameworkLayer):
    """Keras's BatchNormalization, on its PyTorch backend."""

    convention = KERAS
    packages = ("keras",)

    def _build(self, settings):
        norm = _keras_on_torch().layers.BatchNormalization
        self._layer = norm(axis=1, dtype=self.dtype, **settings)
        self._layer.build((None, self.channels, None))

    def _call(self, x, training):
        with torch.no_grad():
            return self._layer(torch.from_numpy(x), training=training).numpy()

    def _get(self):
        layer = self._layer
        return [
            v.value.detach().numpy()
            for v in (layer.moving_mean, layer.moving_variance)
        ]

    def _set(self, mean, var):
        self._layer.moving_mean.assign(mean)
        self._layer.moving_variance.assign(var)


def _keras_on_torch():
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.backend.backend() != "torch":
        raise RuntimeError(
            f"expected Keras on its torch backend (got {keras.backend.backend()}): "
            "set KERAS_BACKEND=torch before the first import of keras"
        )
    return keras

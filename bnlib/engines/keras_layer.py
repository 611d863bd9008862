"""Keras, asked."""

import os
import sys
from dataclasses import replace

import torch

from bnlib.reference import KERAS, KERAS_FUSED

from .base import FrameworkLayer

__all__ = ["Keras2FusedLayer", "Keras2Layer", "KerasLayer"]


class KerasLayer(FrameworkLayer):
    """Keras's BatchNormalization, on its PyTorch backend."""

    convention = KERAS
    packages = ("keras",)
    _can_be_told_the_axis = True

    def _build(self, settings):
        norm = self._keras().layers.BatchNormalization
        self._layer = norm(dtype=self.dtype, **settings)
        self._layer.build(self._input_shape())

    def _keras(self):
        return _keras_on_torch()

    def _input_shape(self):
        # the last axis is there for a layer that was not told to look at the other
        return None, self.channels, self.channels

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

    def _names(self):
        return {v.name for v in self._layer.weights}


class Keras2Layer(KerasLayer):
    """The BatchNormalization of Keras 2, on TensorFlow, given inputs of three axes: its plain kernel."""

    convention = replace(KERAS, name="Keras 2, plain")
    packages = ("tf_keras",)

    def _keras(self):
        return _keras_2()

    def _call(self, x, training):
        return self._layer(x, training=training).numpy()

    def _get(self):
        layer = self._layer
        return layer.moving_mean.numpy(), layer.moving_variance.numpy()

    def _names(self):
        paths = (v.name for v in self._layer.weights)
        return {path.rpartition("/")[2].partition(":")[0] for path in paths}


class Keras2FusedLayer(Keras2Layer):
    """The same layer, given float32 images with channels last: TensorFlow's fused kernel."""

    convention = KERAS_FUSED
    _can_be_told_the_axis = False

    def _build(self, settings):
        self.dtype = "float32"  # in float64 the layer takes the plain kernel
        super()._build(settings)

    def _input_shape(self):
        return None, None, 1, self.channels

    def _call(self, x, training):
        # (N, C, L) -> (N, L, 1, C)
        images = x.astype("float32").transpose(0, 2, 1)[:, :, None]
        return super()._call(images, training)[:, :, 0].transpose(0, 2, 1)


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


def _keras_2():
    # TensorFlow greets; of what it says only errors count here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tf_keras

    return tf_keras

"""Flax, asked."""

from typing import ClassVar

import numpy as np

from bnlib.reference import FLAX

from .base import FrameworkLayer

__all__ = ["FlaxLayer", "FlaxStableLayer"]


class FlaxLayer(FrameworkLayer):
    """Flax's nnx.BatchNorm, which by default computes the variance as E[x^2] - E[x]^2."""

    convention = FLAX
    packages = ("flax", "jax")
    fast_variance: ClassVar[bool] = True
    _can_be_told_the_axis = True

    def _build(self, settings):
        import jax
        from flax import nnx

        self._wide = lambda: jax.enable_x64(self.dtype == "float64")
        with self._wide():
            self._layer = nnx.BatchNorm(
                self.channels,
                use_fast_variance=self.fast_variance,
                param_dtype=self.dtype,
                rngs=nnx.Rngs(0),
                **settings,
            )
            # The statistics are float32, whatever param_dtype says.
            for name in ("mean", "var"):
                value = getattr(self._layer, name)[...].astype(self.dtype)
                setattr(self._layer, name, nnx.BatchStat(value))

    def _call(self, x, training):
        import jax.numpy as jnp

        with self._wide():
            y = self._layer(jnp.asarray(x), use_running_average=not training)
            return np.asarray(y)

    def _get(self):
        return self._layer.mean[...], self._layer.var[...]

    def _set(self, mean, var):
        with self._wide():
            self._layer.mean[...] = mean
            self._layer.var[...] = var

    def _names(self):
        from flax import nnx

        return set(nnx.state(self._layer))


class FlaxStableLayer(FlaxLayer):
    """Flax's layer with `use_fast_variance=False`."""

    fast_variance = False

"""Batch normalization as each installed framework does it: one small layer apiece, and questions to it."""

import importlib.util
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bnlib.reference import FLAX, KERAS, ONNX, TORCH, Convention, Population, batch_statistics, normalize

__all__ = [
    "FRAMEWORKS",
    "FlaxLayer",
    "FlaxStableLayer",
    "FrameworkLayer",
    "KerasLayer",
    "OnnxLayer",
    "TorchLayer",
    "computes_in",
    "default_eps",
    "default_momentum",
    "installed",
    "kept_variance",
    "moves_at_inference",
    "normalizing_variance",
    "of_one_value",
    "output_errors",
    "starting_statistics",
    "weighs_by_size",
    "what_momentum_weighs",
]


class FrameworkLayer(ABC):
    """One framework's own layer, fresh, behind methods that take and give NumPy arrays.

    Parameters
    ----------
    channels : int
    momentum, eps : float, optional
        As the framework writes them; its own defaults if not given.
    dtype : {"float64", "float32"}
        Of what goes in and of the state. What it computes in is for `computes_in` to find out.
    """

    #: What the framework is expected to do.
    convention: ClassVar[Convention]
    #: What has to be installed.
    packages: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        channels: int,
        *,
        momentum: float | None = None,
        eps: float | None = None,
        dtype: str = "float64",
    ) -> None:
        self.channels, self.dtype = channels, dtype
        given = {"momentum": momentum, "eps" if self.convention is TORCH else "epsilon": eps}
        self._build({name: value for name, value in given.items() if value is not None})

    def train(self, x: ArrayLike) -> NDArray:
        """Normalize (N, C, *spatial) with its own statistics, and move the kept ones."""
        return self._flat(x, training=True)

    def infer(self, x: ArrayLike) -> NDArray:
        """Normalize (N, C, *spatial) with the kept statistics."""
        return self._flat(x, training=False)

    def statistics(self) -> Population:
        """The kept mean and variance, each of shape (C,)."""
        return Population(*(np.array(vector) for vector in self._get()))

    def load(self, statistics: Population) -> None:
        """Put a mean and a variance, each of shape (C,), in the place of the kept ones."""
        self._set(*(np.asarray(vector, dtype=self.dtype) for vector in statistics))

    @classmethod
    def versions(cls) -> str:
        """The packages that run, such as ``"flax 0.12.8, jax 0.10.2"``."""
        return ", ".join(f"{package} {version(package).partition('+')[0]}" for package in cls.packages)

    def _flat(self, x, training):
        # All positions on one axis: the statistics are the same, and no layer asks for the rank.
        x = np.asarray(x, dtype=self.dtype)
        return np.asarray(self._call(x.reshape(*x.shape[:2], -1), training)).reshape(x.shape)

    @abstractmethod
    def _build(self, settings): ...

    @abstractmethod
    def _call(self, x, training): ...

    @abstractmethod
    def _get(self): ...

    @abstractmethod
    def _set(self, mean, var): ...


class TorchLayer(FrameworkLayer):
    """PyTorch's BatchNorm1d."""

    convention = TORCH
    packages = ("torch",)

    def _build(self, settings):
        self._layer = torch.nn.BatchNorm1d(self.channels, dtype=getattr(torch, self.dtype), **settings)

    def _call(self, x, training):
        with torch.no_grad():
            return self._layer.train(training)(torch.from_numpy(x)).numpy()

    def _get(self):
        return self._layer.running_mean.numpy(), self._layer.running_var.numpy()

    def _set(self, mean, var):
        self._layer.running_mean.copy_(torch.from_numpy(mean))
        self._layer.running_var.copy_(torch.from_numpy(var))


class KerasLayer(FrameworkLayer):
    """Keras's BatchNormalization, on its PyTorch backend."""

    convention = KERAS
    packages = ("keras",)

    def _build(self, settings):
        keras = _keras_on_torch()
        self._layer = keras.layers.BatchNormalization(axis=1, dtype=self.dtype, **settings)
        self._layer.build((None, self.channels, None))

    def _call(self, x, training):
        with torch.no_grad():
            return self._layer(torch.from_numpy(x), training=training).numpy()

    def _get(self):
        kept = (self._layer.moving_mean, self._layer.moving_variance)
        return [variable.value.detach().numpy() for variable in kept]

    def _set(self, mean, var):
        self._layer.moving_mean.assign(mean)
        self._layer.moving_variance.assign(var)


class FlaxLayer(FrameworkLayer):
    """Flax's nnx.BatchNorm, which by default computes the variance as E[x^2] - E[x]^2."""

    convention = FLAX
    packages = ("flax", "jax")
    fast_variance: ClassVar[bool] = True

    def _build(self, settings):
        import jax
        from flax import nnx

        self._wide = lambda: jax.enable_x64(self.dtype == "float64")
        with self._wide():
            self._layer = nnx.BatchNorm(
                self.channels,
                axis=1,
                use_fast_variance=self.fast_variance,
                param_dtype=self.dtype,
                rngs=nnx.Rngs(0),
                **settings,
            )
            # The statistics are float32, whatever param_dtype says.
            for name in ("mean", "var"):
                setattr(self._layer, name, nnx.BatchStat(getattr(self._layer, name)[...].astype(self.dtype)))

    def _call(self, x, training):
        import jax.numpy as jnp

        with self._wide():
            return np.asarray(self._layer(jnp.asarray(x), use_running_average=not training))

    def _get(self):
        return self._layer.mean[...], self._layer.var[...]

    def _set(self, mean, var):
        with self._wide():
            self._layer.mean[...] = mean
            self._layer.var[...] = var


class FlaxStableLayer(FlaxLayer):
    """Flax's layer with `use_fast_variance=False`."""

    fast_variance = False


class OnnxLayer(FrameworkLayer):
    """ONNX's BatchNormalization, opset 15, in the reference evaluator; the kept statistics go in and out."""

    convention = ONNX
    packages = ("onnx",)

    def _build(self, settings):
        self._settings = settings
        ones = np.ones(self.channels, self.dtype)
        # An operator has no state of its own; these zeros and ones are this class's choice.
        self._vectors = {"scale": ones, "B": 0 * ones, "input_mean": 0 * ones, "input_var": ones}

    def _call(self, x, training):
        outputs = self._run(x, training)
        if training:
            self._vectors["input_mean"], self._vectors["input_var"] = outputs[1:]
        return outputs[0]

    def _run(self, x, training):
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        outputs = ["Y", "running_mean", "running_var"] if training else ["Y"]
        node = helper.make_node(
            "BatchNormalization",
            ["X", *self._vectors],
            outputs,
            training_mode=int(training),
            **self._settings,
        )
        kind = TensorProto.DOUBLE if self.dtype == "float64" else TensorProto.FLOAT
        inputs, outputs = (
            [helper.make_tensor_value_info(name, kind, None) for name in names]
            for names in (node.input, node.output)
        )
        graph = helper.make_graph([node], "batch_norm", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
        return ReferenceEvaluator(model).run(None, {"X": x, **self._vectors})

    def _get(self):
        return self._vectors["input_mean"], self._vectors["input_var"]

    def _set(self, mean, var):
        self._vectors |= {"input_mean": mean, "input_var": var}


#: In the order of the book's table.
FRAMEWORKS = (TorchLayer, KerasLayer, FlaxLayer, OnnxLayer)


def installed() -> tuple[type[FrameworkLayer], ...]:
    """The frameworks that can run here: PyTorch, and those of requirements-frameworks.txt that are there.

    Returns
    -------
    tuple of subclasses of FrameworkLayer
    """
    return tuple(
        layer
        for layer in FRAMEWORKS
        if all(importlib.util.find_spec(package) is not None for package in layer.packages)
    )


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


#: Three values, so that the two variances differ by a factor of 1.5: mean 3, variance 14/3 or 7.
_THREE = np.array([[1.0], [2.0], [6.0]])


def _which(value: float, biased: float, unbiased: float) -> str:
    for name, expected in (("biased", biased), ("unbiased", unbiased)):
        if np.isclose(value, expected, rtol=1e-5):
            return name
    return f"{value:.6g}"


def normalizing_variance(layer: type[FrameworkLayer]) -> str:
    """Which variance the training output is divided by, read off that output for three values.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    str
        "biased", "unbiased", or the number itself if it is neither.
    """
    y = layer(1, eps=1e-12).train(_THREE)
    return _which(((6 - 3) / y[2, 0]) ** 2, _THREE.var(), _THREE.var(ddof=1))


def kept_variance(layer: type[FrameworkLayer]) -> str:
    """Which variance moves the running one, read off one step of three values at momentum 1/2.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    str
        "biased", "unbiased", or the number itself if it is neither.
    """
    norm = layer(1, momentum=0.5)  # the same, whichever value it weighs
    start = norm.statistics().var[0]
    norm.train(_THREE)
    return _which(2 * norm.statistics().var[0] - start, _THREE.var(), _THREE.var(ddof=1))


def what_momentum_weighs(layer: type[FrameworkLayer]) -> str:
    """Whether momentum multiplies the new value or the old one, read off one step at momentum 1/4.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    {"new", "old"}
    """
    norm = layer(1, momentum=0.25)
    norm.load(Population(np.zeros(1), np.ones(1)))
    norm.train([[7.0], [9.0]])  # mean 8
    return {2.0: "new", 6.0: "old"}[float(norm.statistics().mean[0])]


def default_momentum(layer: type[FrameworkLayer]) -> float:
    """The momentum that a layer has if none is given, as its framework writes it, from one step.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    float
        To six digits.
    """
    norm = layer(1)
    norm.load(Population(np.zeros(1), np.ones(1)))
    norm.train([[0.0], [2.0]])  # mean 1
    weight = norm.statistics().mean[0]
    return round(float(weight if what_momentum_weighs(layer) == "new" else 1 - weight), 6)


def default_eps(layer: type[FrameworkLayer]) -> float:
    """The eps that a layer has if none is given, from the output of two values of variance 1e-6.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    float
        To six digits: var / y^2 - var.
    """
    d = 1e-3
    y = layer(1).train([[-d], [d]])[1, 0]
    return float(f"{d**2 / y**2 - d**2:.6g}")


def starting_statistics(layer: type[FrameworkLayer]) -> Population:
    """The statistics that a fresh layer normalizes with at inference, from its output for 0 and 1.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    Population
        Of one channel, to nine digits. Of `OnnxLayer` they say nothing: the operator takes them as inputs.
    """
    y = layer(1, eps=1e-12).infer([[0.0], [1.0]])[:, 0]
    std = 1 / (y[1] - y[0])
    return Population(np.round([-y[0] * std], 9) + 0.0, np.round([std**2], 9))


def of_one_value(layer: type[FrameworkLayer]) -> str:
    """What training makes of a batch with one value per channel.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    str
        "ValueError", or the output; the outputs, if they differ from value to value.
    """
    try:
        answers = {f"{layer(1).train([[value]])[0, 0]:g}" for value in (0.1, 5.0, 1e8)}
    except ValueError:
        return "ValueError"
    return " or ".join(sorted(answers))


def weighs_by_size(layer: type[FrameworkLayer]) -> bool:
    """Whether a larger batch moves the running mean more than a small one of the same mean.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    bool
    """
    small, large = layer(1), layer(1)
    small.train([[7.0], [9.0]])
    large.train([[7.0], [9.0]] * 50)
    return not np.isclose(small.statistics().mean[0], large.statistics().mean[0])


def moves_at_inference(layer: type[FrameworkLayer]) -> bool:
    """Whether inference changes the kept statistics.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    bool
    """
    norm = layer(1)
    before = norm.statistics()
    norm.infer(_THREE)
    return not np.array_equal(before, norm.statistics())


def computes_in(layer: type[FrameworkLayer]) -> str:
    """Which dtype a layer made for float64 computes in: whether 2^-40 survives beside 1.

    Parameters
    ----------
    layer : subclass of FrameworkLayer

    Returns
    -------
    {"float64", "float32"}
    """
    norm = layer(1, momentum=0.5, dtype="float64")
    norm.load(Population(np.zeros(1), np.ones(1)))
    norm.train(np.full((2, 1), 1 + 2.0**-40))
    return "float64" if norm.statistics().mean[0] > 0.5 else "float32"


def output_errors(
    layer: type[FrameworkLayer], means: Sequence[float], count: int = 1000, seed: int = 0
) -> NDArray:
    """How wrong a float32 layer's training output is, for values of standard deviation 1 about each mean.

    Parameters
    ----------
    layer : subclass of FrameworkLayer
    means : sequence of float, of length k
    count : int
        Values per channel.
    seed : int
        Of the values.

    Returns
    -------
    (k,)
        The largest absolute difference from the same float32 values normalized in float64; NaN where the
        output is NaN.
    """
    noise = np.random.default_rng(seed).normal(size=(count, 1))
    errors = []
    for mean in means:
        x = (mean + noise).astype(np.float32)
        mu, var, _ = batch_statistics(x.astype(np.float64))
        exact = normalize(x.astype(np.float64), mu, var, eps=1e-5)
        y = layer(1, eps=1e-5, dtype="float32").train(x)
        errors.append(np.max(np.abs(y - exact)))
    return np.array(errors)

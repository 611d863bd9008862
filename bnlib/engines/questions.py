"""Questions to a framework's layer, each a small batch that leaves it no choice but to answer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnlib.reference import Population, batch_statistics, normalize

from .base import FrameworkLayer

__all__ = [
    "computes_in",
    "default_axis",
    "default_eps",
    "default_momentum",
    "kept_variance",
    "moves_at_inference",
    "normalizing_variance",
    "of_one_value",
    "output_errors",
    "starting_statistics",
    "weighs_by_size",
    "what_momentum_weighs",
]

#: Three values, so that the two variances differ by a factor of 1.5: mean 3, variance 14/3 or 7.
_THREE = np.array([[1.0], [2.0], [6.0]])


def _which(value: float) -> str:
    """Which variance of the three values this is; the number itself if it is neither."""
    for name, correction in (("biased", 0), ("unbiased", 1)):
        if np.isclose(value, _THREE.var(ddof=correction), rtol=1e-5):
            return name
    return f"{value:.6g}"


def normalizing_variance(layer: type[FrameworkLayer]) -> str:
    """Which variance divides the training output, "biased" or "unbiased" (or a number), by that of three values."""
    y = layer(1, eps=1e-12).train(_THREE)
    return _which(((6 - 3) / y[2, 0]) ** 2)


def kept_variance(layer: type[FrameworkLayer]) -> str:
    """Which variance moves the running one, "biased" or "unbiased" (or a number), by one step at momentum 1/2."""
    norm = layer(1, momentum=0.5)  # the same, whichever value it weighs
    start = norm.statistics().var[0]
    norm.train(_THREE)
    return _which(2 * norm.statistics().var[0] - start)


def what_momentum_weighs(layer: type[FrameworkLayer]) -> str:
    """Whether momentum multiplies the "new" value or the "old" one, read off one step at momentum 1/4."""
    norm = layer(1, momentum=0.25)
    norm.load(Population(np.zeros(1), np.ones(1)))
    norm.train([[7.0], [9.0]])  # mean 8
    return {2.0: "new", 6.0: "old"}[float(norm.statistics().mean[0])]


def default_momentum(layer: type[FrameworkLayer]) -> float:
    """The momentum of a layer if none is given, as its framework writes it, from one step, to six digits."""
    norm = layer(1)
    norm.load(Population(np.zeros(1), np.ones(1)))
    norm.train([[0.0], [2.0]])  # mean 1
    weight = norm.statistics().mean[0]
    weight = weight if what_momentum_weighs(layer) == "new" else 1 - weight
    return round(float(weight), 6)


def default_eps(layer: type[FrameworkLayer]) -> float:
    """The eps of a layer if none is given, from the output of two values of variance 1e-6, to six digits."""
    d = 1e-3
    y = layer(1).train([[-d], [d]])[1, 0]
    return float(f"{d**2 / y**2 - d**2:.6g}")


def default_axis(layer: type[FrameworkLayer]) -> int:
    """Where a layer looks for channels if it is not told, 1 or -1, by what becomes constant."""
    x = np.tile([[0.0], [1.0], [2.0]], (2, 1, 3))  # varies along axis 1 alone
    return -1 if layer(3, axis=None).train(x).any() else 1


def starting_statistics(layer: type[FrameworkLayer]) -> Population:
    """The statistics that a fresh layer normalizes with at inference, from its output for 0 and 1.

    To nine digits. Of `OnnxLayer` they say nothing: the operator takes them as inputs.
    """
    y = layer(1, eps=1e-12).infer([[0.0], [1.0]])[:, 0]
    std = 1 / (y[1] - y[0])
    return Population(np.round([-y[0] * std], 9) + 0.0, np.round([std**2], 9))


def of_one_value(layer: type[FrameworkLayer]) -> str:
    """What training makes of one value per channel: "ValueError", or the output (the outputs, if they differ)."""
    try:
        answers = {f"{layer(1).train([[v]])[0, 0]:g}" for v in (0.1, 5.0, 1e8)}
    except ValueError:
        return "ValueError"
    return " or ".join(sorted(answers))


def weighs_by_size(layer: type[FrameworkLayer]) -> bool:
    """Whether a larger batch moves the running mean more than a small one of the same mean."""
    small, large = layer(1), layer(1)
    small.train([[7.0], [9.0]])
    large.train([[7.0], [9.0]] * 50)
    return not np.isclose(small.statistics().mean[0], large.statistics().mean[0])


def moves_at_inference(layer: type[FrameworkLayer]) -> bool:
    """Whether inference changes the running statistics."""
    norm = layer(1)
    before = norm.statistics()
    norm.infer(_THREE)
    return not np.array_equal(before, norm.statistics())


def computes_in(layer: type[FrameworkLayer]) -> str:
    """Whether a layer made for float64 computes in "float64" or "float32": if 2^-40 survives beside 1."""
    norm = layer(1, momentum=0.5, dtype="float64")
    norm.load(Population(np.zeros(1), np.ones(1)))
    norm.train(np.full((2, 1), 1 + 2.0**-40))
    return "float64" if norm.statistics().mean[0] > 0.5 else "float32"


def output_errors(
    layer: type[FrameworkLayer],
    means: Sequence[float],
    count: int = 1000,
    seed: int = 0,
) -> NDArray:
    """How wrong a float32 layer's training output is, for `count` values of standard deviation 1 about each mean.

    The largest absolute difference from the same values normalized in float64; NaN where the output is NaN.
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

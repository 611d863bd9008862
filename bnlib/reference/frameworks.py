"""What the frameworks keep, under which name, and how to carry it over."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import (
    Population,
    batch_statistics,
    unbiased_variance,
    update_running,
)

__all__ = [
    "CONVENTIONS",
    "FLAX",
    "KERAS",
    "KERAS_FUSED",
    "ONNX",
    "PAPER",
    "TORCH",
    "Convention",
    "MovingAverage",
    "absorb_eps",
    "convert_momentum",
    "convert_statistics",
    "running_statistics",
]


@dataclass(frozen=True)
class Convention:
    """How one framework keeps statistics; None where it leaves something open.

    Attributes
    ----------
    kept : {"biased", "unbiased"}
        The batch variance that goes into the running one. The biased one
        normalizes, in all of them.
    momentum_weighs : {"new", "old"} or None
        Which value `momentum` multiplies.
    momentum : float or None
        The default.
    eps : float or None
        The default.
    mean : float or None
        What the running mean starts from; None if it is an input.
    var : float or None
        What the running variance starts from; None if it is an input.
    names : four str
        What the state calls gamma, beta, the running mean and variance.
    axis : {1, -1} or None
        Where the channels are, unless one says otherwise.
    """

    name: str
    kept: Literal["biased", "unbiased"]
    momentum_weighs: Literal["new", "old"] | None
    momentum: float | None
    eps: float | None
    mean: float | None
    var: float | None
    names: tuple[str, str, str, str]
    axis: Literal[1, -1] | None

    def __post_init__(self) -> None:
        if self.kept not in ("biased", "unbiased"):
            raise ValueError(
                f'expected kept to be "biased" or "unbiased" (got {self.kept!r})'
            )
        if self.momentum_weighs not in ("new", "old", None):
            raise ValueError(
                'expected momentum to weigh "new" or "old" '
                f"(got {self.momentum_weighs!r})"
            )


#: Ioffe & Szegedy 2015, Algorithms 1 and 2: read, not run.
PAPER = Convention(
    name="paper",
    kept="unbiased",
    momentum_weighs=None,
    momentum=None,
    eps=None,
    mean=None,
    var=None,
    names=("gamma", "beta", "E[x]", "Var[x]"),
    axis=None,
)
#: torch.nn.BatchNorm1d, 2d and 3d.
TORCH = Convention(
    name="PyTorch",
    kept="unbiased",
    momentum_weighs="new",
    momentum=0.1,
    eps=1e-5,
    mean=0.0,
    var=1.0,
    names=("weight", "bias", "running_mean", "running_var"),
    axis=1,
)
#: keras.layers.BatchNormalization.
KERAS = Convention(
    name="Keras",
    kept="biased",
    momentum_weighs="old",
    momentum=0.99,
    eps=1e-3,
    mean=0.0,
    var=1.0,
    names=("gamma", "beta", "moving_mean", "moving_variance"),
    axis=-1,
)
#: The same layer in Keras 2 on TensorFlow, given float32 inputs of four axes.
KERAS_FUSED = replace(KERAS, name="Keras 2, fused", kept="unbiased")
#: flax.nnx.BatchNorm.
FLAX = Convention(
    name="Flax",
    kept="biased",
    momentum_weighs="old",
    momentum=0.99,
    eps=1e-5,
    mean=0.0,
    var=1.0,
    names=("scale", "bias", "mean", "var"),
    axis=-1,
)
#: BatchNormalization, opset 15.
ONNX = Convention(
    name="ONNX",
    kept="biased",
    momentum_weighs="old",
    momentum=0.9,
    eps=1e-5,
    mean=None,
    var=None,
    names=("scale", "B", "input_mean", "input_var"),
    axis=1,
)
#: All of them.
CONVENTIONS = (PAPER, TORCH, KERAS, FLAX, ONNX, KERAS_FUSED)


class MovingAverage(NamedTuple):
    """How a running variance came about: what an exact conversion has to know.

    Numbers may be 0-d arrays or tensors, as a layer's ``num_batches_tracked``.

    Attributes
    ----------
    count : int
        m, the values pooled per channel, the same in every batch.
    steps : int or math.inf
        Batches since the start; infinity if nothing of the start is left.
    weight : float or None
        a, the weight of the new value, whatever the framework calls `momentum`.
        None: the plain average.
    start : float or (C,)
        The variance before the first batch.
    """

    count: int
    steps: float
    weight: float | None
    start: ArrayLike = 1.0

    def weight_of_start(self) -> float:
        """The part of the start that is left: (1 - a)^steps.

        Of a plain average, nothing is left after one step.
        """
        # as floats: a power with a count of torch's would be a float32
        steps = _number(self.steps)
        if self.weight is None:
            return float(steps < 1)
        return (1.0 - _number(self.weight)) ** steps


def running_statistics(
    batches: Iterable[ArrayLike], convention: Convention, weight: float
) -> Population:
    """What a layer that starts at mean 0 and variance 1 keeps of some batches.

    Parameters
    ----------
    batches : iterable of (N, C, *spatial)
        At least one.
    convention : Convention
        Says which variance is kept.
    weight : float
        Of the new value, whatever the framework calls `momentum`.
    """
    mean, var = np.float64(0.0), np.float64(1.0)
    for batch in batches:
        new = batch_statistics(_float64(batch))
        unbiased = convention.kept == "unbiased"
        new_var = unbiased_variance(new) if unbiased else new.var
        mean = update_running(mean, new.mean, weight)
        var = update_running(var, new_var, weight)
    return Population(mean, var)


def convert_momentum(
    momentum: float | None, source: Convention, target: Convention
) -> float | None:
    """The `momentum` with which the target forgets as fast as the source.

    It is the same number, or one minus it.

    Parameters
    ----------
    momentum : float or None
        In [0, 1], as the source writes it.

    Raises
    ------
    ValueError
        If a convention is not one or sets no momentum, if `momentum` is out of
        [0, 1], or if it is None: PyTorch's plain average over all batches, which
        the others do not have.
    """
    for convention in (source, target):
        if _checked(convention).momentum_weighs is None:
            raise ValueError(
                f"expected a convention with a momentum (got {convention.name}'s)"
            )
    if momentum is None:
        if source == target == TORCH:
            return None
        raise ValueError(
            f"expected a number to carry from {source.name} to {target.name} "
            "(got momentum=None, PyTorch's plain average): no constant momentum "
            "averages all batches alike"
        )
    momentum = _number(momentum)
    _check_weight("momentum", momentum)
    same = source.momentum_weighs == target.momentum_weighs
    return momentum if same else 1 - momentum


def convert_statistics(
    statistics: Population,
    source: Convention,
    target: Convention,
    history: MovingAverage | None = None,
) -> Population:
    """The running statistics that the target would have kept of the same batches.

    Parameters
    ----------
    statistics : Population
        Mean and variance (C,), as the source kept them: arrays or tensors, of any
        real dtype, bfloat16 too, on any device.
    source, target : Convention
    history : MovingAverage, optional
        Needed where one keeps the biased variance and the other the unbiased one.

    Returns
    -------
    Population
        In float64. The mean as it is. Of ``running = (1-a)^t start + batches``,
        the variance, the batches' part is multiplied by m/(m-1) or (m-1)/m; the
        start is no batch's and stays.

    Raises
    ------
    ValueError
        If a convention is not one, if the statistics are not two vectors of one
        shape with var >= 0, or if the history is needed and missing, out of
        range, or not that of this variance.
    TypeError
        If anything is not made of real numbers.

    Notes
    -----
    Exact up to rounding, and its own inverse with source and target exchanged.
    What a layer in bfloat16 rounded off at every step does not come back.
    What cannot be converted: batches of several sizes, since each would need its
    own factor and their variances are no longer known apart; and an unknown m or
    number of steps.
    """
    mean, var = _two_vectors(statistics)
    if _checked(source).kept == _checked(target).kept:
        return Population(mean, var)
    if history is None:
        raise ValueError(
            f"expected the history of the variance: {source.name} keeps the "
            f"{source.kept} one and {target.name} the {target.kept} one, which "
            "differ by m/(m-1) from the first batch on"
        )
    m = _check_history(history)
    of_start = history.weight_of_start() * _float64(history.start)
    of_batches = var - of_start
    # the variance may be a bfloat16, so allow for its rounding
    if np.any(of_batches < -1e-2 * of_start):
        raise ValueError(
            f"expected a variance of at least {np.max(of_start):.3g}, what is "
            f"left of its start after {history.steps} steps "
            f"(got {np.min(var):.3g}): the history is not that of this variance"
        )
    factor = m / (m - 1) if target.kept == "unbiased" else (m - 1) / m
    return Population(mean, of_start + factor * of_batches)


def absorb_eps(var: ArrayLike, eps: float, target_eps: float) -> NDArray:
    """The variance with which the target's eps gives the source's output.

    Parameters
    ----------
    var : (C,)
        An array or a tensor, of any real dtype.
    eps, target_eps : float
        What the source adds to `var`, and what the target will add.

    Returns
    -------
    (C,)
        ``var + eps - target_eps``, in float64.

    Raises
    ------
    ValueError
        If an eps is negative, or if a variance would become so: then only setting
        the target's eps helps.
    TypeError
        If the variance is not made of real numbers.

    Notes
    -----
    For inference alone. It is no variance of anything, and a moving average that
    goes on from it adds the true ones to it.
    """
    var = _float64(var)
    if eps < 0 or target_eps < 0:
        raise ValueError(f"expected eps >= 0 (got {eps} and {target_eps})")
    absorbed = var + (eps - target_eps)
    if np.any(absorbed < 0):
        raise ValueError(
            f"expected var + eps >= {target_eps} in every channel "
            f"(got {np.min(var + eps):.3g}): set the target's eps instead"
        )
    return absorbed


def _float64(values: ArrayLike) -> NDArray:
    """An array of float64, whatever dtype a layer or a file holds."""
    if hasattr(values, "detach"):
        # A tensor of torch's may be a parameter, a bfloat16, or on another
        # device: NumPy takes none of these.
        values = values.detach().cpu()
        values = values if values.is_complex() else values.double()
    values = np.asarray(values)
    if not np.can_cast(values.dtype, np.float64, casting="same_kind"):
        raise TypeError(f"expected real numbers (got {values.dtype})")
    return values.astype(np.float64)


def _number(value: ArrayLike) -> float:
    return _float64(value).item()


def _checked(convention: Convention) -> Convention:
    if not isinstance(convention, Convention):
        names = ", ".join(known.name for known in CONVENTIONS)
        raise ValueError(
            f"expected a Convention, such as those of {names} "
            f"(got {convention!r})"
        )
    return convention


def _two_vectors(statistics: Population) -> tuple[NDArray, NDArray]:
    mean, var = (_float64(vector) for vector in statistics)
    if mean.ndim != 1 or mean.shape != var.shape:
        raise ValueError(
            "expected mean and var of one shape (C,) "
            f"(got {mean.shape} and {var.shape})"
        )
    if not np.all(var >= 0):  # neither negative nor NaN
        raise ValueError(
            f"expected var >= 0 in every channel (got {np.min(var)})"
        )
    return mean, var


def _check_weight(what: str, weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"expected {what} in [0, 1] (got {weight})")


def _check_history(history: MovingAverage) -> float:
    if np.ndim(history.count) > 0 or history.count is None:
        raise ValueError(
            "expected one number of values per channel, that of every batch "
            f"(got {history.count}): with batches of several sizes, or an "
            "unknown one, the variance cannot be converted exactly"
        )
    if not 2 <= history.count < math.inf:
        raise ValueError(
            "expected more than 1 value per channel for m/(m-1) "
            f"(got {history.count})"
        )
    if history.steps is None or not history.steps >= 0:
        raise ValueError(
            f"expected a number of steps >= 0, or math.inf (got {history.steps})"
        )
    if history.weight is not None:
        _check_weight("the weight of the new value", history.weight)
    if not np.all(_float64(history.start) >= 0):
        raise ValueError(f"expected a start >= 0 (got {history.start})")
    return _number(history.count)

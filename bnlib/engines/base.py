"""What every framework's layer is to the questions: four methods on NumPy arrays."""

from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnlib.reference import Convention, Population

__all__ = ["FrameworkLayer"]


class FrameworkLayer:
    """One framework's own layer, fresh, behind methods that take and give NumPy arrays.

    Parameters
    ----------
    channels : int
    momentum, eps : float, optional
        As the framework writes them; its own defaults if not given.
    dtype : {"float64", "float32"}
        Of what goes in and of the state. What it computes in is for `computes_in` to find out.
    axis : int, optional
        Where the channels are; None: where the framework looks for them if it is not told.

    Notes
    -----
    A framework brings five methods: ``_build(settings)``, ``_call(x, training)`` for (N, C, L),
    ``_get()`` and ``_set(mean, var)``, and ``_names()``.
    """

    #: What the framework is expected to do.
    convention: ClassVar[Convention]
    #: What has to be installed.
    packages: ClassVar[tuple[str, ...]]
    _name_of_eps: ClassVar[str] = "epsilon"
    _can_be_told_the_axis: ClassVar[bool] = False

    def __init__(
        self,
        channels: int,
        *,
        momentum: float | None = None,
        eps: float | None = None,
        dtype: str = "float64",
        axis: int | None = 1,
    ) -> None:
        self.channels, self.dtype = channels, dtype
        given = {"momentum": momentum, self._name_of_eps: eps}
        if self._can_be_told_the_axis:
            given["axis"] = axis
        self._build({name: v for name, v in given.items() if v is not None})

    def train(self, x: ArrayLike) -> NDArray:
        """Normalize (N, C, *spatial) with its own statistics, and move the running ones."""
        return self._flat(x, training=True)

    def infer(self, x: ArrayLike) -> NDArray:
        """Normalize (N, C, *spatial) with the running statistics."""
        return self._flat(x, training=False)

    def statistics(self) -> Population:
        """The running mean and variance, each of shape (C,)."""
        return Population(*(np.array(vector) for vector in self._get()))

    def load(self, statistics: Population) -> None:
        """Put a mean and a variance, each of shape (C,), in the place of the running ones."""
        self._set(
            *(np.asarray(vector, dtype=self.dtype) for vector in statistics)
        )

    def names(self) -> set[str]:
        """What the layer calls gamma, beta, the running mean and variance, in no order."""
        return set(self._names())

    @classmethod
    def is_here(cls) -> bool:
        """Whether what it needs is installed."""
        return all(map(find_spec, cls.packages))

    @classmethod
    def versions(cls) -> str:
        """The packages that run, such as ``"flax 0.12.8, jax 0.10.2"``."""
        return ", ".join(
            f"{p} {version(p).partition('+')[0]}" for p in cls.packages
        )

    def _flat(self, x, training):
        # All positions on one axis: the statistics are the same, and no layer asks for the rank.
        x = np.asarray(x, dtype=self.dtype)
        y = self._call(x.reshape(*x.shape[:2], -1), training)
        return np.asarray(y).reshape(x.shape)

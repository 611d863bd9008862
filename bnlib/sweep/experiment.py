"""What an experiment is: a grid of settings, how each arm of a comparison is tuned, and what to keep."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from numpy.typing import NDArray
from torch import nn

from bnlib.lab import Split

from .settings import Setting, setting_of

__all__ = ["Experiment", "grid", "looks"]

# What to look for in a network at a look: it, its setting, the training and the test set -> arrays by name.
Probe = Callable[[nn.Module, Setting, Split, Split], dict[str, NDArray]]

FIRST = 2
FINALISTS = 2


@dataclass(frozen=True)
class Experiment:
    """A question, and the runs that answer it.

    Attributes
    ----------
    minutes : float
        That it takes about, on one core.
    cases : list of dict
        What is varied, case by case; everything else has its default.
    looks : tuple of int
        After how many steps to look at the test set. The last is the length of a run.
    seeds : int
        How many; each fixes the initial weights and the order of the examples.
    tuned : tuple of str
        The settings that each arm of a comparison is tuned over. An arm is what all other settings name;
        every cell of its grid is run with the first `FIRST` seeds, and the `FINALISTS` with the highest
        accuracy on the held-out images with all of them.
    probe : callable, optional
        What to keep at a look beside accuracy and loss.
    shared : dict
        What all runs have in common and is not the default.
    """

    name: str
    question: str
    minutes: float
    cases: list[dict]
    looks: tuple[int, ...]
    seeds: int = 3
    tuned: tuple[str, ...] = ()
    probe: Probe | None = None
    shared: dict = field(default_factory=dict)

    @property
    def settings(self) -> list[Setting]:
        """Of every case, in full."""
        return [setting_of({**self.shared, **case}) for case in self.cases]

    @property
    def varied(self) -> dict[str, list]:
        """The values that each varied setting takes, in order."""
        names = dict.fromkeys(name for case in self.cases for name in case)
        return {name: list(dict.fromkeys(case[name] for case in self.cases)) for name in names}

    def finalists(self, held_out: Mapping[Setting, float]) -> list[Setting]:
        """The best cells of every arm, by each cell's accuracy on held-out images."""
        by_arm: dict[tuple, list[Setting]] = {}
        for setting in self.settings:
            arm = tuple(getattr(setting, name) for name in self.varied if name not in self.tuned)
            by_arm.setdefault(arm, []).append(setting)
        return [
            setting
            for cells in by_arm.values()
            for setting in sorted(cells, key=held_out.__getitem__, reverse=True)[:FINALISTS]
        ]


def grid(**axes: Sequence) -> list[dict]:
    """Every combination of the values of some settings."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def looks(*ranges: tuple[int, int]) -> tuple[int, ...]:
    """The steps 0, then up to each (end) in strides of (stride), range after range."""
    steps = [0]
    for end, stride in ranges:
        steps += range(steps[-1] + stride, end + 1, stride)
    return tuple(steps)

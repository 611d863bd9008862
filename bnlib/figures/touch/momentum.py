"""Running statistics that follow the batches."""

from collections.abc import Mapping
from math import log

import numpy as np
from numpy.typing import ArrayLike

from ..style import check_shape
from . import svg
from .svg import Frame, Touch

__all__ = ["momentum"]

#: What the slider of `momentum` stops at.
MOMENTA = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def momentum(batches: ArrayLike, steps: ArrayLike, population: ArrayLike, momentum: float = 0.1) -> Touch:
    """The running statistics of one channel that follow recorded batches, against the population's.

    Parameters
    ----------
    batches : (T, 2)
        Mean and unbiased variance of the channel in every training batch.
    steps : (K,) of int
        How many steps had been taken when the population was looked at; the first may be 0.
    population : (K, 2)
        Mean and variance over the training images, with the weights of that step.
    momentum : float
        At first; one of those that the slider stops at.

    Raises
    ------
    ValueError
        If a shape does not fit, a step is not from 0 to T, or the slider does not stop at the momentum.
    """
    batches = check_shape(batches, ("T", 2), "batches")
    steps = check_shape(steps, ("K",), "steps")
    population = check_shape(population, (len(steps), 2), "population")
    if steps.min() < 0 or steps.max() > len(batches):
        raise ValueError(f"expected steps from 0 to {len(batches)} (got {steps.min()} to {steps.max()})")
    if momentum not in MOMENTA:
        raise ValueError(f"expected one of {MOMENTA} (got {momentum})")
    data = {
        "momenta": MOMENTA,
        "batches": svg.rounded(batches),
        "steps": [int(step) for step in steps],
        "population": svg.rounded(population),
    }
    first = frame({"momentum": MOMENTA.index(momentum)}, data)
    panels = ""
    for k, (part, name) in enumerate((("mean", "mean"), ("variance", "variance"))):
        seen = [*batches[:, k], *population[:, k], float(k)]
        ticks = svg.ticks(min(seen), max(seen))
        margin = 0.04 * (max(seen) - min(seen))
        at = np.arange(1, len(batches) + 1)
        panels += svg.panel(
            f"The {name} of every batch, the population's, and the running {name} that follows",
            (0, len(batches)),
            (min(seen) - margin, max(seen) + margin),
            svg.dots("muted", zip(at, batches[:, k], strict=True))
            + svg.path("line ink dashed", [list(zip(steps, population[:, k], strict=True))])
            + svg.moving(first, part, "line second"),
            title=f"{name} of one channel",
            xlabel="training step",
            xticks=svg.ticks(0, len(batches)),
            yticks=ticks,
        )
    index = MOMENTA.index(momentum)
    controls = svg.slider(first, "momentum", "momentum", 0, len(MOMENTA) - 1, 1, index)
    key = svg.key(
        {"muted dots": "a batch", "ink dashed": "the population", "second": "the running statistic"}
    )
    question = "Noisy or late? Choose the weight of the new batch, and see what is kept."
    return Touch("momentum", question, controls, panels, key, data, first)


def frame(settings: Mapping, data: Mapping) -> Frame:
    a, steps, population = MOMENTA[settings["momentum"]], data["steps"], np.array(data["population"])
    running = np.array([(0.0, 1.0)] * (len(data["batches"]) + 1))
    for i, batch in enumerate(np.array(data["batches"])):
        running[i + 1] = (1 - a) * running[i] + a * batch
    late = [i for i, step in enumerate(steps) if step >= len(data["batches"]) / 2]
    errors = running[[steps[i] for i in late]] - population[late]
    off = np.sqrt((errors**2).mean(axis=0))
    half_life = log(0.5) / log(1 - a)
    return {
        "momentum": f"{a}",
        "mean": [list(enumerate(running[:, 0]))],
        "variance": [list(enumerate(running[:, 1]))],
        "answer": f"Momentum {a}: the weight of a batch halves in {svg.fixed(half_life, 1)} steps. "
        f"In the second half the running mean is off by {svg.fixed(off[0], 3)}, the variance by "
        f"{svg.fixed(off[1], 3)}.",
    }

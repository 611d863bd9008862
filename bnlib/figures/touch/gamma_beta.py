"""What gamma and beta do to the inputs of a sigmoid."""

from collections.abc import Mapping
from math import erf, exp, inf, log, pi, sqrt

import numpy as np

from . import svg
from .svg import Frame, Touch

__all__ = ["gamma_beta"]


def gamma_beta(limit: float, gamma: float = 1.0, beta: float = 0.0) -> Touch:
    """What gamma and beta do to normalized inputs before a sigmoid; two sliders.

    Parameters
    ----------
    limit : float
        The sigmoid counts as near-linear where |x| <= limit.
    gamma, beta : float
        At first.
    """
    data = {"limit": float(limit)}
    first = frame({"gamma": gamma, "beta": beta}, data)
    x = [np.linspace(*ends, 50) for ends in ((-8, -limit), (-limit, limit), (limit, 8))]
    below, near, above = (np.column_stack([part, 1 / (1 + np.exp(-part))]) for part in x)
    inputs = svg.panel(
        "The sigmoid and, under it, the density of its inputs",
        (-8, 8),
        (0, 1.02),
        svg.path("band first", [[(-limit, 0), (-limit, 1.02), (limit, 1.02), (limit, 0)]])
        + svg.moving(first, "near", "area first")
        + svg.moving(first, "far", "area second")
        + svg.path("thin muted dashed", [[(-2.1, -0.025), (2.1, 1.025)]])
        + svg.path("line second", [below, above])
        + svg.path("line first", [near]),
        title="what goes in: y = γ x̂ + β",
        xlabel="input of the sigmoid",
        xticks=(-8, -4, 0, 4, 8),
        yticks=(0, 0.5, 1),
    )
    outputs = svg.panel(
        "How the outputs of the sigmoid are distributed over ten equal parts from 0 to 1",
        (0, 1),
        (0, 1.02),
        svg.moving(first, "outputs", "area ink"),
        title="what comes out: share of the outputs",
        xlabel="output of the sigmoid",
        xticks=(0, 0.5, 1),
        yticks=(0, 0.5, 1),
    )
    controls = svg.slider(first, "gamma", "scale γ", 0.5, 4, 0.1, gamma)
    controls += svg.slider(first, "beta", "shift β", -4, 4, 0.1, beta)
    key = svg.key({"first area": "inputs in the near-linear part", "second area": "inputs beyond it"})
    question = "How much of the sigmoid do normalized inputs see, and what can γ and β change?"
    return Touch("gamma_beta", question, controls, inputs + outputs, key, data, first)


def frame(settings: Mapping, data: Mapping) -> Frame:
    gamma, beta, limit = settings["gamma"], settings["beta"], data["limit"]

    def bell(low: float, high: float) -> list:
        top = [low + (high - low) * i / 80 for i in range(81)]
        heights = [exp(-(((x - beta) / gamma) ** 2) / 2) / (gamma * sqrt(2 * pi)) for x in top]
        return [(low, 0), *zip(top, heights, strict=True), (high, 0)]

    def share(low: float, high: float) -> float:
        below = [(1 + erf((x - beta) / gamma / sqrt(2))) / 2 for x in (low, high)]
        return below[1] - below[0]

    ends = [-inf, *(log(k / (10 - k)) for k in range(1, 10)), inf]
    near = share(-limit, limit)
    return {
        "gamma": svg.fixed(gamma, 1),
        "beta": svg.fixed(beta, 1),
        "near": [bell(-limit, limit)],
        "far": [bell(-8, -limit), bell(limit, 8)],
        "outputs": [svg.bar((k + 0.5) / 10, share(ends[k], ends[k + 1]), 0.085) for k in range(10)],
        "answer": f"With γ = {svg.fixed(gamma, 1)} and β = {svg.fixed(beta, 1)}, "
        f"{svg.percent(near)} of the inputs lie in the near-linear part.",
    }

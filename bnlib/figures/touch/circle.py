"""The gradient that passes, on a circle."""

from collections.abc import Mapping, Sequence
from math import cos, radians, sin, sqrt

import numpy as np

from ..style import check_shape
from . import svg
from .svg import Frame, Touch

__all__ = ["circle"]

#: Three values of mean 0 lie in this plane, orthonormal and orthogonal to (1, 1, 1).
PLANE = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # (2, 3)


def circle(angle: int = 20, g: Sequence[float] = (1.5, -0.5, 1.0)) -> Touch:
    """Three normalized values as a point on a circle, and the part of the gradient that passes there.

    For gamma = std = 1 and eps = 0. Sliders, or drag the tip of g and the point.

    Parameters
    ----------
    angle : int
        Where x_hat is on the circle, in degrees.
    g : (3,)
        dL/dy.
    """
    g = check_shape(g, (3,), "g")
    data = {"plane": PLANE.tolist()}
    first = frame({"angle": angle, **{f"g{i + 1}": float(value) for i, value in enumerate(g)}}, data)
    turn = np.linspace(0, 2 * np.pi, 121)
    ring = np.sqrt(3) * np.column_stack([np.cos(turn), np.sin(turn)])
    units = PLANE / np.linalg.norm(PLANE, axis=0)  # where x_1, x_2 and x_3 grow
    spokes = [[(0, 0), 3.2 * unit] for unit in units.T]
    names = [(name, *(3.6 * unit)) for name, unit in zip(("x₁", "x₂", "x₃"), units.T, strict=True)]
    plane = svg.panel(
        "The plane of three values with mean 0: a circle, x̂ on it, and the parts of the gradient there",
        (-3.8, 3.8),
        (-3.8, 3.8),
        svg.path("thin muted dashed", spokes)
        + svg.path("thin ink", [ring])
        + svg.moving(first, "ray", "thin muted")
        + svg.moving(first, "sides", "thin muted dashed")
        + svg.moving(first, "along", "line third")
        + svg.moving(first, "g", "line first")
        + svg.moving(first, "dx", "line second")
        + svg.moving(first, "x_hat", "knob ink")
        + svg.moving(first, "hold_x", "hold")
        + svg.moving(first, "hold_g", "hold"),
        title="the plane of mean 0",
        texts=names,
        size=(360, 374),
        frame=False,
    )
    bars = svg.panel(
        "The three entries of g and of dx",
        (0.4, 3.6),
        (-2.1, 2.1),
        svg.moving(first, "g_bars", "area muted") + svg.moving(first, "dx_bars", "area second"),
        title="the same, example by example",
        xlabel="example",
        xticks=(1, 2, 3),
        yticks=(-2, 0, 2),
        size=(360, 290),
    )
    controls = "".join(
        svg.slider(first, f"g{i}", f"g{sub}", -1.5, 1.5, 0.1, g[i - 1])
        for i, sub in ((1, "₁"), (2, "₂"), (3, "₃"))
    )
    controls += svg.slider(first, "angle", "turn x̂", 0, 359, 1, angle)
    key = svg.key(
        {
            "ink knob": "x̂ (drag it)",
            "muted area": "g",
            "first": "g without its mean (drag its tip)",
            "third": "along x̂: removed",
            "second": "dx: what is left",
        }
    )
    question = "Which part of the gradient g = dL/dy gets through to x?"
    return Touch("circle", question, controls, plane + bars, key, data, first)


def frame(settings: Mapping, data: Mapping) -> Frame:
    g = np.array([settings[f"g{i}"] for i in (1, 2, 3)])
    turn, plane = radians(settings["angle"]), np.array(data["plane"])
    point = sqrt(3) * np.array([cos(turn), sin(turn)])
    x_hat = point @ plane
    centered = g - g.mean()
    along = x_hat * (g * x_hat).mean()
    dx = centered - along

    def tip(v: np.ndarray) -> np.ndarray:
        return point + plane @ v

    def numbers(v: np.ndarray) -> str:
        return ", ".join(svg.fixed(value, 2) for value in v)

    return {
        "angle": f"{settings['angle']}°",
        **{f"g{i + 1}": svg.fixed(value, 1) for i, value in enumerate(g)},
        "ray": [[(0, 0), point]],
        "x_hat": [[point, point]],
        "g": svg.arrow(point, tip(centered)),
        "along": svg.arrow(point, tip(along)),
        "dx": svg.arrow(point, tip(dx)),
        "sides": [[tip(along), tip(centered), tip(dx)]],
        "hold_g": [[tip(centered), tip(centered)]],
        "hold_x": [[point, point]],
        "g_bars": [svg.bar(i + 0.82, value, 0.3) for i, value in enumerate(g)],
        "dx_bars": [svg.bar(i + 1.18, value, 0.3) for i, value in enumerate(dx)],
        "answer": f"x̂ = ({numbers(x_hat)}). Of g = ({numbers(g)}) there is left dx = ({numbers(dx)}). "
        f"Its sum is {svg.fixed(dx.sum(), 2)}, its product with x̂ is {svg.fixed(dx @ x_hat, 2)}.",
    }

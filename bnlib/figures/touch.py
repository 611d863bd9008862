"""Figures to play with: SVG and a script, in one piece of HTML that asks nothing of a network.

Each function draws its first frame here, so a page is right without JavaScript and on paper; ``touch.js``
redraws what moves. A frame, here and there, is a function of the settings: it names parts of the figure, and
says of each its text, or its lines, each a list of (x, y) in the panel's own units.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from math import cos, erf, exp, hypot, inf, log, pi, radians, sin, sqrt
from typing import Any

import numpy as np
from matplotlib import rc_params_from_file
from numpy.typing import ArrayLike

from .style import check_shape

__all__ = ["Touch", "circle", "gamma_beta", "momentum", "neighbors", "training"]

Frame = Mapping[str, Any]

#: What the slider of `momentum` stops at.
MOMENTA = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
#: Three values of mean 0 lie in this plane, orthonormal and orthogonal to (1, 1, 1).
PLANE = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # (2, 3)


class Touch:
    """A figure to play with, as a notebook shows it.

    Parameters
    ----------
    name : str
        Of its frames in ``touch.js``.
    question : str
        The line above it.
    controls, panels, key : str
        HTML.
    data : dict
        What the script needs beside the settings.
    first : mapping
        The first frame.
    """

    def __init__(
        self, name: str, question: str, controls: str, panels: str, key: str, data: dict, first: Frame
    ) -> None:
        self.name, self.question, self.controls, self.panels, self.key = name, question, controls, panels, key
        self.data, self.first = data, first

    def __repr__(self) -> str:
        return f"{self.name}: {self.first['answer']}"

    def _repr_html_(self) -> str:
        data = json.dumps(self.data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
        answer = escape(self.first["answer"], quote=False)
        return (
            f'<div class="bn-touch" role="group" aria-label="{escape(self.question)}">'
            f"<style>{_palette()}{_file('touch.css')}</style>"
            f'<p class="question">{escape(self.question)}</p>'
            f'<div class="controls" hidden>{self.controls}</div>'
            f'<div class="panels">{self.panels}<div class="words">{self.key}'
            f'<output class="answer" aria-live="polite" data-part="answer">{answer}</output></div></div>'
            f"<script>(() => {{\n{_file('touch.js')}\n"
            f'touch(document.currentScript.parentElement, "{self.name}", {data});\n}})();</script></div>'
        )


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
    first = _gamma_beta({"gamma": gamma, "beta": beta}, data)
    x = [np.linspace(*ends, 50) for ends in ((-8, -limit), (-limit, limit), (limit, 8))]
    below, near, above = (np.column_stack([part, 1 / (1 + np.exp(-part))]) for part in x)
    inputs = _panel(
        "The sigmoid and, under it, the density of its inputs",
        (-8, 8),
        (0, 1.02),
        _path("band first", [[(-limit, 0), (-limit, 1.02), (limit, 1.02), (limit, 0)]])
        + _moving(first, "near", "area first")
        + _moving(first, "far", "area second")
        + _path("thin muted dashed", [[(-2.1, -0.025), (2.1, 1.025)]])
        + _path("line second", [below, above])
        + _path("line first", [near]),
        title="what goes in: y = γ x̂ + β",
        xlabel="input of the sigmoid",
        xticks=(-8, -4, 0, 4, 8),
        yticks=(0, 0.5, 1),
    )
    outputs = _panel(
        "How the outputs of the sigmoid are distributed over ten equal parts from 0 to 1",
        (0, 1),
        (0, 1.02),
        _moving(first, "outputs", "area ink"),
        title="what comes out: share of the outputs",
        xlabel="output of the sigmoid",
        xticks=(0, 0.5, 1),
        yticks=(0, 0.5, 1),
    )
    controls = _slider(first, "gamma", "scale γ", 0.5, 4, 0.1, gamma)
    controls += _slider(first, "beta", "shift β", -4, 4, 0.1, beta)
    key = _key({"first area": "inputs in the near-linear part", "second area": "inputs beyond it"})
    question = "How much of the sigmoid do normalized inputs see, and what can γ and β change?"
    return Touch("gamma_beta", question, controls, inputs + outputs, key, data, first)


def neighbors(
    inputs: ArrayLike,
    labels: Sequence[int],
    norm: Any,
    output: Any,
    images: ArrayLike | None = None,
    chosen: Sequence[int] = (1, 2, 3),
) -> Touch:
    """One image, normalized together with those that are chosen, and the answer that it then gets.

    The page computes the network from here on: one batch norm in training mode, a sigmoid, a linear layer.

    Parameters
    ----------
    inputs : (1 + N, C)
        Of the norm: of the image in question, and of N others that can be chosen.
    labels : (1 + N,) of int
        What the images are.
    norm : BatchNorm1d
        Its weight, bias, eps and running statistics are read.
    output : Linear
        From C activations to the classes.
    images : (1 + N, H, W), optional
        Shown on the buttons, where otherwise the labels stand.
    chosen : sequence of int
        Rows that are chosen at first.

    Raises
    ------
    ValueError
        If a shape does not fit, or a row that is chosen is not there.
    """
    inputs = check_shape(_numbers(inputs), ("1 + N", "C"), "inputs")
    rows, channels = inputs.shape
    if not set(chosen) <= set(range(1, rows)):
        raise ValueError(f"expected rows from 1 to {rows - 1} to choose (got {list(chosen)})")
    weight = check_shape(_numbers(output.weight), ("classes", channels), "weight")
    vectors = {name: check_shape(_numbers(getattr(norm, of)), (channels,), of) for name, of in _NORM.items()}
    data = {
        "inputs": _rounded(inputs),
        "labels": [int(label) for label in check_shape(_numbers(labels), (rows,), "labels")],
        "gamma": _rounded(vectors["gamma"]),
        "beta": _rounded(vectors["beta"]),
        "eps": float(norm.eps),
        "weight": _rounded(weight),
        "bias": _rounded(_numbers(output.bias)),
    }
    x_hat = (inputs[0] - vectors["mean"]) / np.sqrt(vectors["var"] + norm.eps)
    alone = _softmax(_scores(data, vectors["gamma"] * x_hat + vectors["beta"]))
    data["alone"] = _rounded(alone)
    first = _neighbors({f"n{i}": i in chosen for i in range(1, rows)}, data)

    faces = [str(label) for label in data["labels"]]
    if images is not None:
        images = check_shape(_numbers(images), (rows, "H", "W"), "images")
        faces = [_image(image, label) for image, label in zip(images, faces, strict=True)]
    buttons = "".join(
        f'<label><input type="checkbox" name="n{i}"{" checked" * (i in chosen)} '
        f'aria-label="neighbor {i}, a {data["labels"][i]}"><span>{faces[i]}</span></label>'
        for i in range(1, rows)
    )
    marks = [[(k - 0.42, p), (k + 0.42, p)] for k, p in enumerate(alone)]
    panel = _panel(
        "The probability that the network gives each class",
        (-0.6, len(alone) - 0.4),
        (0, 1.02),
        _moving(first, "bars", "area second") + _path("line ink dashed", marks),
        title=f"the answer for the {data['labels'][0]}",
        xlabel="class",
        xticks=range(len(alone)),
        yticks=(0, 0.5, 1),
    )
    picked = faces[0] if images is not None else f"a {faces[0]}"
    legend = f"<legend>The image in question: {picked}. Its neighbors:</legend>"
    choices = f'<fieldset disabled>{legend}<div class="choices">{buttons}</div></fieldset>'
    key = _key({"second area": "in this batch", "ink dashed": "by itself, with fixed statistics"})
    question = "The same image and the same network: does the answer depend on the rest of the batch?"
    return Touch("neighbors", question, "", choices + panel, key, data, first)


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
    first = _circle({"angle": angle, **{f"g{i + 1}": float(value) for i, value in enumerate(g)}}, data)
    turn = np.linspace(0, 2 * np.pi, 121)
    ring = np.sqrt(3) * np.column_stack([np.cos(turn), np.sin(turn)])
    units = PLANE / np.linalg.norm(PLANE, axis=0)  # where x_1, x_2 and x_3 grow
    spokes = [[(0, 0), 3.2 * unit] for unit in units.T]
    names = [(name, *(3.6 * unit)) for name, unit in zip(("x₁", "x₂", "x₃"), units.T, strict=True)]
    plane = _panel(
        "The plane of three values with mean 0: a circle, x̂ on it, and the parts of the gradient there",
        (-3.8, 3.8),
        (-3.8, 3.8),
        _path("thin muted dashed", spokes)
        + _path("thin ink", [ring])
        + _moving(first, "ray", "thin muted")
        + _moving(first, "sides", "thin muted dashed")
        + _moving(first, "along", "line third")
        + _moving(first, "g", "line first")
        + _moving(first, "dx", "line second")
        + _moving(first, "x_hat", "knob ink")
        + _moving(first, "hold_x", "hold")
        + _moving(first, "hold_g", "hold"),
        title="the plane of mean 0",
        texts=names,
        size=(360, 374),
        frame=False,
    )
    bars = _panel(
        "The three entries of g and of dx",
        (0.4, 3.6),
        (-2.1, 2.1),
        _moving(first, "g_bars", "area muted") + _moving(first, "dx_bars", "area second"),
        title="the same, example by example",
        xlabel="example",
        xticks=(1, 2, 3),
        yticks=(-2, 0, 2),
        size=(360, 290),
    )
    controls = "".join(
        _slider(first, f"g{i}", f"g{sub}", -1.5, 1.5, 0.1, g[i - 1])
        for i, sub in ((1, "₁"), (2, "₂"), (3, "₃"))
    )
    controls += _slider(first, "angle", "turn x̂", 0, 359, 1, angle)
    key = _key(
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
        "batches": _rounded(batches),
        "steps": [int(step) for step in steps],
        "population": _rounded(population),
    }
    first = _momentum({"momentum": MOMENTA.index(momentum)}, data)
    panels = ""
    for k, (part, name) in enumerate((("mean", "mean"), ("variance", "variance"))):
        seen = [*batches[:, k], *population[:, k], float(k)]
        ticks = _ticks(min(seen), max(seen))
        margin = 0.04 * (max(seen) - min(seen))
        at = np.arange(1, len(batches) + 1)
        panels += _panel(
            f"The {name} of every batch, the population's, and the running {name} that follows",
            (0, len(batches)),
            (min(seen) - margin, max(seen) + margin),
            _dots("muted", zip(at, batches[:, k], strict=True))
            + _path("line ink dashed", [list(zip(steps, population[:, k], strict=True))])
            + _moving(first, part, "line second"),
            title=f"{name} of one channel",
            xlabel="training step",
            xticks=_ticks(0, len(batches)),
            yticks=ticks,
        )
    index = MOMENTA.index(momentum)
    controls = _slider(first, "momentum", "momentum", 0, len(MOMENTA) - 1, 1, index)
    key = _key({"muted dots": "a batch", "ink dashed": "the population", "second": "the running statistic"})
    question = "Noisy or late? Choose the weight of the new batch, and see what is kept."
    return Touch("momentum", question, controls, panels, key, data, first)


def training(
    steps: Sequence[int],
    edges: ArrayLike,
    histograms: Mapping[str, ArrayLike],
    accuracy: Mapping[str, ArrayLike],
    look: int = 0,
) -> Touch:
    """The inputs of every hidden layer over a recorded training, a panel for each network; a slider of time.

    Parameters
    ----------
    steps : (T,) of int
    edges : (bins + 1,)
    histograms : mapping of str to (T, layers, bins)
        Network -> shares.
    accuracy : mapping of str to (T,)
        Network -> share of the test images, of the same networks.
    look : int
        Which of the T looks is shown at first.

    Raises
    ------
    ValueError
        If a shape does not fit, or if there is no such look.
    """
    edges = check_shape(edges, ("bins + 1",), "edges")
    if not 0 <= look < len(steps):
        raise ValueError(f"expected a look from 0 to {len(steps) - 1} (got {look})")
    layers = np.shape(next(iter(histograms.values())))[1]
    shape = (len(steps), layers, len(edges) - 1)
    shares = [check_shape(values, shape, name) for name, values in histograms.items()]
    shown = [check_shape(accuracy[name], (len(steps),), f"accuracy, {name}") for name in histograms]
    data = {
        "names": list(histograms),
        "steps": [int(step) for step in steps],
        "edges": _rounded(edges),
        "histograms": [(1000 * values).round().astype(int).tolist() for values in shares],
        "accuracy": _rounded(shown),
    }
    first = _training({"look": look}, data)
    colors = ("first", "second", "third")
    panels = "".join(
        _panel(
            f"{name}: how the inputs of every hidden layer are distributed",
            (edges[0], edges[-1]),
            (0, layers),
            "".join(_moving(first, f"layer_{k}_{layer}", f"area {colors[k]}") for layer in range(layers)),
            title=name,
            xlabel="input of the sigmoids",
            xticks=_ticks(edges[0], edges[-1]),
            yticks=range(layers),
            ylabels=[f"layer {layers - i}" for i in range(layers)],
            size=(360, 88 + 40 * layers),
        )
        for k, name in enumerate(data["names"])
    )
    at = range(len(steps))
    marks = [round(i * (len(steps) - 1) / 4) for i in range(5)] if len(steps) > 5 else [*at]
    curves = "".join(
        _path(f"line {color}", [list(zip(at, v, strict=True))])
        for color, v in zip(colors, shown, strict=False)
    )
    panels += _panel(
        "The test accuracy of every network over the steps, with a line at the step that is shown",
        (0, len(steps) - 1),
        (0, 1),
        curves + _moving(first, "cursor", "thin ink"),
        title="test accuracy",
        xlabel="training step (denser at first)",
        xticks=marks,
        xlabels=[f"{steps[i]:,}" for i in marks],
        yticks=(0, 0.5, 1),
        size=(360, 150),
    )
    controls = _slider(first, "look", "time", 0, len(steps) - 1, 1, look)
    key = _key(dict(zip(colors, data["names"], strict=False)))
    question = "What do the sigmoids of each layer receive while the network learns?"
    return Touch("training", question, controls, panels, key, data, first)


# The frames: the twins of those in touch.js, line by line.


def _gamma_beta(settings: Mapping, data: Mapping) -> Frame:
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
        "gamma": _fixed(gamma, 1),
        "beta": _fixed(beta, 1),
        "near": [bell(-limit, limit)],
        "far": [bell(-8, -limit), bell(limit, 8)],
        "outputs": [_bar((k + 0.5) / 10, share(ends[k], ends[k + 1]), 0.085) for k in range(10)],
        "answer": f"With γ = {_fixed(gamma, 1)} and β = {_fixed(beta, 1)}, "
        f"{_percent(near)} of the inputs lie in the near-linear part.",
    }


def _neighbors(chosen: Mapping, data: Mapping) -> Frame:
    rows = [0, *(i for i in range(1, len(data["labels"])) if chosen[f"n{i}"])]
    batch, alone = np.array(data["inputs"])[rows], data["alone"]
    fate = f"By itself, with fixed statistics, it is read as {np.argmax(alone)} ({_percent(max(alone))})."
    if len(batch) < 2:
        return {"bars": [], "answer": f"One value is its own mean: choose a neighbor. {fate}"}
    x_hat = (batch[0] - batch.mean(axis=0)) / np.sqrt(batch.var(axis=0) + data["eps"])
    p = _softmax(_scores(data, np.array(data["gamma"]) * x_hat + data["beta"]))
    beside = ", ".join(str(data["labels"][i]) for i in rows[1:])
    answer = f"Beside {beside} the {data['labels'][0]} is read as {p.argmax()} ({_percent(p.max())}). {fate}"
    return {"bars": [_bar(k, share, 0.7) for k, share in enumerate(p)], "answer": answer}


def _circle(settings: Mapping, data: Mapping) -> Frame:
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
        return ", ".join(_fixed(value, 2) for value in v)

    return {
        "angle": f"{settings['angle']}°",
        **{f"g{i + 1}": _fixed(value, 1) for i, value in enumerate(g)},
        "ray": [[(0, 0), point]],
        "x_hat": [[point, point]],
        "g": _arrow(point, tip(centered)),
        "along": _arrow(point, tip(along)),
        "dx": _arrow(point, tip(dx)),
        "sides": [[tip(along), tip(centered), tip(dx)]],
        "hold_g": [[tip(centered), tip(centered)]],
        "hold_x": [[point, point]],
        "g_bars": [_bar(i + 0.82, value, 0.3) for i, value in enumerate(g)],
        "dx_bars": [_bar(i + 1.18, value, 0.3) for i, value in enumerate(dx)],
        "answer": f"x̂ = ({numbers(x_hat)}). Of g = ({numbers(g)}) there is left dx = ({numbers(dx)}). "
        f"Its sum is {_fixed(dx.sum(), 2)}, its product with x̂ is {_fixed(dx @ x_hat, 2)}.",
    }


def _momentum(settings: Mapping, data: Mapping) -> Frame:
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
        "answer": f"Momentum {a}: the weight of a batch halves in {_fixed(half_life, 1)} steps. In the "
        f"second half the running mean is off by {_fixed(off[0], 3)}, the variance by {_fixed(off[1], 3)}.",
    }


def _training(settings: Mapping, data: Mapping) -> Frame:
    look, edges = settings["look"], np.array(data["edges"])
    step = f"{data['steps'][look]:,}"
    found = {"look": f"step {step}", "cursor": [[(look, 0), (look, 1)]]}
    middle, says = (edges[:-1] + edges[1:]) / 2, []
    for k, name in enumerate(data["names"]):
        layers = np.array(data["histograms"][k][look])
        for layer, shares in enumerate(layers):
            base = len(layers) - 1 - layer
            heights = np.repeat(base + 0.85 * shares / shares.max(), 2)
            outline = zip(np.repeat(edges, 2)[1:-1], heights, strict=True)
            found[f"layer_{k}_{layer}"] = [[(edges[0], base), *outline, (edges[-1], base)]]
        center = np.average(middle, weights=layers[-1])
        spread = sqrt(np.average((middle - center) ** 2, weights=layers[-1]))
        right = _percent(data["accuracy"][k][look])
        says.append(
            f"{name}: {right} of the test images right, last layer's inputs spread by {_fixed(spread, 1)}"
        )
    return found | {"answer": f"Step {step}. {'; '.join(says)}."}


#: What is read of a norm.
_NORM = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}


def _scores(data: Mapping, y: np.ndarray) -> np.ndarray:
    return np.array(data["weight"]) @ (1 / (1 + np.exp(-y))) + data["bias"]


def _softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()


def _bar(x: float, height: float, width: float) -> list:
    left, right = x - width / 2, x + width / 2
    return [(left, 0), (left, height), (right, height), (right, 0)]


def _arrow(start: np.ndarray, end: np.ndarray) -> list:
    """A line with a head of two strokes, unless it is too short for one."""
    (x, y), (u, v) = start, end
    length = hypot(u - x, v - y)
    if length < 0.02:
        return []
    size = min(0.28, length / 2)
    a, b = size * (u - x) / length, size * (v - y) / length
    head = [(u - a - b / 2, v - b + a / 2), (u, v), (u - a + b / 2, v - b - a / 2)]
    return [[(x, y), (u, v)], head]


def _fixed(value: float, digits: int) -> str:
    # + 0.0 makes of a rounded -0 a 0
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"  # the space does not break


# The figure's furniture.


def _panel(
    label: str,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    parts: str,
    *,
    title: str,
    xlabel: str = "",
    xticks: Sequence[float] = (),
    yticks: Sequence[float] = (),
    xlabels: Sequence[str] | None = None,
    ylabels: Sequence[str] | None = None,
    texts: Sequence[tuple[str, float, float]] = (),
    size: tuple[int, int] = (360, 230),
    frame: bool = True,
) -> str:
    """Axes around parts that are drawn in the units of the data."""
    xlabels = [_tick(x) for x in xticks] if xlabels is None else xlabels
    ylabels = [_tick(y) for y in yticks] if ylabels is None else ylabels
    left = 10 + 7 * max((len(text) for text in ylabels), default=0)
    top, right, bottom = 26, 18 if xlabel else 10, 42 if xlabel else 8
    width, height = size[0] - left - right, size[1] - top - bottom
    scale = width / (xlim[1] - xlim[0]), height / (ylim[1] - ylim[0])

    def x_at(x: float) -> str:
        return _number(left + (x - xlim[0]) * scale[0])

    def y_at(y: float) -> str:
        return _number(top + (ylim[1] - y) * scale[1])

    low = top + height
    drawn = [f'<text class="title" x="2" y="15">{escape(title)}</text>']
    for x, text in zip(xticks, xlabels, strict=True):
        drawn.append(_text(text, x_at(x), low + 12))
    for y, text in zip(yticks, ylabels, strict=True):
        drawn.append(f'<path class="grid" d="M{left},{y_at(y)}h{width}"/>')
        drawn.append(_text(text, left - 6, y_at(y), "end"))
    drawn += [_text(text, x_at(x), y_at(y)) for text, x, y in texts]
    if xlabel:
        drawn.append(_text(xlabel, left + width // 2, low + 30))
    if frame:
        drawn.append(f'<path class="axis" d="M{left},{low}h{width}"/>')
    numbers = (scale[0], -scale[1], -xlim[0] * scale[0], ylim[1] * scale[1])
    a, d, e, f = map(_number, numbers)
    return (
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(label)}">{"".join(drawn)}'
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}">'
        f'<g transform="matrix({a} 0 0 {d} {e} {f})">{parts}</g></svg></svg>'
    )


def _text(text: str, x: float | str, y: float | str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" dy="0.33em" text-anchor="{anchor}">{escape(text)}</text>'


def _path(kind: str, lines: Sequence, part: str = "") -> str:
    name = f' data-part="{part}"' * bool(part)
    return f'<path class="{kind}"{name} d="{_lines(lines)}"/>'


def _dots(kind: str, points: Iterable) -> str:
    return f'<path class="dots {kind}" d="{"".join(f"M{_number(x)},{_number(y)}h0" for x, y in points)}"/>'


def _moving(first: Frame, part: str, kind: str) -> str:
    return _path(kind, first[part], part)


def _lines(lines: Sequence) -> str:
    return "".join("M" + " ".join(f"{_number(x)},{_number(y)}" for x, y in line) for line in lines)


def _slider(first: Frame, name: str, label: str, low: float, high: float, step: float, value: float) -> str:
    return (
        f'<label>{label}<input type="range" name="{name}" min="{low}" max="{high}" step="{step}" '
        f'value="{value}" aria-valuetext="{first[name]}">'
        f'<span class="shown" data-part="{name}">{first[name]}</span></label>'
    )


def _key(entries: Mapping[str, str]) -> str:
    items = "".join(f'<li class="{kind}">{escape(text)}</li>' for kind, text in entries.items())
    return f'<ul class="key">{items}</ul>'


def _palette() -> str:
    """The first colors of the book's cycle as variables; the dark theme mixes its own of them."""
    style = resources.files("bnlib") / "book.mplstyle"
    cycle = rc_params_from_file(style, use_default_template=False)["axes.prop_cycle"].by_key()["color"]
    names = ("first", "second", "third")
    variables = [
        f"--cycle-{i}:#{color.lstrip('#')};--{name}:var(--cycle-{i})"
        for i, (name, color) in enumerate(zip(names, cycle, strict=False))
    ]
    return f".bn-touch{{{';'.join(variables)}}}\n"


def _file(name: str) -> str:
    return (resources.files("bnlib.figures") / name).read_text(encoding="utf-8")


def _image(image: np.ndarray, label: str) -> str:
    """A small picture, dark on white, as an <img> that carries its own data."""
    from base64 import b64encode
    from io import BytesIO

    from matplotlib.image import imsave

    file = BytesIO()
    imsave(file, image, format="png", cmap="gray_r", vmin=0, metadata={"Software": None})
    data = b64encode(file.getvalue()).decode()
    return f'<img class="digit" alt="a {label}" src="data:image/png;base64,{data}">'


def _ticks(low: float, high: float) -> list[float]:
    """Two to four round numbers from low to high."""
    rough = (high - low) / 3
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.8)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [float(round(i * step, 10)) for i in range(first, last + 1)]


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _number(value: float) -> str:
    return f"{float(value):.4g}"


def _numbers(values: ArrayLike) -> np.ndarray:
    return np.asarray(values.detach() if hasattr(values, "detach") else values, dtype=float)


def _rounded(values: ArrayLike) -> list:
    return np.vectorize(lambda v: float(f"{v:.4g}"))(np.asarray(values, dtype=float)).tolist()

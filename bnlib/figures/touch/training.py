"""The inputs of every hidden layer over a training."""

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from ..style import check_shape
from . import svg
from .svg import Frame, Touch

__all__ = ["training"]


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
        "edges": svg.rounded(edges),
        "histograms": [(1000 * values).round().astype(int).tolist() for values in shares],
        "accuracy": svg.rounded(shown),
    }
    first = frame({"look": look}, data)
    colors = ("first", "second", "third")
    panels = "".join(
        svg.panel(
            f"{name}: how the inputs of every hidden layer are distributed",
            (edges[0], edges[-1]),
            (0, layers),
            "".join(svg.moving(first, f"layer_{k}_{layer}", f"area {colors[k]}") for layer in range(layers)),
            title=name,
            xlabel="input of the sigmoids",
            xticks=svg.ticks(edges[0], edges[-1]),
            yticks=range(layers),
            ylabels=[f"layer {layers - i}" for i in range(layers)],
            size=(360, 88 + 40 * layers),
        )
        for k, name in enumerate(data["names"])
    )
    at = range(len(steps))
    marks = [round(i * (len(steps) - 1) / 4) for i in range(5)] if len(steps) > 5 else [*at]
    curves = "".join(
        svg.path(f"line {color}", [list(zip(at, v, strict=True))])
        for color, v in zip(colors, shown, strict=False)
    )
    panels += svg.panel(
        "The test accuracy of every network over the steps, with a line at the step that is shown",
        (0, len(steps) - 1),
        (0, 1),
        curves + svg.moving(first, "cursor", "thin ink"),
        title="test accuracy",
        xlabel="training step (denser at first)",
        xticks=marks,
        xlabels=[f"{steps[i]:,}" for i in marks],
        yticks=(0, 0.5, 1),
        size=(360, 150),
    )
    controls = svg.slider(first, "look", "time", 0, len(steps) - 1, 1, look)
    key = svg.key(dict(zip(colors, data["names"], strict=False)))
    question = "What do the sigmoids of each layer receive while the network learns?"
    return Touch("training", question, controls, panels, key, data, first)


def frame(settings: Mapping, data: Mapping) -> Frame:
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
        right = svg.percent(data["accuracy"][k][look])
        says.append(
            f"{name}: {right} of the test images right, last layer's inputs spread by {svg.fixed(spread, 1)}"
        )
    return found | {"answer": f"Step {step}. {'; '.join(says)}."}

"""One image among neighbors that are chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..style import check_shape
from . import svg
from .svg import Frame, Touch

__all__ = ["neighbors"]

#: What is read of a norm.
_NORM = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}


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
    inputs = check_shape(svg.numbers(inputs), ("1 + N", "C"), "inputs")
    rows, channels = inputs.shape
    if not set(chosen) <= set(range(1, rows)):
        raise ValueError(f"expected rows from 1 to {rows - 1} to choose (got {list(chosen)})")
    weight = check_shape(svg.numbers(output.weight), ("classes", channels), "weight")
    vectors = {
        name: check_shape(svg.numbers(getattr(norm, of)), (channels,), of) for name, of in _NORM.items()
    }
    data = {
        "inputs": svg.rounded(inputs),
        "labels": [int(label) for label in check_shape(svg.numbers(labels), (rows,), "labels")],
        "gamma": svg.rounded(vectors["gamma"]),
        "beta": svg.rounded(vectors["beta"]),
        "eps": float(norm.eps),
        "weight": svg.rounded(weight),
        "bias": svg.rounded(svg.numbers(output.bias)),
    }
    x_hat = (inputs[0] - vectors["mean"]) / np.sqrt(vectors["var"] + norm.eps)
    alone = _softmax(_scores(data, vectors["gamma"] * x_hat + vectors["beta"]))
    data["alone"] = svg.rounded(alone)
    first = frame({f"n{i}": i in chosen for i in range(1, rows)}, data)

    faces = [str(label) for label in data["labels"]]
    if images is not None:
        images = check_shape(svg.numbers(images), (rows, "H", "W"), "images")
        faces = [svg.image(image, label) for image, label in zip(images, faces, strict=True)]
    buttons = "".join(
        f'<label><input type="checkbox" name="n{i}"{" checked" * (i in chosen)} '
        f'aria-label="neighbor {i}, a {data["labels"][i]}"><span>{faces[i]}</span></label>'
        for i in range(1, rows)
    )
    marks = [[(k - 0.42, p), (k + 0.42, p)] for k, p in enumerate(alone)]
    panel = svg.panel(
        "The probability that the network gives each class",
        (-0.6, len(alone) - 0.4),
        (0, 1.02),
        svg.moving(first, "bars", "area second") + svg.path("line ink dashed", marks),
        title=f"the answer for the {data['labels'][0]}",
        xlabel="class",
        xticks=range(len(alone)),
        yticks=(0, 0.5, 1),
    )
    picked = faces[0] if images is not None else f"a {faces[0]}"
    legend = f"<legend>The image in question, {picked}, and its neighbors:</legend>"
    choices = f'<fieldset disabled>{legend}<div class="choices">{buttons}</div></fieldset>'
    key = svg.key({"second area": "in this batch", "ink dashed": "by itself, with fixed statistics"})
    question = "The same image and the same network: does the answer depend on the rest of the batch?"
    return Touch("neighbors", question, "", choices + panel, key, data, first)


def frame(chosen: Mapping, data: Mapping) -> Frame:
    rows = [0, *(i for i in range(1, len(data["labels"])) if chosen[f"n{i}"])]
    batch, alone = np.array(data["inputs"])[rows], data["alone"]
    fate = f"By itself, with fixed statistics, it is read as {np.argmax(alone)} ({svg.percent(max(alone))})."
    if len(batch) < 2:
        return {"bars": [], "answer": f"One value is its own mean: choose a neighbor. {fate}"}
    x_hat = (batch[0] - batch.mean(axis=0)) / np.sqrt(batch.var(axis=0) + data["eps"])
    p = _softmax(_scores(data, np.array(data["gamma"]) * x_hat + data["beta"]))
    beside = ", ".join(str(data["labels"][i]) for i in rows[1:])
    answer = (
        f"Beside {beside} the {data['labels'][0]} is read as {p.argmax()} ({svg.percent(p.max())}). {fate}"
    )
    return {"bars": [svg.bar(k, share, 0.7) for k, share in enumerate(p)], "answer": answer}


def _scores(data: Mapping, y: np.ndarray) -> np.ndarray:
    return np.array(data["weight"]) @ (1 / (1 + np.exp(-y))) + data["bias"]


def _softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()

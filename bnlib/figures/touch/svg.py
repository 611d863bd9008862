"""What the figures to play with are made of: HTML around SVG, drawn in the units of the data."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from math import hypot
from typing import Any

import numpy as np
from matplotlib import rc_params_from_file
from numpy.typing import ArrayLike

Frame = Mapping[str, Any]


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


def slider(first: Frame, name: str, label: str, low: float, high: float, step: float, value: float) -> str:
    """A slider, its label, and what it stands at in the first frame."""
    return (
        f'<label>{label}<input type="range" name="{name}" min="{low}" max="{high}" step="{step}" '
        f'value="{value}" aria-valuetext="{first[name]}">'
        f'<span class="shown" data-part="{name}">{first[name]}</span></label>'
    )


def key(entries: Mapping[str, str]) -> str:
    """What each kind of mark means."""
    items = "".join(f'<li class="{kind}">{escape(text)}</li>' for kind, text in entries.items())
    return f'<ul class="key">{items}</ul>'


def panel(
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


def path(kind: str, lines: Sequence, part: str = "") -> str:
    """Lines of one kind; a part moves if it has a name."""
    name = f' data-part="{part}"' * bool(part)
    return f'<path class="{kind}"{name} d="{_lines(lines)}"/>'


def dots(kind: str, points: Iterable) -> str:
    """Points of one kind."""
    return f'<path class="dots {kind}" d="{"".join(f"M{_number(x)},{_number(y)}h0" for x, y in points)}"/>'


def moving(first: Frame, part: str, kind: str) -> str:
    """A part that the script redraws, as the first frame has it."""
    return path(kind, first[part], part)


def bar(x: float, height: float, width: float) -> list:
    """The outline of a bar that stands on 0."""
    left, right = x - width / 2, x + width / 2
    return [(left, 0), (left, height), (right, height), (right, 0)]


def arrow(start: np.ndarray, end: np.ndarray) -> list:
    """A line with a head of two strokes, unless it is too short for one."""
    (x, y), (u, v) = start, end
    length = hypot(u - x, v - y)
    if length < 0.02:
        return []
    size = min(0.28, length / 2)
    a, b = size * (u - x) / length, size * (v - y) / length
    head = [(u - a - b / 2, v - b + a / 2), (u, v), (u - a + b / 2, v - b - a / 2)]
    return [[(x, y), (u, v)], head]


def image(image: np.ndarray, label: str) -> str:
    """A small picture, dark on white, as an <img> that carries its own data."""
    from base64 import b64encode
    from io import BytesIO

    from matplotlib.image import imsave

    file = BytesIO()
    imsave(file, image, format="png", cmap="gray_r", vmin=0, metadata={"Software": None})
    data = b64encode(file.getvalue()).decode()
    return f'<img class="digit" alt="a {label}" src="data:image/png;base64,{data}">'


def _text(text: str, x: float | str, y: float | str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" dy="0.33em" text-anchor="{anchor}">{escape(text)}</text>'


def _lines(lines: Sequence) -> str:
    return "".join("M" + " ".join(f"{_number(x)},{_number(y)}" for x, y in line) for line in lines)


def ticks(low: float, high: float) -> list[float]:
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


def fixed(value: float, digits: int) -> str:
    """A number with so many digits after its point, and no -0."""
    # + 0.0 makes of a rounded -0 a 0
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.0f}\u00a0%"  # the space does not break


def numbers(values: ArrayLike) -> np.ndarray:
    """Floats of what may be a tensor with a gradient."""
    return np.asarray(values.detach() if hasattr(values, "detach") else values, dtype=float)


def rounded(values: ArrayLike) -> list:
    """Lists of four significant digits, as the page carries them."""
    return np.vectorize(lambda v: float(f"{v:.4g}"))(np.asarray(values, dtype=float)).tolist()


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
    return (resources.files("bnlib.figures.touch") / name).read_text(encoding="utf-8")

"""A notebook as text: what git shows when one changed."""

import copy

from tools.notebook_text import text_of

FIGURE = {
    "cell_type": "code",
    "metadata": {"mystnb": {"figure": {"caption": "Two curves, γ = 2."}}},
    "source": ["plot(x)\n", "plot(y)"],
    "outputs": [
        {"output_type": "stream", "name": "stdout", "text": ["0.25\n"]},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo", "text/plain": ["<Figure>"]}},
        {"output_type": "error", "ename": "ValueError", "traceback": ["expected 2 or 4 dimensions"]},
    ],
}
NOTEBOOK = {"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "Why?"]}, FIGURE]}


def test_everything_that_is_read_is_in_the_text():
    text = text_of(NOTEBOOK)
    for part in [
        "# Title\nWhy?",
        "plot(x)\nplot(y)",
        "Two curves, γ = 2.",
        "0.25",
        "expected 2 or 4 dimensions",
    ]:
        assert part in text


def test_a_picture_is_one_short_line_that_changes_with_it():
    other = copy.deepcopy(NOTEBOOK)
    other["cells"][1]["outputs"][1]["data"]["image/png"] = "iVBORw0KGgp"
    pairs = zip(text_of(NOTEBOOK).splitlines(), text_of(other).splitlines(), strict=True)
    (before, after), *more = [(line, new) for line, new in pairs if line != new]
    assert more == []
    assert before.startswith("image/png ") and after.startswith("image/png ") and len(after) < 30

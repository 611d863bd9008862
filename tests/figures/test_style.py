"""The palette stands in one place, and what several figures do alike does what it says."""

import ast
import importlib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import is_color_like, to_hex

import bnlib.figures
from bnlib.figures import style
from bnlib.figures.style import check_axes, check_shape, colored, log_log, log_x, panels, share_ylim

FILES = sorted(Path(bnlib.figures.__file__).parent.glob("[!_]*.py"))
DRAWING = [path for path in FILES if path.stem != "style"]


def colors_named(source):
    """The colors that a source names: a hex code, a gray level, a color's name, C and a number."""
    nodes = list(ast.walk(ast.parse(source)))
    maps = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "cmap"]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in maps]
    numbered = [node for node in nodes if isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:4] == "C{"]
    texts = [text for text in texts if isinstance(text, str) and len(text) > 1]  # one letter is a label: x, y
    return numbered + [text for text in texts if is_color_like(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_package_hands_on_every_module(path):
    module = importlib.import_module(f"bnlib.figures.{path.stem}")
    for name in module.__all__:
        assert getattr(bnlib.figures, name) is getattr(module, name)


@pytest.mark.parametrize("path", DRAWING, ids=lambda path: path.stem)
def test_no_module_has_colors_of_its_own(path):
    assert colors_named(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("color", ["'#D55E00'", "'C1'", "f'C{i}'", "'0.6'", "'black'", "'tab:blue'"])
def test_a_color_of_its_own_would_be_found(color):
    assert len(colors_named(f"ax.plot(x, 'o', color={color}, label='x')")) == 1


def test_the_palette_is_the_cycle_of_the_active_style():
    with plt.style.context([{"axes.prop_cycle": plt.cycler(color=["#111111", "#222222", "#333333"])}]):
        assert [to_hex(c) for c in (style.FIRST, style.SECOND, style.THIRD)] == [
            "#111111",
            "#222222",
            "#333333",
        ]
        assert [to_hex(c) for c in style.colors(2)] == ["#111111", "#222222"]


def test_the_grid_lies_under_the_data(ax):
    assert ax.xaxis.zorder == ax.yaxis.zorder < ax.bar([1], [1])[0].zorder


def test_every_series_gets_the_next_color():
    assert list(colored({"a": 1, "b": 2})) == [(style.FIRST, "a", 1), (style.SECOND, "b", 2)]


def test_every_entry_gets_its_panel(axes):
    assert list(panels(axes, {"a": 1, "b": 2})) == [(axes[0], "a", 1), (axes[1], "b", 2)]


def test_another_number_of_axes_is_refused(axes):
    assert check_axes(axes, 2) is axes
    with pytest.raises(ValueError, match=r"expected 3 axes \(got 2\)"):
        check_axes(axes, 3)


def test_a_shape_may_leave_a_size_open():
    np.testing.assert_array_equal(check_shape([[1, 2, 3]], ("m", 3), "x"), [[1, 2, 3]])


@pytest.mark.parametrize("shape", [(3,), (1, 3, 1), (1, 2), ("m", 2)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"^x: expected shape \(.*\) \(got \(1, 3\)\)$"):
        check_shape([[1, 2, 3]], shape, "x")


def test_an_open_size_is_named_in_the_error():
    with pytest.raises(ValueError, match=r"x: expected shape \(m, 2\)"):
        check_shape([1], ("m", 2), "x")


def test_shared_limits_hold_all_the_data(axes):
    axes[0].set_ylim(0, 1)
    axes[1].set_ylim(-2, 0.5)
    share_ylim(ax for ax in axes)
    assert axes[0].get_ylim() == axes[1].get_ylim() == (-2, 1)


def test_a_logarithmic_axis_has_the_ticks_it_is_given(ax):
    log_x(ax, [2, 50, 1024])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "50", "1024"]
    assert len(ax.xaxis.get_minorticklocs()) == 0


def test_two_logarithmic_axes_have_plain_numbers(ax):
    ax.plot([1, 100], [0.1, 10])
    log_log(ax, [1, 100])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert {"0.1", "2", "5"} <= {label.get_text() for label in ax.get_yticklabels()}
    assert len(ax.yaxis.get_minorticklocs()) == 0

"""What the figures of the chapter on forward and backward draw, read back from the axes."""

import re
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle

from bnlib.figures.algorithm import (
    draw_computation_graph,
    draw_pooled_block,
    draw_pooled_cells,
    plot_residual,
)
from bnlib.figures.style import FIRST, SECOND
from bnlib.reference import batch_norm_backward, batch_norm_forward


def one_channel(m, seed=0):
    """x_hat, g and dx of one channel of m values, with gamma 1 and eps 0; and its standard deviation."""
    rng = np.random.default_rng(seed)
    x, g = 5 + 3 * rng.normal(size=(m, 1)), rng.normal(size=(m, 1))
    _, saved = batch_norm_forward(x, np.ones(1), np.zeros(1), eps=0.0)
    dx = batch_norm_backward(g, saved).dx
    return saved.x_hat[:, 0], g[:, 0], dx[:, 0], saved.std[0]


def blue_cells(ax):
    cells = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return cells, [cell for cell in cells if same_color(cell.get_facecolor(), FIRST)]


@pytest.mark.parametrize(("spatial", "m"), [((), 4), ((2, 5), 40)])
def test_one_cell_a_number_and_blue_ones_are_those_of_one_mean(ax, spatial, m):
    draw_pooled_cells(ax, examples=4, channels=3, spatial=spatial, pooled=2)
    cells, blue = blue_cells(ax)
    assert len(cells) == 3 * m
    assert len(blue) == m
    assert all(abs(cell.get_x() + cell.get_width() / 2 - 2) < 0.5 for cell in blue)  # all in channel 2
    assert f"{m}$" in ax.get_xlabel()


def test_examples_run_down_and_channels_across(ax):
    draw_pooled_cells(ax, examples=4, channels=3, spatial=())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["$c=0$", "$c=1$", "$c=2$"]
    assert ax.get_yticklabels()[0].get_text() == "$n=0$"
    assert ax.yaxis_inverted()


@pytest.mark.parametrize("spatial", [(3,), (3, 3, 3)])
def test_cells_refuse_what_is_neither_a_number_nor_a_map(ax, spatial):
    with pytest.raises(ValueError, match="expected spatial sizes"):
        draw_pooled_cells(ax, 4, 3, spatial)


@pytest.mark.parametrize("pooled", [-1, 3])
def test_cells_refuse_a_channel_that_is_not_there(ax, pooled):
    with pytest.raises(ValueError, match="expected a channel from 0 to 2"):
        draw_pooled_cells(ax, 4, 3, (), pooled)


VALUES = dict.fromkeys(("x", "mean", "var", "x_hat", "gamma", "beta", "y"), 0.0)


def batch_of_four():
    """Values and derivatives at every node, the derivatives by autograd."""
    x = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64, requires_grad=True)
    gamma, beta = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (2.0, 10.0))
    mean = x.mean()
    var = ((x - mean) ** 2).mean()
    x_hat = (x - mean) / torch.sqrt(var + 1e-5)
    y = gamma * x_hat + beta
    nodes = dict(zip(VALUES, (x, mean, var, x_hat, gamma, beta, y), strict=True))
    g = torch.tensor([1.0, -1.0, 2.0, 0.0], dtype=torch.float64)
    derivatives = torch.autograd.grad(y, nodes.values(), g)
    return {k: v.detach() for k, v in nodes.items()}, dict(zip(nodes, derivatives, strict=True))


def graph(ax):
    """The boxes, and the arrows as pairs of points between the boxes' centers."""
    boxes = [patch.get_bbox() for patch in ax.patches]
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    return boxes, arrows, [np.array([arrow.xyann, arrow.xy]) for arrow in arrows]


def side(a, b, c):
    """On which side of the line from a to b the point c lies."""
    return np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def test_graph_has_seven_nodes_and_three_colored_arrows_from_x(ax):
    draw_computation_graph(ax, VALUES)
    boxes, arrows, _ = graph(ax)
    assert len(boxes) == 7
    assert len(arrows) == 9
    assert sum(same_color(arrow.arrow_patch.get_edgecolor(), SECOND) for arrow in arrows) == 3


def test_no_two_arrows_of_the_graph_cross_and_none_runs_through_a_node(ax):
    draw_computation_graph(ax, VALUES, VALUES)
    boxes, _, lines = graph(ax)
    for one, other in combinations(lines, 2):
        if not {tuple(p) for p in one} & {tuple(p) for p in other}:
            apart = [side(*one, p) for p in other], [side(*other, p) for p in one]
            assert any(a == b for a, b in apart), f"{one} and {other} cross"
    for line in lines:
        along = line[0] + np.linspace(0, 1, 200)[:, None] * (line[1] - line[0])
        through = [box for box in boxes if any(box.contains(*p) for p in along)]
        assert len(through) == 2  # where it begins, and where it ends


def test_graph_writes_the_numbers_of_the_batch_in_its_nodes(ax):
    values, derivatives = batch_of_four()
    draw_computation_graph(ax, values, derivatives)
    boxes, _, _ = graph(ax)
    numbers = {(FIRST, k): v for k, v in values.items()} | {(SECOND, k): v for k, v in derivatives.items()}
    for (color, name), value in numbers.items():
        box = boxes[list(values).index(name)]
        (text,) = [
            text.get_text()
            for text in ax.texts
            if box.contains(*text.get_position()) and same_color(text.get_color(), color)
        ]
        written = np.array(text.strip("()").replace("\N{MINUS SIGN}", "-").split(", "), dtype=float)
        np.testing.assert_allclose(written, np.ravel(value), atol=0.0051)
    assert "(1, 2, 3, 6)" in [text.get_text() for text in ax.texts]


def test_graph_refuses_a_node_it_does_not_have(ax):
    with pytest.raises(ValueError, match="expected x, mean, var"):
        draw_computation_graph(ax, VALUES | {"std": 1.0})
    with pytest.raises(ValueError, match=re.escape("(got x)")):
        draw_computation_graph(ax, VALUES, {"x": 1.0})


def block_faces(ax, shape):
    """The faces' cells, in the order of `draw_pooled_block`: which of them are filled."""
    filled = [same_color(cell.get_facecolor(), FIRST) for cell in ax.patches]
    examples, channels, positions = shape
    sizes = (channels, positions), (examples, positions), (examples, channels)
    parts = np.split(np.array(filled), np.cumsum([np.prod(size) for size in sizes])[:-1])
    return [part.reshape(size) for part, size in zip(parts, sizes, strict=True)]


def test_block_fills_what_is_pooled_on_its_three_faces(ax):
    pooled = np.random.default_rng(0).random((4, 6, 3)) < 0.5
    draw_pooled_block(ax, pooled, "some")
    front, right, top = block_faces(ax, pooled.shape)
    np.testing.assert_array_equal(front, pooled[0])
    np.testing.assert_array_equal(right, pooled[:, -1])
    np.testing.assert_array_equal(top, pooled[:, :, -1])
    assert ax.get_title(loc="left") == "some"


def test_block_puts_each_face_where_it_is_seen(ax):
    draw_pooled_block(ax, np.ones((4, 6, 3), bool), "all")
    corners = np.array([cell.get_xy()[:4] for cell in ax.patches])  # (cells, 4, 2)
    front, rest = corners[:18], corners[18:]
    np.testing.assert_allclose(front.min(axis=(0, 1)), 0)
    np.testing.assert_allclose(front.max(axis=(0, 1)), [6, 3])
    right, top = rest[:12], rest[12:]
    assert right[..., 0].min() >= 6 and top[..., 1].min() >= 3


def test_residual_segments_are_dx_up_to_a_factor(ax):
    x_hat, g, dx, std = one_channel(12)
    plot_residual(ax, x_hat, g)
    (segments,) = ax.collections
    ends = np.array([segment[:, 1] for segment in segments.get_segments()])
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], std * dx, atol=1e-12)


def test_residual_line_is_the_least_squares_line(ax):
    x_hat, g, *_ = one_channel(12)
    plot_residual(ax, x_hat, g)
    ends = ax.lines[0].get_xydata()
    slope, intercept = np.polyfit(x_hat, g, deg=1)
    np.testing.assert_allclose(ends[:, 1], intercept + slope * ends[:, 0], atol=1e-12)
    assert ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (lambda ax: plot_residual(ax, np.ones(3), np.ones(4)), "g: expected shape (3,) (got (4,))"),
        (lambda ax: plot_residual(ax, np.ones((3, 1)), np.ones(3)), "x_hat: expected shape (m,)"),
        (lambda ax: draw_pooled_block(ax, np.ones((4, 6)), ""), "expected shape (N, C, positions)"),
    ],
)
def test_arrays_of_another_shape_are_refused(ax, plot, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot(ax)


def test_every_figure_function_hands_its_axes_back(ax):
    x_hat, g, *_ = one_channel(3)
    assert draw_pooled_cells(ax, 2, 2, ()) is ax
    assert draw_computation_graph(ax, VALUES) is ax
    assert draw_pooled_block(ax, np.ones((1, 2, 3)), "") is ax
    assert plot_residual(ax, x_hat, g) is ax

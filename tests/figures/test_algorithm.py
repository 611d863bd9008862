"""What the figures of the chapter on the algorithm draw, read back from the axes."""

import re

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle

from bnlib.figures.algorithm import (
    draw_computation_graph,
    draw_pooled_cells,
    plot_residual,
    plot_scale_deviation,
    plot_sphere,
    plot_variance_error,
    plot_weight_growth,
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


def test_graph_has_seven_nodes_and_three_colored_arrows_from_x(ax):
    draw_computation_graph(ax)
    nodes = [text for text in ax.texts if text.get_text()]
    arrows = [text.arrow_patch for text in ax.texts if not text.get_text()]
    colored = [arrow for arrow in arrows if same_color(arrow.get_edgecolor(), SECOND)]
    assert len(nodes) == 7
    assert len(arrows) == 9
    assert len(colored) == 3


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


def test_sphere_puts_x_hat_on_the_circle(ax):
    x_hat, g, *_ = one_channel(3)
    plot_sphere(ax, x_hat, g)
    circle, point = ax.lines[0].get_xydata(), ax.lines[-1].get_xydata()[0]
    np.testing.assert_allclose(np.linalg.norm(circle, axis=1), np.sqrt(3))
    np.testing.assert_allclose(np.linalg.norm(point), np.sqrt(3))


def test_sphere_splits_g_into_a_radius_and_a_tangent_as_long_as_dx(ax):
    x_hat, g, dx, std = one_channel(3)
    plot_sphere(ax, x_hat, g)
    arrows = [text for text in ax.texts if text.arrow_patch is not None]
    centered, along, tangent = (np.subtract(arrow.xy, arrow.xyann) for arrow in arrows)
    point = np.array(arrows[0].xyann)
    np.testing.assert_allclose(along + tangent, centered, atol=1e-12)
    np.testing.assert_allclose(tangent @ point, 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(tangent), std * np.linalg.norm(dx))


def test_scale_deviation_has_points_and_a_line_on_logarithmic_axes(ax):
    plot_scale_deviation(ax, [0.01, 0.1, 10.0], [3e-2, 3e-4, 3e-6], [4e-2, 4e-4, 4e-6], eps=1e-5)
    line, points = ax.lines
    assert ax.get_xscale() == ax.get_yscale() == "log"
    np.testing.assert_array_equal(line.get_ydata(), [4e-2, 4e-4, 4e-6])
    np.testing.assert_array_equal(points.get_ydata(), [3e-2, 3e-4, 3e-6])
    assert "10^{-5}" in ax.get_title(loc="left")


def test_scale_deviation_names_an_eps_that_is_no_power_of_ten(ax):
    plot_scale_deviation(ax, [0.1], [0.1], [0.1], eps=0.02)
    assert "0.02" in ax.get_title(loc="left")


def test_scale_deviation_refuses_a_negative_scale(ax):
    with pytest.raises(ValueError, match="expected scales a > 0"):
        plot_scale_deviation(ax, [-1.0, 1.0], [0.1, 0.1], [0.1, 0.1], eps=1e-5)


def test_weight_growth_draws_the_measured_and_the_predicted_and_labels_them(ax):
    plot_weight_growth(ax, [1.0, 2.0, 3.0], [1.0, 2.0, 2.5], label="from 1")
    measured, predicted = ax.lines
    np.testing.assert_array_equal(measured.get_ydata(), [1, 2, 3])
    np.testing.assert_array_equal(predicted.get_ydata(), [1, 2, 2.5])
    assert ax.texts[0].get_text() == "from 1"
    assert ax.texts[0].get_color() == measured.get_color()


def test_variance_error_draws_both_ways_and_the_variance_itself(ax):
    plot_variance_error(ax, [1, 100, 1e4], [1e-6, 1e-2, 1e2], [1e-6, 1e-6, 1e-4])
    variance, naive, two_pass = ax.lines
    assert set(variance.get_ydata()) == {1}
    np.testing.assert_array_equal(naive.get_ydata(), [1e-6, 1e-2, 1e2])
    np.testing.assert_array_equal(two_pass.get_ydata(), [1e-6, 1e-6, 1e-4])
    assert ax.get_xscale() == ax.get_yscale() == "log"


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (lambda ax: plot_residual(ax, np.ones(3), np.ones(4)), "g: expected shape (3,) (got (4,))"),
        (lambda ax: plot_residual(ax, np.ones((3, 1)), np.ones(3)), "x_hat: expected shape (m,)"),
        (lambda ax: plot_sphere(ax, np.ones(4), np.ones(4)), "x_hat: expected shape (3,)"),
        (lambda ax: plot_sphere(ax, np.ones(3), np.ones(2)), "g: expected shape (3,)"),
        (
            lambda ax: plot_scale_deviation(ax, [1.0], [1.0], [1.0, 2.0], eps=1e-5),
            "predicted: expected shape (1,)",
        ),
        (
            lambda ax: plot_scale_deviation(ax, [1.0], [1.0, 2.0], [1.0], eps=1e-5),
            "measured: expected shape (1,)",
        ),
        (lambda ax: plot_weight_growth(ax, np.ones(3), np.ones(2), "run"), "predicted: expected shape (3,)"),
        (lambda ax: plot_variance_error(ax, [1.0, 2.0], [1.0, 2.0], [1.0]), "square: expected shape (2,)"),
    ],
)
def test_vectors_of_another_length_are_refused(ax, plot, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot(ax)


def test_every_figure_function_hands_its_axes_back(ax):
    x_hat, g, *_ = one_channel(3)
    assert draw_pooled_cells(ax, 2, 2, ()) is ax
    assert draw_computation_graph(ax) is ax
    assert plot_residual(ax, x_hat, g) is ax
    assert plot_sphere(ax, x_hat, g) is ax
    assert plot_weight_growth(ax, x_hat, g, "run") is ax
    assert plot_scale_deviation(ax, [1.0], [1.0], [1.0], eps=1e-5) is ax
    assert plot_variance_error(ax, [1.0], [1.0], [1.0]) is ax

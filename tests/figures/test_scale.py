"""What the figures of the chapter on training draw, read back from the axes."""

import re

import numpy as np
import pytest

from bnlib.figures.scale import (
    plot_perpendicular_step,
    plot_scale_deviation,
    plot_variance_error,
    plot_weight_growth,
)


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


def test_the_step_is_perpendicular_and_shorter_where_the_weights_are_longer(ax):
    assert plot_perpendicular_step(ax, 0.6, factor=2) is ax
    weights, step, after = (np.stack([arrows.U, arrows.V], axis=1) for arrows in ax.collections)
    np.testing.assert_allclose(weights, [[0, 1], [0, 2]])
    np.testing.assert_allclose(step, [[0.6, 0], [0.3, 0]])
    np.testing.assert_allclose(after, weights + step)
    feet, tips, again = (np.stack([arrows.X, arrows.Y], axis=1) for arrows in ax.collections)
    np.testing.assert_allclose(tips, feet + weights)  # the step begins where the weights end
    np.testing.assert_allclose(again, feet)


def test_a_step_that_leads_nowhere_is_refused(ax):
    with pytest.raises(ValueError, match=r"expected a step and a factor > 0 \(got 0 and 2\)"):
        plot_perpendicular_step(ax, 0)


RUN = {"from 1": ([1.0, 2.0, 4.0], [1.0, 2.0, 3.5])}


def test_weight_growth_draws_the_measured_and_the_predicted_and_names_the_run(axes):
    plot_weight_growth(axes, RUN, learning_rate=0.5)
    measured, predicted = axes[0].lines
    np.testing.assert_array_equal(measured.get_ydata(), [1, 2, 4])
    np.testing.assert_array_equal(predicted.get_ydata(), [1, 2, 3.5])
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["from 1"]
    assert axes[0].get_ylim()[0] == 0


def test_weight_growth_draws_the_effective_learning_rate_below_in_the_same_color(axes):
    plot_weight_growth(axes, RUN, learning_rate=0.5)
    (rate,) = axes[1].lines
    np.testing.assert_allclose(rate.get_ydata(), [0.5, 0.125, 0.03125])
    assert rate.get_color() == axes[0].lines[0].get_color()
    assert axes[1].get_yscale() == "log"


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
        (
            lambda ax: plot_scale_deviation(ax, [1.0], [1.0], [1.0, 2.0], eps=1e-5),
            "predicted: expected shape (1,)",
        ),
        (
            lambda ax: plot_scale_deviation(ax, [1.0], [1.0, 2.0], [1.0], eps=1e-5),
            "measured: expected shape (1,)",
        ),
        (
            lambda ax: plot_weight_growth([ax, ax], {"": (np.ones(3), np.ones(2))}, 1),
            "predicted: expected shape (3,)",
        ),
        (lambda ax: plot_weight_growth([ax, ax], {"": (np.ones((3, 1)), 0)}, 1), "norms: expected shape"),
        (lambda ax: plot_weight_growth([ax], RUN, 1), "expected 2 axes"),
        (lambda ax: plot_variance_error(ax, [1.0, 2.0], [1.0, 2.0], [1.0]), "square: expected shape (2,)"),
    ],
)
def test_vectors_of_another_length_are_refused(ax, plot, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot(ax)


def test_every_figure_function_hands_its_axes_back(ax, axes):
    assert plot_weight_growth(axes, RUN, 1.0) is axes
    assert plot_scale_deviation(ax, [1.0], [1.0], [1.0], eps=1e-5) is ax
    assert plot_variance_error(ax, [1.0], [1.0], [1.0]) is ax

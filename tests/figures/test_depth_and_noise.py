import numpy as np

from bnlib.figures.depth_and_noise import plot_predicted


def test_dots_are_measured_and_lines_predicted(ax):
    plot_predicted(ax, (2, 8), {"mean": ([0.7, 0.4], [0.71, 0.35])})
    line, dots = ax.get_lines()
    np.testing.assert_allclose(line.get_ydata(), [0.71, 0.35])
    np.testing.assert_allclose(dots.get_ydata(), [0.7, 0.4])
    assert dots.get_linestyle() == "None"

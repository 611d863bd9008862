import numpy as np

from bnlib.figures.conclusion import plot_gradient_error


def test_the_gray_line_falls_like_one_over_the_root(ax):
    plot_gradient_error(ax, np.array([1, 4, 16]), np.array([8.0, 4.1, 1.9]))
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [8, 4, 2])

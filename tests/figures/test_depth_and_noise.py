import numpy as np
import pytest

from bnlib.figures.depth_and_noise import plot_predicted, plot_train_and_test


def test_dots_are_measured_and_lines_predicted(ax):
    plot_predicted(ax, (2, 8), {"mean": ([0.7, 0.4], [0.71, 0.35])})
    line, dots = ax.get_lines()
    np.testing.assert_allclose(line.get_ydata(), [0.71, 0.35])
    np.testing.assert_allclose(dots.get_ydata(), [0.7, 0.4])
    assert dots.get_linestyle() == "None"


def test_learning_goes_to_the_right_and_the_thick_line_through_the_medians(axes):
    train, test = (
        np.array([[2.0, 1.0], [2.2, 0.8], [2.1, 0.5]]),
        np.array([[2.3, 1.5], [2.3, 1.2], [2.3, 1.4]]),
    )
    plot_train_and_test(axes, {"a": {"plain": (train, test)}, "b": {"BN": (train, test)}})
    *_, thick = axes[0].get_lines()
    np.testing.assert_allclose(thick.get_xydata(), [[2.1, 2.3], [0.8, 1.4]])
    left, right = axes[0].get_xlim()
    assert left > right


def test_losses_of_two_shapes_are_refused(axes):
    with pytest.raises(ValueError, match=r"BN: expected shape"):
        plot_train_and_test(axes, {"a": {"BN": (np.ones((2, 3)), np.ones((2, 2)))}, "b": {}})

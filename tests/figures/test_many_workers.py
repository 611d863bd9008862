"""What the figures of the chapter on many workers draw."""

import numpy as np
import pytest

from bnlib.figures.many_workers import plot_error_by_share, plot_times, plot_who_shares


def test_a_frame_goes_round_those_that_share_statistics():
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 3)
    assert plot_who_shares(axes) is axes
    frames = [[p for p in ax.patches if not p.get_fill()] for ax in axes]
    assert [len(f) for f in frames] == [1, 4, 4]
    assert frames[0][0].get_width() > 3 * frames[2][0].get_width()
    plt.close()


def test_measured_and_expected_errors_stand_over_the_sizes(ax):
    plot_error_by_share(ax, [2, 4], [0.5, 0.4], [0.8, 0.6])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.5, 0.4])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.8, 0.6])
    with pytest.raises(ValueError, match="error"):
        plot_error_by_share(ax, [2, 4], [0.5], [0.8, 0.6])


def test_times_are_dots_and_the_model_a_line_in_milliseconds(ax):
    plot_times(ax, {"a": ([2, 3], [0.001, 0.002])}, {"a": ([2, 1024], [0.001, 1.0])})
    dots, line = ax.lines
    assert dots.get_color() == line.get_color()
    np.testing.assert_allclose(dots.get_ydata(), [1, 2])
    np.testing.assert_allclose(line.get_ydata(), [1, 1000])

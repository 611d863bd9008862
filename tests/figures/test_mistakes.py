"""What the figure of the chapter on mistakes draws."""

import numpy as np
import pytest

from bnlib.figures.mistakes import plot_ragged

RAGGED, WHOLE = np.arange(6.0), np.arange(10.0, 14.0)  # two epochs of three and of two steps


def labelled(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_both_are_drawn_over_the_same_epochs(ax):
    assert plot_ragged(ax, RAGGED, WHOLE, epochs=2, mean=3.0) is ax
    lines = labelled(ax)
    np.testing.assert_allclose(lines["last batch of two"].get_xdata(), np.arange(1, 7) / 3)
    np.testing.assert_allclose(lines["dropped"].get_xdata(), [0.5, 1, 1.5, 2])
    np.testing.assert_array_equal(lines["last batch of two"].get_ydata(), RAGGED)
    np.testing.assert_array_equal(lines["dropped"].get_ydata(), WHOLE)


def test_a_dot_marks_the_end_of_each_epoch(ax):
    plot_ragged(ax, RAGGED, WHOLE, epochs=2, mean=3.0)
    dots = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert dots == [[[1, 2], [2, 5]], [[1, 11], [2, 13]]]


def test_the_mean_of_the_data_is_a_horizontal_line(ax):
    plot_ragged(ax, RAGGED, WHOLE, epochs=2, mean=3.25)
    assert list(ax.lines[0].get_ydata()) == [3.25, 3.25]


def test_the_two_have_different_colors(ax):
    plot_ragged(ax, RAGGED, WHOLE, epochs=2, mean=3.0)
    assert len({line.get_color() for line in labelled(ax).values()}) == 2


@pytest.mark.parametrize("ragged, whole", [(RAGGED[:5], WHOLE), (RAGGED, WHOLE[:3]), ([], WHOLE)])
def test_epochs_of_different_lengths_are_refused(ax, ragged, whole):
    with pytest.raises(ValueError, match="the same number of steps in 2 epochs"):
        plot_ragged(ax, ragged, whole, epochs=2, mean=3.0)

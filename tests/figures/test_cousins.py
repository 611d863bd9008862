import numpy as np
import pytest

from bnlib.figures.cousins import plot_cubes, plot_error_by_batch, plot_skip_growth


def test_a_cube_shows_three_faces_and_colors_the_values_that_share(axes):
    shared = np.zeros((4, 6, 3), bool)
    shared[0] = True  # the first example
    plot_cubes(axes, {"one": shared, "none": np.zeros((4, 6, 3), bool)})
    first, second = ([patch.get_facecolor() for patch in ax.patches] for ax in axes)
    assert len(first) == 6 * 3 + 4 * 3 + 4 * 6
    assert len(set(second)) == 1
    # the front, one column of the side, and one row of the top
    assert sum(color != second[0] for color in first) == 6 * 3 + 3 + 6


def test_cubes_are_refused_without_three_axes(axes):
    with pytest.raises(ValueError, match=r"one: expected shape \(N, C, positions\)"):
        plot_cubes(axes, {"one": np.zeros((4, 6), bool), "two": np.zeros((4, 6), bool)})


def test_a_norm_is_drawn_at_the_sizes_that_it_has(axes):
    errors = {
        "batch": {"BN": {2: [0.4, 0.5, 0.9], 8: [0.1, 0.1, 0.1]}, "ghost": {8: [0.2, 0.3, 0.4]}},
        "example": {"GN": {2: [0.2], 8: [0.1]}},
    }
    plot_error_by_batch(axes, (2, 8), errors, (0.05, 0.1, 1))
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    np.testing.assert_allclose(lines["BN"].get_ydata(), [0.5, 0.1])
    np.testing.assert_allclose(lines["ghost"].get_ydata(), [0.3])
    assert axes[1].get_ylim() == (0.05, 1)


def test_a_signal_is_drawn_from_before_the_first_block(ax):
    plot_skip_growth(ax, {"skip": [1, 2, 4]})
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), [0, 1, 2])

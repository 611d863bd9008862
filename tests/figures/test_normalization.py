import numpy as np
import pytest

from bnlib.figures.normalization import (
    plot_bias_descent,
    plot_clouds,
    plot_cost,
    plot_descents,
    plot_digits,
    plot_regions,
    plot_sigmoid,
)
from bnlib.figures.style import FIRST


def test_clouds_share_one_scale_and_hold_every_point(axes):
    clouds = {"wide": np.array([[-9.0, 0.0], [9.0, 1.0]]), "narrow": np.array([[-1.0, 0.0], [1.0, 1.0]])}
    plot_clouds(axes, clouds, np.array([0]))
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[0].get_xlim()[1] > 9


def test_clouds_need_no_marked_points(axes):
    plot_clouds(axes, {"a": np.eye(2), "b": np.eye(2)})
    assert [len(ax.collections[1].get_offsets()) for ax in axes] == [0, 0]


def test_a_descent_lies_on_the_contours_of_its_curvatures(ax):
    error = np.array([[1.0, 1.0], [0.5, -0.5], [0.25, 0.25]])
    plot_descents([ax], {"a": (np.array([1.0, 3.0]), error)}, steps=1)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), error[:2])
    contours = ax.collections[0]
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        flat, steep = path.vertices.T
        # drawn from straight pieces between the points of a grid
        np.testing.assert_allclose(0.25 * flat**2 + 0.75 * steep**2, level, atol=1e-3)


def test_regions_are_colored_as_their_points(ax):
    points = np.array([[-1.0, -1.0], [1.0, 1.0]])
    plot_regions(ax, points, np.array([0, 1]), np.array([[0, 0], [0, 1]]), reach=2)
    image = ax.get_images()[0]
    shown = image.to_rgba(image.get_array())[:, :, :3]
    lower_left, upper_right = (dots.get_facecolor()[0, :3] for dots in ax.collections)
    np.testing.assert_allclose(shown[0, 0], lower_left)
    np.testing.assert_allclose(shown[1, 1], upper_right)
    assert image.origin == "lower"


def test_regions_without_a_label_for_each_point_are_refused(ax):
    with pytest.raises(ValueError, match=r"labels: expected shape .2,. .got .3,.."):
        plot_regions(ax, np.zeros((2, 2)), np.zeros(3), np.zeros((2, 2)), reach=1)


def test_digits_fill_the_grid_row_by_row(subplots):
    axes = subplots(2, 2)
    images = np.random.default_rng(0).random((4, 5, 5))
    plot_digits(axes, {"above": images[:2], "below": images[2:]})
    np.testing.assert_array_equal(axes[1][0].get_images()[0].get_array(), images[2])
    assert axes[1][0].get_title(loc="left") == "below"


def test_the_cost_is_drawn_at_its_features(ax):
    plot_cost(ax, np.array([16, 64]), np.array([2.0, 10.0]))
    np.testing.assert_array_equal(ax.get_lines()[1].get_xydata(), [[16, 2], [64, 10]])


def test_bias_and_loss_stand_side_by_side(axes):
    plot_bias_descent(axes, {"a": (np.arange(3.0), np.ones(3)), "b": (np.zeros(3), np.ones(3))})
    np.testing.assert_array_equal(axes[0].get_lines()[0].get_ydata(), [0, 1, 2])
    np.testing.assert_array_equal(axes[1].get_lines()[0].get_ydata(), [1, 1, 1])
    assert axes[1].get_ylim()[0] == 0


def test_the_sigmoid_is_blue_only_where_it_is_near_linear(axes):
    plot_sigmoid(axes, {"a": (0, 1), "b": (2, 3)}, limit=1.0)
    blue = next(line for line in axes[0].get_lines() if line.get_color() == FIRST)
    x, y = blue.get_data()
    assert np.abs(x).max() <= 1.0
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)))


def test_a_wrong_number_of_axes_is_refused(axes):
    with pytest.raises(ValueError, match=r"expected 1 axes \(got 2\)"):
        plot_sigmoid(axes, {"a": (0, 1)}, limit=1.0)

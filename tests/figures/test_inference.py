"""What the figures of the chapter on inference draw."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bnlib.figures.inference import (
    plot_affine_maps,
    plot_answers,
    plot_border_difference,
    plot_changed_share,
    plot_kept_variance,
    plot_running_means,
)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_bar_counts_the_answers_of_a_class(axes):
    plot_answers(axes, np.zeros((28, 28)), [3, 3, 5, 3], label=3)
    heights = [bar.get_height() for bar in axes[1].patches]
    assert heights == [0, 0, 0, 3, 0, 1, 0, 0, 0, 0]


def test_only_the_correct_answer_has_another_color(axes):
    plot_answers(axes, np.zeros((28, 28)), [3, 3, 5, 3], label=3)
    colors = [bar.get_facecolor() for bar in axes[1].patches]
    assert [i for i, color in enumerate(colors) if color != colors[0]] == [3]


def test_the_image_and_its_label_are_shown(axes):
    image = np.arange(784.0).reshape(28, 28)
    assert plot_answers(axes, image, [7], label=7) is axes
    np.testing.assert_array_equal(axes[0].images[0].get_array(), image)
    assert axes[0].get_title(loc="left") == "one image, a 7"


def test_answers_need_two_axes(ax):
    with pytest.raises(ValueError, match="expected 2 axes"):
        plot_answers([ax], np.zeros((2, 2)), [1], label=1)


@pytest.mark.parametrize("answer", [-1, 10])
def test_an_answer_is_a_digit(axes, answer):
    with pytest.raises(ValueError, match="from 0 to 9"):
        plot_answers(axes, np.zeros((2, 2)), [1, answer], label=1)


def test_shares_are_drawn_and_written_in_per_cent(ax):
    assert plot_changed_share(ax, [4, 250], [0.76, 0.05]) is ax
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [76, 5])
    assert [text.strip() for text in texts(ax)] == ["76%", "5%"]
    assert ax.get_xlim() == (0, 100)


def test_the_first_size_is_on_top(ax):
    plot_changed_share(ax, [4, 250], [0.76, 0.05])
    low, high = ax.get_ylim()
    assert low > high


@pytest.mark.parametrize("shares", [[0.1], [0.1, 1.1], [-0.1, 0.1]])
def test_shares_must_fit(ax, shares):
    with pytest.raises(ValueError, match="expected"):
        plot_changed_share(ax, [4, 10], shares)


def test_each_batch_has_its_line_and_inference_the_thick_one(ax):
    assert plot_affine_maps(ax, [1, 2, 3], [0, 1, -1], 2.0, 0.5, limits=(-1, 1)) is ax
    assert [list(line.get_ydata()) for line in ax.lines] == [[-1, 1], [-1, 3], [-4, 2], [-1.5, 2.5]]
    widths = [line.get_linewidth() for line in ax.lines]
    assert widths[-1] > 2 * max(widths[:-1])
    assert {"at inference: one line", "in training: a line a batch"} == set(texts(ax))


def test_slopes_and_intercepts_come_in_pairs(ax):
    with pytest.raises(ValueError, match=r"intercepts: expected shape \(2,\)"):
        plot_affine_maps(ax, [1, 2], [0], 1.0, 0.0, limits=(0, 1))


def test_running_means_are_drawn_over_the_batch_means_and_labelled(ax):
    batch_means, slow = np.linspace(1, 2, 50), np.linspace(0, 1, 50)
    assert plot_running_means(ax, batch_means, {"0.1": batch_means, "0.01": slow}) is ax
    dots, _, second = ax.lines
    assert dots.get_linestyle() == "None"
    np.testing.assert_array_equal(dots.get_ydata(), batch_means)
    np.testing.assert_array_equal(second.get_ydata(), slow)
    assert list(dots.get_xdata()[[0, -1]]) == [1, 50]
    assert texts(ax) == ["0.1", "0.01"]
    assert [to_rgb(text.get_color()) for text in ax.texts] == [
        to_rgb(line.get_color()) for line in ax.lines[1:]
    ]


def test_a_running_mean_has_a_value_a_step(ax):
    with pytest.raises(ValueError, match=r"0.1: expected shape \(5,\)"):
        plot_running_means(ax, np.zeros(5), {"0.1": np.zeros(4)})


def test_the_correction_is_dashed_and_the_ways_are_named(ax):
    assert plot_kept_variance(ax, [4, 10], {"Algorithm 2": [1.4, 1.1], "pooled": [1.05, 1.0]}) is ax
    lines = {line.get_label(): line for line in ax.lines}
    dashed = lines["m/(m−1)"]
    assert dashed.get_linestyle() == "--"
    np.testing.assert_allclose(dashed.get_ydata()[[0, -1]], [4 / 3, 10 / 9])
    np.testing.assert_array_equal(lines["pooled"].get_ydata(), [1.05, 1.0])
    assert [label.get_text() for label in ax.get_legend().get_texts()] == ["m/(m−1)", "Algorithm 2", "pooled"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "10"]


def test_a_variance_needs_two_images(ax):
    with pytest.raises(ValueError, match="sizes of at least 2"):
        plot_kept_variance(ax, [1, 10], {"pooled": [1, 1]})


def test_each_size_has_a_ratio(ax):
    with pytest.raises(ValueError, match=r"pooled: expected shape \(2,\)"):
        plot_kept_variance(ax, [4, 10], {"pooled": [1]})


def test_no_difference_is_white(ax):
    difference = np.array([[0.0, 2.0], [1.0, 0.0]])
    assert plot_border_difference(ax, difference) is ax
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), difference)
    assert image.get_clim() == (0, 2)
    assert to_rgb(image.cmap(image.norm(0.0))) == (1, 1, 1)


@pytest.mark.parametrize(
    ("difference", "message"), [(np.zeros(3), r"expected shape \(H, W\)"), (-np.ones((2, 2)), "at least 0")]
)
def test_a_difference_is_a_map_of_sizes(ax, difference, message):
    with pytest.raises(ValueError, match=message):
        plot_border_difference(ax, difference)

"""What the figures of the chapter on inference draw."""

import numpy as np
import pytest
from matplotlib.text import Annotation

from bnlib.figures.inference import draw_modes, plot_affine_maps, plot_changed_share, plot_kept_variance


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_only_training_takes_statistics_of_the_batch(axes):
    assert draw_modes(axes) is axes
    train, evaluate = ([text for text in texts(ax) if text] for ax in axes)
    assert set(train) - set(evaluate) == {"mean, variance\nof the batch", "keep"}
    assert set(evaluate) < set(train)


def test_the_modes_differ_in_what_feeds_the_normalization(axes):
    draw_modes(axes)
    at = {text.get_text(): text.get_position() for text in axes[0].texts if text.get_text()}
    flows = [{(arrow.xyann, arrow.xy) for arrow in ax.texts if isinstance(arrow, Annotation)} for ax in axes]
    batch, running = at["mean, variance\nof the batch"], at["running mean,\nrunning variance"]
    assert flows[0] - flows[1] == {(at["x"], batch), (batch, at["normalize"]), (batch, running)}
    assert flows[1] - flows[0] == {(running, at["normalize"])}


def test_the_modes_need_two_axes(ax):
    with pytest.raises(ValueError, match="expected 2 axes"):
        draw_modes([ax])


def test_shares_are_drawn_and_written_in_per_cent(ax):
    assert plot_changed_share(ax, [4, 250], [[0.70, 0.05], [0.80, 0.07]]) is ax
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [75, 6])
    np.testing.assert_allclose([dots.get_xdata() for dots in ax.lines], [[70, 80], [5, 7]])
    assert texts(ax) == ["75%", "6%"]
    assert ax.get_xlim() == (0, 100)


def test_the_first_size_is_on_top(ax):
    plot_changed_share(ax, [4, 250], [[0.76, 0.05]])
    low, high = ax.get_ylim()
    assert low > high


@pytest.mark.parametrize("shares", [[0.1, 0.1], [[0.1]], [[0.1, 1.1]], [[-0.1, 0.1]]])
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


def test_the_correction_is_dashed_and_the_ways_are_named(ax):
    assert (
        plot_kept_variance(ax, [4, 10], {"Algorithm 2": [[1, 1.4], [1, 1.1]], "pooled": [[1.05], [1.0]]})
        is ax
    )
    lines = {line.get_label(): line for line in ax.lines}
    dashed = lines["m/(m−1)"]
    assert dashed.get_linestyle() == "--"
    np.testing.assert_allclose(dashed.get_ydata()[[0, -1]], [4 / 3, 10 / 9])
    np.testing.assert_array_equal(lines["pooled"].get_ydata(), [1.05, 1.0])
    found = [(text.get_text(), text.xy) for text in ax.texts]
    assert found == [("1", (4, 1)), ("2", (4, 1.4)), ("1", (4, 1.05))]
    assert [label.get_text() for label in ax.get_legend().get_texts()] == ["m/(m−1)", "Algorithm 2", "pooled"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "10"]


def test_numbers_that_would_cover_one_another_share_a_place(ax):
    ratios = {"Algorithm 2": [[1, 1.4, 1.41]], "pooled": [[1.001, 1, 0.999]]}
    plot_kept_variance(ax, [4], ratios)
    assert [text.get_text() for text in ax.texts] == ["1", "2,3", "1,2,3"]
    np.testing.assert_allclose([text.xy for text in ax.texts], [(4, 1), (4, 1.405), (4, 1)])


def test_a_variance_needs_two_images(ax):
    with pytest.raises(ValueError, match="sizes of at least 2"):
        plot_kept_variance(ax, [1, 10], {"pooled": [[1], [1]]})


def test_each_size_has_a_ratio(ax):
    with pytest.raises(ValueError, match=r"pooled: expected shape \(2, layers\)"):
        plot_kept_variance(ax, [4, 10], {"pooled": [[1]]})

import numpy as np
import pytest

from bnlib.figures.cost import plot_predictions, plot_ratios

RATIOS = {"eager": [[1.0, 1.2, 1.1], [3.0, 2.0, 4.0]], "compiled": [[0.8, 0.9, 1.0], [0.5, 0.5, 0.5]]}


def test_a_ratio_is_a_dot_at_the_median_on_a_line_over_the_runs(ax):
    plot_ratios(ax, ["small", "large"], RATIOS)
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), [1.1, 3.0])
    spans = [segment[:, 0] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(spans, [[1.0, 1.2], [2.0, 4.0]])


def test_rows_go_from_top_to_bottom_and_two_ratios_of_a_row_do_not_meet(ax):
    plot_ratios(ax, ["small", "large"], RATIOS)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small", "large"]
    bottom, top = ax.get_ylim()
    assert bottom > top
    eager, compiled = (line.get_ydata() for line in ax.get_lines()[:2])
    assert np.round([*eager, *compiled]).tolist() == [0, 1, 0, 1]
    assert (eager < compiled).all()


def test_a_goal_stands_in_the_row_of_its_ratio(ax):
    plot_ratios(ax, ["small", "large"], RATIOS, goals={"compiled": [np.nan, 1.5]})
    _, compiled, goal, _ = ax.get_lines()
    np.testing.assert_array_equal(goal.get_xdata(), [np.nan, 1.5])
    np.testing.assert_array_equal(goal.get_ydata(), compiled.get_ydata())
    assert goal.get_marker() == "|"


def test_the_legend_names_every_ratio_and_the_goal_once(ax):
    plot_ratios(ax, ["small", "large"], RATIOS, goals={"eager": [1.3, 1.3], "compiled": [1, 1]})
    assert sorted(text.get_text() for text in ax.get_legend().get_texts()) == ["compiled", "eager", "goal"]


def test_a_missing_row_or_goal_is_refused(ax):
    with pytest.raises(ValueError, match=r"eager: expected shape \(3, runs\)"):
        plot_ratios(ax, ["a", "b", "c"], RATIOS)
    with pytest.raises(ValueError, match=r"goal of eager: expected shape \(2,\)"):
        plot_ratios(ax, ["a", "b"], RATIOS, goals={"eager": [1.3]})


def test_on_the_diagonal_prediction_and_measurement_are_equal(ax):
    plot_predictions(ax, {"fused": [1.0, 10.0]}, {"fused": [[1.0, 2.0, 4.0], [10.0, 12.0, 30.0]]})
    found, diagonal = ax.get_lines()
    np.testing.assert_allclose(found.get_xydata(), [[1, 2], [10, 12]])
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlim()[0] < 1
    assert ax.get_xlim()[1] > 30


def test_what_was_predicted_must_have_been_measured(ax):
    with pytest.raises(ValueError, match=r"expected times of plain \(got fused\)"):
        plot_predictions(ax, {"plain": [1.0]}, {"fused": [[1.0]]})
    with pytest.raises(ValueError, match=r"plain: expected shape \(1, runs\)"):
        plot_predictions(ax, {"plain": [1.0]}, {"plain": [[1.0], [2.0]]})

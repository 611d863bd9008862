import numpy as np
import pytest

from bnlib.figures.covariate_shift import plot_amplification, plot_fits, plot_moving_inputs, plot_slopes
from bnlib.reference import OBSERVED, TARGET, Line, true_function


def test_the_fits_show_the_truth_and_both_lines_by_name(axes):
    x = np.linspace(-1, 1, 10)
    lines = {"plain": Line(0.0, 0.5), "weighted": Line(0.0, -0.7)}
    plot_fits(axes, x, x, np.ones(10), true_function, {"q0": OBSERVED.density, "q1": TARGET.density}, lines)
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == ["true function", "plain", "weighted"]
    drawn = axes[0].get_lines()[2].get_xydata()
    np.testing.assert_allclose(drawn[:, 1], -0.7 * drawn[:, 0])


def test_a_heavier_example_has_a_larger_dot(axes):
    x = np.zeros(2)
    lines = {"a": Line(0.0, 0.0), "b": Line(0.0, 1.0)}
    densities = {"q0": OBSERVED.density, "q1": TARGET.density}
    plot_fits(axes, x, x, np.array([0.1, 3.0]), true_function, densities, lines)
    small, large = axes[0].collections[0].get_sizes()
    assert small < large


def test_the_population_slopes_are_marked_where_they_are(axes):
    plot_slopes(axes[0], {"a": np.zeros(5), "b": np.ones(5)}, [0.25, 0.75])
    assert [line.get_xdata()[0] for line in axes[0].get_lines()] == [0.25, 0.75]


def test_moving_inputs_stand_in_the_order_of_their_means_before(axes):
    before = np.array([[3.0, 0.0, 1.0], [5.0, 2.0, 1.0]])  # means 4, 1, 1; standard deviations 1, 1, 0
    plot_moving_inputs(axes, {"moves": (before, before + 0.5), "stays": (before, before)})
    assert [ax.get_title(loc="left") for ax in axes] == ["moves", "stays"]
    for ax, shift in zip(axes, (0.5, 0.0), strict=True):
        mean, after = ax.lines
        np.testing.assert_array_equal(mean.get_ydata(), [1, 1, 4])
        np.testing.assert_array_equal(after.get_ydata(), np.array([1, 1, 4]) + shift)
        bars = {(bar.get_y(), bar.get_height()) for bar in ax.patches}
        assert bars == {(0.0, 2.0), (1.0, 0.0), (3.0, 2.0)}
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_moving_inputs_of_other_examples_are_refused(axes):
    with pytest.raises(ValueError, match=r"a: expected shape \(4, 3\) \(got \(5, 3\)\)"):
        plot_moving_inputs(axes, {"a": (np.zeros((4, 3)), np.zeros((5, 3))), "b": (np.zeros((4, 3)),) * 2})


def test_amplification_has_one_scale_for_all_panels(axes):
    grows, shrinks = {0.1: np.array([1e-3, 1e-1])}, {0.1: np.array([1e-3, 1e-5])}
    plot_amplification(axes, [grows, shrinks], ["grows", "shrinks"])
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[0].get_yscale() == "log"


def test_a_wrong_number_of_axes_is_refused(axes):
    with pytest.raises(ValueError, match=r"expected 1 axes \(got 2\)"):
        plot_moving_inputs(axes, {"a": (np.zeros((4, 3)), np.zeros((4, 3)))})

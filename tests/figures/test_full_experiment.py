import numpy as np
import pytest

from bnlib.figures.full_experiment import (
    plot_against_ratio,
    plot_by_layer,
    plot_distributions,
    plot_heat_maps,
    plot_paper,
    plot_paper_band,
)


def test_every_cell_of_a_heat_map_says_its_per_cent(axes):
    maps = {"plain": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.98]], "with BN": np.zeros((2, 3))}
    plot_heat_maps(axes, maps, rows=[0.1, 1.0], columns=[1, 2, 3], labels=("rate", "std"))
    assert [text.get_text() for text in axes[0].texts] == ["10", "20", "30", "40", "50", "98"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["0.1", "1"]


def test_all_heat_maps_have_one_scale(axes):
    maps = {"a": np.full((1, 1), 0.2), "b": np.full((1, 1), 0.9)}
    plot_heat_maps(axes, maps, [1], [1], ("", ""))
    assert {ax.get_images()[0].get_clim() for ax in axes} == {(0, 1)}


def test_a_heat_map_of_another_shape_is_refused(axes):
    with pytest.raises(ValueError, match=r"a: expected shape \(2, 3\)"):
        plot_heat_maps(axes, {"a": np.zeros((3, 2)), "b": np.zeros((2, 3))}, [1, 2], [1, 2, 3], ("", ""))


def test_the_fullest_bin_of_every_step_is_darkest(axes):
    histograms = np.array([[[0.1, 0.9], [0.5, 0.5]], [[0.3, 0.1], [0.2, 0.8]]])  # (T, layers, bins)
    plot_distributions(axes, [0, 100], [-1, 0, 1], histograms)
    drawn = np.asarray(axes[0].collections[0].get_array()).reshape(2, 2)  # (bins, T)
    np.testing.assert_allclose(drawn.max(axis=0), 1)
    np.testing.assert_allclose(drawn[:, 1], [1, 1 / 3])


def test_histograms_that_do_not_fit_are_refused(axes):
    with pytest.raises(ValueError, match=r"histograms: expected shape \(3, 2, 2\)"):
        plot_distributions(axes, [0, 100, 200], [-1, 0, 1], np.ones((2, 2, 2)))


def test_layers_share_one_scale_and_step_0_is_left_out(axes):
    results = {"plain": np.array([[1.0, 2.0], [3.0, 4.0]]), "with BN": np.full((2, 2), 9.0)}
    plot_by_layer(axes, [0, 10], results, "gradient norm")
    assert axes[0].get_ylim() == axes[1].get_ylim()
    np.testing.assert_array_equal(axes[0].get_lines()[1].get_xydata(), [[10, 4]])


def test_the_papers_curves_are_dashed_in_our_colors_over_their_own_steps(axes):
    curves = {"plain": [[3000, 9000], [0.7, 0.9]], "with BN": [[4000, 12_000], [0.95, 0.98]]}
    for name in curves:
        axes[0].plot([0, 50_000], [0, 1], label=name)
    plot_paper(axes[0], curves)
    ours, paper = axes[0].get_lines()[:2], axes[0].get_lines()[2:]
    assert [line.get_color() for line in paper] == ["C0", "C1"]
    assert all(line.is_dashed() for line in paper) and not any(line.is_dashed() for line in ours)
    np.testing.assert_array_equal(paper[1].get_xydata(), [[4000, 0.95], [12_000, 0.98]])
    assert axes[0].get_xlim() == (3000, 12_000)


def test_a_curve_of_the_paper_without_steps_is_refused(axes):
    with pytest.raises(ValueError, match=r"plain: expected shape \(2, K\)"):
        plot_paper(axes[0], {"plain": [0.7, 0.9]})


def test_the_papers_band_is_three_dashed_lines(axes):
    plot_paper_band(axes[0], {"15": [[0, 9], [-1, -2]], "50": [[0, 9], [0, 0]], "85": [[0, 9], [1, 2]]})
    assert [line.is_dashed() for line in axes[0].get_lines()] == [True] * 3
    np.testing.assert_array_equal(axes[0].get_lines()[2].get_ydata(), [1, 2])


def test_a_heat_map_against_the_ratio_has_one_line_a_rate(axes):
    plot_against_ratio(axes[0], [0.1, 1.0], [0.1, 1.0, 2.0], [[0.9, 0.8, 0.7], [0.95, 0.9, 0.85]])
    first, second = axes[0].get_lines()
    np.testing.assert_allclose(first.get_xydata(), [[10, 0.1], [0.1, 0.2], [0.025, 0.3]])
    np.testing.assert_allclose(second.get_xdata(), [100, 1, 0.25])
    with pytest.raises(ValueError, match=r"accuracies: expected shape \(2, 3\)"):
        plot_against_ratio(axes[0], [0.1, 1.0], [0.1, 1.0, 2.0], np.ones((3, 2)))

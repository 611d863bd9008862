import numpy as np
import pytest

from bnlib.figures.comparisons import error_axis, plot_over_setting, plot_untuned


def test_the_line_is_the_median_and_every_seed_a_dot(axes):
    plot_over_setting(axes[0], (2, 8), {"plain": [[0.2, 0.8], [0.4, 0.6], [0.9, 0.7]]}, "batch size")
    median, *seeds = [line.get_ydata() for line in axes[0].get_lines()]
    np.testing.assert_allclose(median, [0.4, 0.7])
    assert len(seeds) == 3


def test_a_missing_result_is_refused(axes):
    with pytest.raises(ValueError, match=r"plain: expected shape \(seeds, 2\)"):
        plot_over_setting(axes[0], (2, 8), {"plain": np.zeros((2, 3))}, "batch size")


def test_an_axis_of_errors_is_logarithmic_and_has_only_its_ticks(axes):
    error_axis(axes[0], [0.02, 0.1, 1])
    assert axes[0].get_yscale() == "log" and axes[0].get_ylim() == (0.02, 1)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["2 %", "10 %", "100 %"]
    assert list(axes[0].get_yticks(minor=True)) == []


def test_what_is_not_tuned_is_dashed_in_the_same_colors_and_adds_nothing_to_the_legend(axes):
    plot_over_setting(axes[0], (2, 8), {"plain": np.zeros((3, 2)), "with BN": np.ones((3, 2))}, "layers")
    before = len(axes[0].get_lines())
    plot_untuned(axes[0], (2, 8), {"plain": [0.5, 0.6], "with BN": [0.3, 0.2]})
    added = axes[0].get_lines()[before:]
    assert [line.get_color() for line in added] == ["C0", "C1"] and all(line.is_dashed() for line in added)
    assert axes[0].get_legend_handles_labels()[1] == ["plain", "with BN"]
    with pytest.raises(ValueError, match="plain: expected shape"):
        plot_untuned(axes[0], (2, 8), {"plain": [0.5]})

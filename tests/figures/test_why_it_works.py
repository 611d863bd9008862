import numpy as np
import pytest

from bnlib.figures.why_it_works import plot_measured, plot_through_layers


def test_the_line_is_the_median_of_the_seeds_and_the_band_holds_them_all(axes):
    runs = np.array([[1.0, 2, 3], [2, 4, 6], [9, 9, 9]])
    plot_measured(axes, (0, 10, 100), {"one": {"plain": runs}, "two": {"plain": runs, "BN": runs + 1}}, "y")
    np.testing.assert_array_equal(axes[0].get_lines()[0].get_ydata(), [2, 4, 9 - 3])
    band = axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1, 9)
    assert len(axes[1].get_lines()) == 2
    assert axes[0].get_ylabel() == "y"


def test_a_look_too_few_is_refused(axes):
    with pytest.raises(ValueError, match=r"plain: expected shape \(seeds, 3\)"):
        plot_measured(axes, (0, 10, 100), {"a": {"plain": np.ones((2, 2))}, "b": {}}, "y")


def test_layers_are_counted_from_one(axes):
    plot_through_layers(axes, {"a": {"0.1": [1, 10, 100]}, "b": {"0.1": [1, 1, 1]}}, "size")
    np.testing.assert_array_equal(axes[1].get_lines()[0].get_xdata(), [1, 2, 3])
    assert axes[0].get_yscale() == "log"

import numpy as np
import pytest

from bnlib.figures.moving_data import plot_by_shift, plot_shifted


def test_images_lie_on_one_scale(axes):
    plot_shifted(axes, {"as it was": np.zeros((4, 4)), "brighter": np.ones((4, 4))})
    assert [ax.get_title(loc="left") for ax in axes] == ["as it was", "brighter"]
    assert {ax.images[0].get_clim() for ax in axes} == {(0, 1)}


def test_every_network_is_a_dot_and_the_bar_is_their_median(ax):
    kept = [[0.2, 0.9], [0.3, 0.8], [0.7, 0.7]]
    plot_by_shift(ax, ["noise", "rotation"], {"kept": kept, "recomputed": np.ones((3, 2))})
    bars = next(line for line in ax.get_lines() if line.get_label() == "kept")
    np.testing.assert_allclose(bars.get_xdata(), [0.3, 0.8])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["noise", "rotation"]
    assert ax.yaxis_inverted()


def test_a_result_for_another_number_of_shifts_is_refused(ax):
    with pytest.raises(ValueError, match=r"kept: expected shape \(networks, 2\)"):
        plot_by_shift(ax, ["noise", "rotation"], {"kept": np.ones((3, 1))})

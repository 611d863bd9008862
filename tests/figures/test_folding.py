"""What the figures of the chapter on folding draw."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bnlib.figures.folding import plot_border_difference


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

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bnlib.figures.conclusion import plot_batch_sizes, plot_gradient_error


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_the_gray_line_falls_like_one_over_the_root(ax):
    plot_gradient_error(ax, np.array([1, 4, 16]), np.array([8.0, 4.1, 1.9]))
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [8, 4, 2])


def test_every_seed_and_the_mean_are_drawn(ax):
    plot_batch_sizes(ax, (2, 8), {"plain": np.array([[0.2, 0.8], [0.4, 0.6]])})
    mean, *seeds = [line.get_ydata() for line in ax.get_lines()]
    np.testing.assert_allclose(mean, [0.3, 0.7])
    assert len(seeds) == 2


def test_a_missing_accuracy_is_refused(ax):
    with pytest.raises(ValueError, match="expected 2 accuracies a seed"):
        plot_batch_sizes(ax, (2, 8), {"plain": np.zeros((2, 3))})

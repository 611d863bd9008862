"""Axes in the style of the book. What was drawn on them is rendered, and lies over the grid."""

import matplotlib.pyplot as plt
import pytest


def grid_on_top(ax):
    """The artists that would be crossed by the grid, where there is one."""
    grid = [axis for axis in (ax.xaxis, ax.yaxis) if any(line.get_visible() for line in axis.get_gridlines())]
    data = [*ax.images, *ax.collections, *ax.patches, *ax.lines]
    return [artist for artist in data for axis in grid if ax.axison and artist.zorder <= axis.zorder]


@pytest.fixture
def subplots():
    with plt.style.context(["bnlib.book", {"figure.dpi": 40}]):
        try:
            yield lambda *shape: plt.subplots(*shape)[1]
            for figure in map(plt.figure, plt.get_fignums()):
                figure.canvas.draw()  # what cannot be drawn, labels included, fails here
                assert not [artist for ax in figure.axes for artist in grid_on_top(ax)]
        finally:
            plt.close("all")


@pytest.fixture
def ax(subplots):
    return subplots()


@pytest.fixture
def axes(subplots):
    return subplots(1, 2)

import numpy as np
import pytest

from bnlib.figures.frameworks import plot_output_errors


def test_every_framework_is_a_line_of_its_name(ax):
    plot_output_errors(ax, [1, 10], {"PyTorch": [1e-6, 1e-5], "ONNX": [1e-7, 1e-6]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["PyTorch", "ONNX"]
    np.testing.assert_array_equal(ax.get_lines()[3].get_xydata(), [[1, 1e-7], [10, 1e-6]])


def test_an_output_of_nan_is_a_cross_within_the_axes(ax):
    plot_output_errors(ax, [1, 10, 100], {"Keras": [1e-6, np.nan, 0.1]})
    cross = ax.get_lines()[2]
    assert cross.get_marker() == "x"
    assert cross.get_xdata().tolist() == [10]
    assert ax.get_ylim()[0] < cross.get_ydata()[0] < ax.get_ylim()[1]


def test_both_axes_are_logarithmic(ax):
    plot_output_errors(ax, [1, 10], {"PyTorch": [1e-6, 1e-5]})
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_missing_error_is_refused(ax):
    with pytest.raises(ValueError, match="PyTorch: expected shape"):
        plot_output_errors(ax, [1, 10], {"PyTorch": [1e-6]})

import numpy as np
import pytest

from bnlib.figures.introduction import draw_network, plot_activations, plot_spread_and_gradient

PARTS = ("linear", "batch norm", "sigmoid")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_network_names_every_layer_with_its_width_and_every_part(ax):
    draw_network(ax, (784, 100, 50, 10), PARTS)
    written = texts(ax)
    for word in ("784", "100", "50", "10", "pixels", "hidden 1", "hidden 2", "scores", *PARTS):
        assert word in written
    assert "hidden 3" not in written


def test_the_parts_stand_in_the_order_of_the_data_flow(ax):
    draw_network(ax, (784, 100, 10), PARTS)
    places = {text.get_text(): text.get_position()[0] for text in ax.texts}
    assert places["linear"] < places["batch norm"] < places["sigmoid"]


def test_only_the_accent_is_in_color(ax):
    draw_network(ax, (784, 100, 10), PARTS, accent="batch norm")
    white = {text.get_text() for text in ax.texts if text.get_color() == "white"}
    assert white == {"batch norm"}


def test_a_network_without_hidden_layers_is_refused(ax):
    with pytest.raises(ValueError, match=r"at least one hidden layer \(got \(784, 10\)\)"):
        draw_network(ax, (784, 10), PARTS)


def test_an_accent_that_is_no_part_is_refused(ax):
    with pytest.raises(ValueError, match=r"expected one of linear, .* \(got ReLU\)"):
        draw_network(ax, (784, 100, 10), PARTS, accent="ReLU")


def test_activations_are_drawn_a_layer_a_row_and_a_network_a_column(subplots):
    rng = np.random.default_rng(0)
    images, values = rng.uniform(size=(4, 6, 6)), rng.uniform(size=(2, 2, 4, 9))
    axes = plot_activations(subplots(2, 3), images, dict(zip("ab", values, strict=True)))
    np.testing.assert_array_equal(axes[1][0].images[0].get_array(), images.reshape(24, 6))
    for layer in range(2):
        for network in range(2):
            drawn = axes[layer][1 + network].images[0].get_array()
            np.testing.assert_array_equal(drawn, values[network, layer])
    assert [ax.get_title(loc="left") for ax in axes[0]] == ["", "a", "b"]
    assert [row[0].get_ylabel() for row in axes] == ["layer 1", "layer 2"]


def test_activations_of_other_images_are_refused(subplots):
    with pytest.raises(ValueError, match=r"a: expected shape \(2, 4, units\) \(got \(2, 5, 9\)\)"):
        plot_activations(subplots(2, 2), np.zeros((4, 6, 6)), {"a": np.zeros((2, 5, 9))})


def test_a_quantity_by_layer_is_drawn_as_it_is_on_a_logarithmic_axis(axes):
    measured = {"spread": {"a": [1.0, 0.1], "b": [2.0, 2.0]}, "gradient": {"a": [0.1, 1.0], "b": [3.0, 3.0]}}
    plot_spread_and_gradient(axes, measured)
    for ax, (title, networks) in zip(axes, measured.items(), strict=True):
        assert ax.get_title(loc="left") == title and ax.get_yscale() == "log"
        for line, (name, values) in zip(ax.lines, networks.items(), strict=True):
            assert line.get_label() == name
            np.testing.assert_array_equal(line.get_xydata(), np.c_[[1, 2], values])
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == ["a", "b"]


def test_a_quantity_that_is_not_positive_is_refused(axes):
    with pytest.raises(ValueError, match=r"spread, a: expected positive numbers \(got 0.0\)"):
        plot_spread_and_gradient(axes, {"spread": {"a": [1.0, 0.0]}, "gradient": {"a": [1.0, 1.0]}})

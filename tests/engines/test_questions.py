"""The frameworks' own layers, asked: what they answer is what the book says."""

import numpy as np
import pytest

from bnlib.engines import (
    FRAMEWORKS,
    FlaxLayer,
    FlaxStableLayer,
    Keras2FusedLayer,
    Keras2Layer,
    KerasLayer,
    OnnxRuntimeLayer,
    TorchLayer,
    computes_in,
    default_axis,
    default_eps,
    default_momentum,
    kept_variance,
    moves_at_inference,
    normalizing_variance,
    of_one_value,
    output_errors,
    starting_statistics,
    weighs_by_size,
    what_momentum_weighs,
)


@pytest.mark.parametrize(
    "layer",
    [*FRAMEWORKS, OnnxRuntimeLayer, Keras2Layer, Keras2FusedLayer],
    ids=lambda c: c.__name__,
    indirect=True,
)
def test_what_a_framework_does_is_what_its_convention_says(layer):
    said = layer.convention
    assert layer(2).names() == set(said.names)
    assert kept_variance(layer) == said.kept
    assert what_momentum_weighs(layer) == said.momentum_weighs
    assert default_momentum(layer) == said.momentum
    assert default_eps(layer) == said.eps
    if said.mean is not None:
        np.testing.assert_array_equal(starting_statistics(layer), [[said.mean], [said.var]])


def test_a_layer_looks_for_channels_where_its_convention_says(layer):
    assert default_axis(layer) == layer.convention.axis


@pytest.mark.parametrize("layer", [Keras2FusedLayer], indirect=True)
def test_one_layer_of_keras_2_keeps_either_variance_by_the_shape_of_its_input(layer):
    # Dense inputs and images in float64 take the plain kernel, images in float32 the fused one.
    assert (kept_variance(Keras2Layer), kept_variance(layer)) == ("biased", "unbiased")
    assert layer(1)._layer.fused and not Keras2Layer(1)._layer.fused


def test_all_normalize_with_the_biased_variance(layer):
    assert normalizing_variance(layer) == "biased"


def test_no_framework_weighs_a_batch_by_its_size_or_moves_at_inference(layer):
    assert not weighs_by_size(layer)
    assert not moves_at_inference(layer)


def test_only_pytorch_refuses_one_value_per_channel(layer):
    assert of_one_value(layer) == ("ValueError" if layer is TorchLayer else "0")


def test_only_keras_computes_in_float32_when_asked_for_float64(layer):
    assert computes_in(layer) == ("float32" if layer is KerasLayer else "float64")


@pytest.mark.parametrize(
    "layer",
    [*FRAMEWORKS, OnnxRuntimeLayer, Keras2Layer, Keras2FusedLayer],
    ids=lambda c: c.__name__,
    indirect=True,
)
def test_subtracting_before_squaring_loses_little_at_a_mean_of_1000(layer):
    if layer not in (KerasLayer, FlaxLayer):
        assert output_errors(layer, [1000.0]) < 0.01


@pytest.mark.parametrize("layer", [FlaxStableLayer], indirect=True)
def test_flax_without_its_fast_variance_loses_little(layer):
    assert output_errors(layer, [1000.0]) < 0.01
    assert normalizing_variance(layer) == kept_variance(layer) == "biased"


@pytest.mark.parametrize("layer", [KerasLayer, FlaxLayer], indirect=True)
def test_the_difference_of_squares_loses_the_variance_at_a_mean_of_100000(layer):
    (error,) = output_errors(layer, [1e5])
    assert np.isnan(error) or error > 1
